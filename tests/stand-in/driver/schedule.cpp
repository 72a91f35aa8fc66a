#include "schedule.h"

#include <chrono>
#include <cstdlib>
#include <fstream>

#include "capture.h"
#include "chance.h"
#include "counters.h"
#include "kernels.h"
#include "transfers.h"

namespace stand_in {
namespace {

enum class Schedule { eager, lazy, random };

Schedule schedule = Schedule::lazy;
std::string lines;
std::string journal_path;

std::deque<Stream>& streams() {
    static std::deque<Stream> streams(1);  // the default stream
    return streams;
}

void note(const char* what, const Stream& stream, const std::string& name) {
    lines += text("%s %u %s\n", what, stream.id, name.c_str());
}

double milliseconds() {
    auto now = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration<double, std::milli>(now).count();
}

// Runs the first of the queue, whose awaited moment is reached.
void step(Stream& stream) {
    Work work = std::move(stream.queue.front());
    stream.queue.pop_front();
    stream.clock.join(work.host);
    if (work.awaited) stream.clock.join(work.awaited->clock);
    uint32_t number = work.end->number;
    stream.clock.set(stream.id, number);
    if (work.run && failure() == SUCCESS) {
        note("run", stream, work.name);
        begin_operation({work.name, stream.id, number, stream.clock});
        work.run();
    }
    work.end->clock = stream.clock;
    work.end->reached_ms = milliseconds();
    work.end->reached = true;
    stream.done = number;
}

void run_until(Stream& stream, uint32_t number);

// A step, behind whatever it waits for.
void step_with_cause(Stream& stream) {
    std::shared_ptr<Moment> cause = stream.queue.front().awaited;
    if (cause && !cause->reached) run_until(*cause->stream, cause->number);
    step(stream);
}

void run_until(Stream& stream, uint32_t number) {
    while (stream.done < number) step_with_cause(stream);
}

bool is_ready(const Stream& stream) {
    return !stream.queue.empty() && (!stream.queue.front().awaited || stream.queue.front().awaited->reached);
}

void step_anywhere() {
    std::vector<Stream*> ready;
    for (Stream& stream : streams()) {
        if (is_ready(stream)) ready.push_back(&stream);
    }
    if (!ready.empty()) step(*ready[chance(ready.size())]);
}

std::shared_ptr<Moment> append(Stream& stream, Work work) {
    uint32_t number = ++stream.enqueued;
    if (!work.end) work.end = std::make_shared<Moment>();
    *work.end = {&stream, number, false, {}, 0};
    work.host = host_clock();
    std::shared_ptr<Moment> end = work.end;
    stream.queue.push_back(std::move(work));
    if (schedule == Schedule::eager) run_until(stream, number);
    if (schedule == Schedule::random) {
        for (uint32_t steps = chance(4); steps > 0; steps--) step_anywhere();
    }
    return end;
}

void host_has_seen(const Clock& clock) {
    host_clock().join(clock);
    check_seen_transfers();
}

}  // namespace

bool set_schedule(const std::string& name) {
    const std::string random = "random:";
    if (name == "eager") schedule = Schedule::eager;
    else if (name == "lazy") schedule = Schedule::lazy;
    else if (name.compare(0, random.size(), random) == 0) {
        schedule = Schedule::random;
        seed_chance(strtoull(name.c_str() + random.size(), nullptr, 10));
    } else return false;
    run_blocks_in_any_order(schedule == Schedule::random);
    return true;
}

Stream& new_stream() {
    for (Stream& stream : streams()) {
        if (stream.live) continue;
        stream.live = true;
        return stream;
    }
    if (streams().empty()) streams().emplace_back();
    streams().emplace_back();
    streams().back().id = streams().size() - 1;
    return streams().back();
}

Stream& stream_of(void* handle) {
    auto number = reinterpret_cast<uintptr_t>(handle);
    if (number > 2) return *static_cast<Stream*>(handle);  // 1 and 2: CU_STREAM_LEGACY and CU_STREAM_PER_THREAD
    return streams().front();
}

void end_stream(Stream& stream) {
    run_until(stream, stream.enqueued);
    stream.live = false;
}

Status submit(Stream& stream, const std::function<Work()>& make) {
    if (&stream == &streams().front()) {
        if (Status refused = refuse_in_capture(STREAM_CAPTURE_IMPLICIT)) return refused;
        count(Counter::default_stream_work);
    }
    if (!stream.capture) enqueue(stream, make());
    else if (stream.capture->is_void) return STREAM_CAPTURE_INVALIDATED;
    else stream.capture->nodes.push_back(make);
    return SUCCESS;
}

void launch(Stream& stream, const Graph& graph) {
    note("enqueue", stream, text("graph of %zu", graph.nodes.size()));
    for (const auto& make : graph.nodes) append(stream, make());
}

std::shared_ptr<Moment> enqueue(Stream& stream, Work work) {
    note("enqueue", stream, work.name);
    return append(stream, std::move(work));
}

void finish(Stream& stream) {
    run_until(stream, stream.enqueued);
    host_has_seen(stream.clock);
}

void finish_all() {
    for (Stream& stream : streams()) finish(stream);
}

void wait_for(const Moment& moment) {
    run_until(*moment.stream, moment.number);
    host_has_seen(moment.clock);
}

bool ask(const Moment& moment) {
    if (moment.reached) {
        host_has_seen(moment.clock);
        return true;
    }
    step_with_cause(*moment.stream);
    return false;
}

const std::string& journal() { return lines; }

bool keep_journal(const std::string& path) {
    if (journal_path.empty()) atexit([] { std::ofstream(journal_path) << lines; });
    journal_path = path;
    return true;
}

void note_host(const char* call) { lines += std::string("host ") + call + "\n"; }

void reset_schedule() {
    for (Stream& stream : streams()) run_until(stream, stream.enqueued);
    lines.clear();
}

}  // namespace stand_in
