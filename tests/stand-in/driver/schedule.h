// Streams, and when their work runs.
//
// A stream is a queue. Under the eager schedule work runs when it is enqueued, under the lazy one not before the host
// waits for it: then only that, and whatever it waits for, runs, the adversary of everybody who forgot to wait. Under
// the random one some steps of some streams run at each call. The order in which things ran decides what bytes are
// seen; whether it was right is decided by the clocks alone (clocks.h), under every schedule.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "clocks.h"
#include "report.h"

namespace stand_in {

struct Capture;
struct Graph;
struct Stream;

// The end of one piece of work, for whom waits for it.
struct Moment {
    Stream* stream;
    uint32_t number;
    bool reached;
    Clock clock;
    double reached_ms;
};

struct Work {
    std::string name;
    std::function<void()> run;         // none for events
    std::shared_ptr<Moment> awaited;   // another stream's, or none
    std::shared_ptr<Moment> end;       // its own; `enqueue` makes it
    Clock host;                        // what the host had seen when it was enqueued
};

struct Stream {
    uint32_t id;
    bool live = true;
    std::deque<Work> queue;
    uint32_t enqueued = 0;
    uint32_t done = 0;
    Clock clock;
    std::shared_ptr<Capture> capture;  // that it belongs to now (capture.h), or none
};

struct Event {
    std::shared_ptr<Moment> moment;
    std::shared_ptr<Capture> capture;  // that it was last recorded in, or none
    Stream* captured_on = nullptr;
};

// `eager`, `lazy` or `random:SEED`; false if it is none.
bool set_schedule(const std::string& name);

Stream& new_stream();
// The stream of a handle of the driver API; counts work of the default stream.
Stream& stream_of(void* handle);
// Its work is done, and its number may be given again.
void end_stream(Stream& stream);

// Enqueues what `make` makes, or captures it.
Status submit(Stream& stream, const std::function<Work()>& make);
std::shared_ptr<Moment> enqueue(Stream& stream, Work work);
// Enqueues the graph's work, which the journal has as one line.
void launch(Stream& stream, const Graph& graph);

// The host waits.
void finish(Stream& stream);
void finish_all();
void wait_for(const Moment& moment);
// Whether it is reached, which the host then knows; if not, its stream takes a step, so that who asks again gets there.
bool ask(const Moment& moment);

// Lines `enqueue STREAM NAME`, `run STREAM NAME` and `host CALL`, in the order in which it happened. A graph is enqueued
// whole; what is in it runs by its own names.
const std::string& journal();
void note_host(const char* call);
// Has it written to a file when the process ends.
bool keep_journal(const std::string& path);
void reset_schedule();

}  // namespace stand_in
