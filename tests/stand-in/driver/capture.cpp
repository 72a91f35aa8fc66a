#include "capture.h"

#include <algorithm>

namespace stand_in {
namespace {

using Shared = std::shared_ptr<Capture>;

std::vector<Shared>& open_captures() {
    static std::vector<Shared> captures;
    return captures;
}

Status make_void(Capture& capture, Status why) {
    capture.is_void = true;
    return why;
}

bool forbids(const Capture& capture) {
    if (capture.mode == CaptureMode::own_threads) return capture.thread == std::this_thread::get_id();
    return capture.mode == CaptureMode::everybodys;
}

Work named(const char* name) { return {name, {}, {}, {}, {}}; }

// Within a capture the order of the calls is the order of the launch, so that nothing waits; but the other stream
// belongs to the capture from now on, and it must be back when the capture ends.
Status join(Stream& stream, const Event& event) {
    const Shared& capture = event.capture;
    if (!capture->is_open) return CAPTURED_EVENT;
    if (stream.capture && stream.capture != capture) return make_void(*stream.capture, STREAM_CAPTURE_ISOLATION);
    if (!stream.capture) {
        capture->joined.push_back(&stream);
        capture->streams.push_back(&stream);
        stream.capture = capture;
    }
    auto back = std::find(capture->joined.begin(), capture->joined.end(), event.captured_on);
    if (&stream == capture->origin && back != capture->joined.end()) capture->joined.erase(back);
    return SUCCESS;
}

void close(const Shared& capture) {
    capture->is_open = false;
    for (Stream* stream : capture->streams) stream->capture = nullptr;
    auto& open = open_captures();
    open.erase(std::find(open.begin(), open.end(), capture));
}

}  // namespace

Status begin_capture(Stream& stream, CaptureMode mode) {
    if (stream.id == 0) return STREAM_CAPTURE_UNSUPPORTED;
    if (stream.capture) return make_void(*stream.capture, ILLEGAL_STATE);
    stream.capture = std::make_shared<Capture>();
    stream.capture->origin = &stream;
    stream.capture->mode = mode;
    stream.capture->thread = std::this_thread::get_id();
    stream.capture->streams = {&stream};
    open_captures().push_back(stream.capture);
    return SUCCESS;
}

Status end_capture(Stream& stream, Graph*& graph) {
    Shared capture = stream.capture;
    graph = nullptr;
    if (!capture || capture->origin != &stream) return STREAM_CAPTURE_UNMATCHED;
    bool is_foreign = capture->mode != CaptureMode::nobodys && capture->thread != std::this_thread::get_id();
    if (is_foreign) return STREAM_CAPTURE_WRONG_THREAD;
    close(capture);
    if (capture->is_void) return STREAM_CAPTURE_INVALIDATED;
    if (!capture->joined.empty()) return STREAM_CAPTURE_UNJOINED;
    graph = new Graph{capture->nodes};
    return SUCCESS;
}

Status refuse_in_capture(Status why) {
    for (const Shared& capture : open_captures()) {
        if (forbids(*capture)) return make_void(*capture, why);
    }
    return SUCCESS;
}

Status record(Event& event, Stream& stream) {
    if (stream.capture && stream.capture->is_void) return STREAM_CAPTURE_INVALIDATED;
    event.capture = stream.capture;
    event.captured_on = &stream;
    if (!stream.capture) event.moment = enqueue(stream, named("event record"));
    return SUCCESS;
}

Status wait(Stream& stream, const Event& event) {
    if (stream.capture && stream.capture->is_void) return STREAM_CAPTURE_INVALIDATED;
    if (event.capture) return join(stream, event);
    if (!event.moment) return SUCCESS;  // as the driver: an event that was never recorded is no obstacle
    if (stream.capture) return make_void(*stream.capture, STREAM_CAPTURE_ISOLATION);
    Work work = named("event wait");
    work.awaited = event.moment;
    enqueue(stream, std::move(work));
    return SUCCESS;
}

}  // namespace stand_in
