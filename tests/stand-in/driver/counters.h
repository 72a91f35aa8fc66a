// What the tests count.
#pragma once

#include <cstdint>

namespace stand_in {

enum class Counter {
    calls,
    kernels,
    graphs,
    copies_to_device,
    copies_from_device,
    copies_on_device,
    bytes_to_device,
    bytes_from_device,
    pageable_copies,        // asynchronous ones of memory that is not pinned
    device_synchronizes,    // waits for all streams, hidden ones (cuMemFree) as well
    stream_synchronizes,
    event_synchronizes,
    default_stream_work,
    count,
};

void count(Counter counter, uint64_t by = 1);
// Of the counter of this name, or all ones if there is none.
uint64_t counted(const char* name);
void reset_counters();

}  // namespace stand_in
