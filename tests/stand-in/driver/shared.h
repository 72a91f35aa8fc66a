// Shared memory: who wrote and read each part of it, and since which barrier.
//
// Every two bytes carry a mark. Two accesses of different threads, one of them a write, need a barrier of their block
// between them, or of their warp if they are of one; atomics may meet each other. A `cp.async` copy is in flight from
// its call until its thread has waited for it, and nobody may touch its target meanwhile; after that it counts as a
// write of that thread.
#pragma once

#include <cstddef>
#include <cstdint>

#include "memory.h"

namespace stand_in {

// Whether `address` lies in a shared array, static or dynamic.
bool is_shared(Address address);

// A report, and the end of the launch, if a thread's access is wrong.
void check_shared(Address address, size_t bytes, Access access);

void check_shared_read(const void* address, size_t bytes);
void check_async_copy(const void* to, const void* from, size_t bytes, size_t source_bytes);
void mark_landed(const void* to, size_t bytes);

}  // namespace stand_in
