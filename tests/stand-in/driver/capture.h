// Work that is captured instead of enqueued, to be launched as a graph, and what a driver refuses meanwhile.
//
// A capture belongs to the stream that it began on and, by way of events, to the streams that wait for it. What the
// driver cannot put into a graph (a wait of the host, an allocation, a copy of pageable memory, an event from outside)
// is refused, and makes the whole capture void: its end says so.
#pragma once

#include <thread>

#include "schedule.h"

namespace stand_in {

// `CUstreamCaptureMode`: whose calls are refused while a capture lasts.
enum class CaptureMode : int { everybodys = 0, own_threads = 1, nobodys = 2 };

struct Capture {
    Stream* origin;
    CaptureMode mode;
    std::thread::id thread;
    bool is_open = true;
    bool is_void = false;
    std::vector<std::function<Work()>> nodes;
    std::vector<Stream*> streams;  // its origin, and those that have waited for one of its events
    std::vector<Stream*> joined;   // of the latter, those that are not joined back yet
};

// What was captured, in order; each launch makes its work anew.
struct Graph {
    std::vector<std::function<Work()>> nodes;
};

Status begin_capture(Stream& stream, CaptureMode mode);
Status end_capture(Stream& stream, Graph*& graph);
// Graphs and executables of them that were not destroyed.
size_t graphs_alive();

// Whether this thread may call what waits or allocates; the capture that forbids it is void.
Status refuse_in_capture(Status why = STREAM_CAPTURE_UNSUPPORTED);

// For a stream that may be captured: the event is recorded, or waited for, in its capture.
Status record(Event& event, Stream& stream);
Status wait(Stream& stream, const Event& event);

}  // namespace stand_in
