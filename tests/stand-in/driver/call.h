// What all calls of the driver API share.
#pragma once

#include <mutex>

#include "counters.h"
#include "faults.h"
#include "report.h"

// One function of the driver API; its name is one of cuda.h, its result a `CUresult`.
#define DRIVER_CALL extern "C" __attribute__((visibility("default"))) int

namespace stand_in {

enum class Needs {
    nothing,
    driver,   // cuInit
    context,  // one that is current in this thread, and has not failed
    cleanup,  // the same, but what is to be freed is freed after a failure too
};

// The driver's one lock: calls from several threads come one after another.
std::recursive_mutex& driver_lock();
bool driver_is_ready();
bool context_is_current();

// Runs `body` unless a fault is planned for this call, or something is missing that it needs.
template <class Body>
int driver_call(const char* name, Needs needs, Body body) {
    std::lock_guard<std::recursive_mutex> guard(driver_lock());
    count(Counter::calls);
    if (Status planned = planned_fault(name)) return planned;
    if (needs != Needs::nothing && !driver_is_ready()) return NOT_INITIALIZED;
    if (needs >= Needs::context && !context_is_current()) return INVALID_CONTEXT;
    if (needs == Needs::context && failure()) return failure();
    Status status = body();
    return failure() && needs >= Needs::context ? failure() : status;
}

}  // namespace stand_in
