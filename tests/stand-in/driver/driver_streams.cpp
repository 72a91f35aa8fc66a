// The driver API: streams, events, and graphs that are captured from a stream.
#include <algorithm>

#include "call.h"
#include "schedule.h"

namespace stand_in {
namespace {

// `CUstreamCaptureStatus`.
constexpr int CAPTURE_NONE = 0;
constexpr int CAPTURE_ACTIVE = 1;

Work named(const char* name) { return {name, {}, {}, {}, {}}; }

void record(Event& event, Stream& stream) {
    event.capture = stream.capture;
    event.captured_on = &stream;
    if (!stream.capture) event.moment = enqueue(stream, named("event record"));
}

// Within a capture the order of the calls is the order of the launch, so that nothing waits; but the other stream
// belongs to the capture from now on, and it must be back when the capture ends.
Status join_capture(Stream& stream, const Event& event) {
    Graph& graph = *event.capture;
    if (stream.capture && stream.capture != &graph) return STREAM_CAPTURE_INVALIDATED;
    if (!stream.capture) graph.joined.push_back(&stream);
    stream.capture = &graph;
    auto back = std::find(graph.joined.begin(), graph.joined.end(), event.captured_on);
    if (&stream == graph.origin && back != graph.joined.end()) graph.joined.erase(back);
    return SUCCESS;
}

Status wait(Stream& stream, const Event& event) {
    if (event.capture) return join_capture(stream, event);
    if (stream.capture) return STREAM_CAPTURE_INVALIDATED;
    if (!event.moment) return SUCCESS;  // as the driver: an event that was never recorded is no obstacle
    Work work = named("event wait");
    work.awaited = event.moment;
    enqueue(stream, std::move(work));
    return SUCCESS;
}

void leave_capture(Graph& graph) {
    graph.origin->capture = nullptr;
    for (Stream* stream : graph.joined) stream->capture = nullptr;
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
        Stream& stream = stream_of(handle);
        if (stream.capture) return STREAM_CAPTURE_UNSUPPORTED;
        count(Counter::stream_synchronizes);
        finish(stream);
        return SUCCESS;
    });
}

DRIVER_CALL cuStreamQuery(void* handle) {
    return driver_call(__func__, Needs::context, [&] {
        Stream& stream = stream_of(handle);
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
        record(*event, stream_of(stream));
        return SUCCESS;
    });
}

DRIVER_CALL cuEventSynchronize(Event* event) {
    return driver_call(__func__, Needs::context, [&] {
        count(Counter::event_synchronizes);
        if (event->moment) wait_for(*event->moment);
        return SUCCESS;
    });
}

DRIVER_CALL cuEventQuery(Event* event) {
    return driver_call(__func__, Needs::context, [&] {
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

// ---- Graphs.

DRIVER_CALL cuStreamBeginCapture_v2(void* handle, int) {
    return driver_call(__func__, Needs::context, [&] {
        Stream& stream = stream_of(handle);
        if (stream.id == 0) return STREAM_CAPTURE_UNSUPPORTED;
        if (stream.capture) return STREAM_CAPTURE_INVALIDATED;
        stream.capture = new Graph{&stream, {}, {}};
        return SUCCESS;
    });
}

DRIVER_CALL cuStreamEndCapture(void* handle, Graph** graph) {
    return driver_call(__func__, Needs::context, [&] {
        Stream& stream = stream_of(handle);
        *graph = stream.capture;
        if (!*graph || (*graph)->origin != &stream) return STREAM_CAPTURE_UNMATCHED;
        bool joined_back = (*graph)->joined.empty();
        leave_capture(**graph);
        return joined_back ? SUCCESS : STREAM_CAPTURE_UNJOINED;
    });
}

DRIVER_CALL cuStreamIsCapturing(void* stream, int* status) {
    return driver_call(__func__, Needs::context, [&] {
        *status = stream_of(stream).capture ? CAPTURE_ACTIVE : CAPTURE_NONE;
        return SUCCESS;
    });
}

DRIVER_CALL cuGraphInstantiateWithFlags(Graph** executable, Graph* graph, uint64_t) {
    return driver_call(__func__, Needs::context, [&] {
        *executable = new Graph(*graph);
        return SUCCESS;
    });
}

DRIVER_CALL cuGraphUpload(Graph*, void*) {
    return driver_call(__func__, Needs::context, [&] { return SUCCESS; });
}

DRIVER_CALL cuGraphLaunch(Graph* executable, void* handle) {
    return driver_call(__func__, Needs::context, [&] {
        count(Counter::graphs);
        Stream& stream = stream_of(handle);
        for (const auto& make : executable->nodes) submit(stream, make);
        return SUCCESS;
    });
}

DRIVER_CALL cuGraphExecDestroy(Graph* executable) {
    return driver_call(__func__, Needs::cleanup, [&] {
        delete executable;
        return SUCCESS;
    });
}

DRIVER_CALL cuGraphDestroy(Graph* graph) {
    return driver_call(__func__, Needs::cleanup, [&] {
        delete graph;
        return SUCCESS;
    });
}
