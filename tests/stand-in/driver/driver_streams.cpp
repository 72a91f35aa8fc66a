// The driver API: streams and events.
#include "call.h"
#include "capture.h"

namespace stand_in {
namespace {

// Whether the host may ask for the end of a stream's work, or for an event: not of one that is captured, and in a
// thread that captures of none.
Status refuse_wait(Stream& stream) {
    if (!stream.capture) return refuse_in_capture();
    stream.capture->is_void = true;
    return STREAM_CAPTURE_UNSUPPORTED;
}

Status refuse_wait(Event& event) {
    if (!event.capture) return refuse_in_capture();
    event.capture->is_void = true;
    return CAPTURED_EVENT;
}

}  // namespace
}  // namespace stand_in

using namespace stand_in;

DRIVER_CALL cuStreamCreate(void** stream, unsigned) {
    return driver_call(__func__, Needs::context, [&] {
        *stream = &new_stream();
        return SUCCESS;
    });
}

DRIVER_CALL cuStreamCreateWithPriority(void** stream, unsigned flags, int) { return cuStreamCreate(stream, flags); }

DRIVER_CALL cuStreamDestroy_v2(void* stream) {
    return driver_call(__func__, Needs::cleanup, [&] {
        end_stream(stream_of(stream));
        return SUCCESS;
    });
}

DRIVER_CALL cuStreamSynchronize(void* handle) {
    return driver_call(__func__, Needs::context, [&] {
        if (Status refused = refuse_wait(stream_of(handle))) return refused;
        count(Counter::stream_synchronizes);
        finish(stream_of(handle));
        return SUCCESS;
    });
}

DRIVER_CALL cuStreamQuery(void* handle) {
    return driver_call(__func__, Needs::context, [&] {
        Stream& stream = stream_of(handle);
        if (Status refused = refuse_wait(stream)) return refused;
        if (stream.queue.empty()) {
            finish(stream);
            return SUCCESS;
        }
        ask(*stream.queue.back().end);
        return NOT_READY;
    });
}

DRIVER_CALL cuStreamWaitEvent(void* stream, Event* event, unsigned) {
    return driver_call(__func__, Needs::context, [&] { return wait(stream_of(stream), *event); });
}

// ---- Events.

DRIVER_CALL cuEventCreate(Event** event, unsigned) {
    return driver_call(__func__, Needs::context, [&] {
        *event = new Event;
        return SUCCESS;
    });
}

DRIVER_CALL cuEventDestroy_v2(Event* event) {
    return driver_call(__func__, Needs::cleanup, [&] {
        delete event;
        return SUCCESS;
    });
}

DRIVER_CALL cuEventRecord(Event* event, void* stream) {
    return driver_call(__func__, Needs::context, [&] {
        return record(*event, stream_of(stream));
    });
}

DRIVER_CALL cuEventSynchronize(Event* event) {
    return driver_call(__func__, Needs::context, [&] {
        if (Status refused = refuse_wait(*event)) return refused;
        count(Counter::event_synchronizes);
        if (event->moment) wait_for(*event->moment);
        return SUCCESS;
    });
}

DRIVER_CALL cuEventQuery(Event* event) {
    return driver_call(__func__, Needs::context, [&] {
        if (Status refused = refuse_wait(*event)) return refused;
        return !event->moment || ask(*event->moment) ? SUCCESS : NOT_READY;
    });
}

DRIVER_CALL cuEventElapsedTime(float* milliseconds, Event* from, Event* to) {
    return driver_call(__func__, Needs::context, [&] {
        if (!from->moment || !to->moment) return INVALID_HANDLE;
        if (!from->moment->reached || !to->moment->reached) return NOT_READY;
        *milliseconds = to->moment->reached_ms - from->moment->reached_ms;
        return SUCCESS;
    });
}
