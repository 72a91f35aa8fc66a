// Copies between the host and the device, and the host's memory while they are in flight.
//
// The host's own loads and stores are not seen. But the bytes of a buffer are summed when a copy is enqueued, when it
// runs, and when the host has waited for it: had the host written in between, the sums differ.
#pragma once

#include "memory.h"
#include "schedule.h"

namespace stand_in {

Work copy_to_device(Address device, const void* host, size_t bytes);
Work copy_from_device(void* host, Address device, size_t bytes);
Work copy_on_device(Address to, Address from, size_t bytes);
Work fill_device(Address device, size_t element_bytes, uint32_t value, size_t count);

// Looks at the buffers of those copies again that the host now knows to be done, and forgets them.
void check_seen_transfers();
// The pinned memory ends; a report if a copy of it is in flight.
void end_host_memory(Address start, size_t bytes, const char* call);

}  // namespace stand_in
