// The driver API: graphs, which are captured from streams.
#include <set>

#include "call.h"
#include "capture.h"

namespace stand_in {
namespace {

// `CUstreamCaptureStatus`.
constexpr int CAPTURE_NONE = 0;
constexpr int CAPTURE_ACTIVE = 1;
constexpr int CAPTURE_INVALIDATED = 2;

// Handles that were given and not destroyed: of graphs, and of executables of them.
std::set<Graph*> live_graphs;
std::set<Graph*> live_executables;

Status destroy(std::set<Graph*>& live, Graph* graph) {
    if (!live.erase(graph)) return INVALID_VALUE;
    delete graph;
    return SUCCESS;
}

}  // namespace

size_t graphs_alive() { return live_graphs.size() + live_executables.size(); }

}  // namespace stand_in

using namespace stand_in;

DRIVER_CALL cuStreamBeginCapture_v2(void* stream, int mode) {
    return driver_call(__func__, Needs::context,
                       [&] { return begin_capture(stream_of(stream), static_cast<CaptureMode>(mode)); });
}

DRIVER_CALL cuStreamEndCapture(void* stream, Graph** graph) {
    return driver_call(__func__, Needs::context, [&] {
        Status ended = end_capture(stream_of(stream), *graph);
        if (*graph) live_graphs.insert(*graph);
        return ended;
    });
}

DRIVER_CALL cuStreamIsCapturing(void* stream, int* status) {
    return driver_call(__func__, Needs::context, [&] {
        const auto& capture = stream_of(stream).capture;
        *status = !capture ? CAPTURE_NONE : capture->is_void ? CAPTURE_INVALIDATED : CAPTURE_ACTIVE;
        return SUCCESS;
    });
}

DRIVER_CALL cuGraphInstantiateWithFlags(Graph** executable, Graph* graph, uint64_t) {
    return driver_call(__func__, Needs::context, [&] {
        if (!live_graphs.count(graph)) return INVALID_VALUE;
        *executable = new Graph(*graph);
        live_executables.insert(*executable);
        return SUCCESS;
    });
}

DRIVER_CALL cuGraphUpload(Graph* executable, void*) {
    return driver_call(__func__, Needs::context, [&] { return live_executables.count(executable) ? SUCCESS : INVALID_VALUE; });
}

DRIVER_CALL cuGraphLaunch(Graph* executable, void* handle) {
    return driver_call(__func__, Needs::context, [&] {
        if (!live_executables.count(executable)) return INVALID_VALUE;
        Stream& stream = stream_of(handle);
        if (stream.capture) return NOT_SUPPORTED;  // a graph within a graph
        count(Counter::graphs);
        launch(stream, *executable);
        return SUCCESS;
    });
}

DRIVER_CALL cuGraphExecDestroy(Graph* executable) {
    return driver_call(__func__, Needs::cleanup, [&] { return destroy(live_executables, executable); });
}

DRIVER_CALL cuGraphDestroy(Graph* graph) {
    return driver_call(__func__, Needs::cleanup, [&] { return destroy(live_graphs, graph); });
}
