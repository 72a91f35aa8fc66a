// What a test may ask of the stand-in, and no real driver has; the Rust side of it is src/lib.rs.
#include <cstring>

#include "call.h"
#include "capture.h"
#include "kernels.h"
#include "memory.h"
#include "schedule.h"
#include "threads.h"

namespace stand_in {
namespace {

// Copies `text` and a zero, if there is room; how many bytes that takes, in any case.
size_t give_text(const std::string& text, char* room, size_t bytes) {
    if (bytes > text.size()) memcpy(room, text.c_str(), text.size() + 1);
    return text.size() + 1;
}

}  // namespace
}  // namespace stand_in

using namespace stand_in;

#define CONTROL extern "C" __attribute__((visibility("default")))
#define LOCKED std::lock_guard<std::recursive_mutex> guard(driver_lock())

// 1 if the checks are compiled in.
CONTROL int stand_in_is_checked() { return checked; }

CONTROL int stand_in_set(const char* setting) {
    LOCKED;
    return apply_setting(setting);
}

CONTROL uint64_t stand_in_counter(const char* name) {
    LOCKED;
    return counted(name);
}

CONTROL uint64_t stand_in_live_allocations() {
    LOCKED;
    return live_allocations();
}

CONTROL uint64_t stand_in_live_graphs() {
    LOCKED;
    return graphs_alive();
}

CONTROL size_t stand_in_reports(char* room, size_t bytes) {
    LOCKED;
    return give_text(reports(), room, bytes);
}

CONTROL void stand_in_take_reports() {
    LOCKED;
    take_reports();
}

CONTROL size_t stand_in_journal(char* room, size_t bytes) {
    LOCKED;
    return give_text(journal(), room, bytes);
}

// The sizes of a kernel's parameters; how many there are, or -1 if there is no such kernel.
CONTROL int stand_in_parameters(const char* kernel, size_t* sizes, int room) {
    LOCKED;
    const Kernel* found = find_kernel(kernel);
    if (!found) return -1;
    int count = found->parameters.size();
    for (int i = 0; i < count && i < room; i++) sizes[i] = found->parameters[i].bytes;
    return count;
}

// Counters, journal, faults and the machine, as they were at the start.
CONTROL void stand_in_reset() {
    LOCKED;
    reset_counters();
    reset_schedule();
    forget_faults();
    take_reports();
}
