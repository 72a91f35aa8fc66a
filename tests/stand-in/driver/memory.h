// Device memory and pinned host memory: allocations, their bounds and life, and who wrote and read each part of them.
//
// Device addresses lie in one reserved range and are never given twice. Every two bytes (the smallest element of our
// kernels) carry a mark: the last operation that wrote them, the last that read them, and the block that did so. An
// access is right if it stays within a live allocation, reads only what was written, and everything that it meets in
// the marks happened before (clocks.h) or was done by the same block.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "report.h"

namespace stand_in {

using Address = uintptr_t;

enum class Access { read, write, atomic };

constexpr Address device_base = 0x500000000000;
constexpr size_t device_span = size_t{64} << 30;  // enough for all that one test process ever allocates

inline bool is_device(Address address) { return address - device_base < device_span; }

// 0 if the device has no `bytes` left.
Address allocate(size_t bytes);
// False, and a report, unless `address` is the start of a live allocation.
bool release(Address address);
// "offset 12 of allocation 3 (argument 0), of 40 bytes, freed"
std::string place(Address address);
// Whether `address` lies in memory that was allocated once, freed or not; its end counts.
bool was_allocated(Address address);

// Checks an access by the current operation, and marks it; a report and false if it is wrong. `block` is that of the
// kernel's threads, or 0.
bool check_device(Address address, size_t bytes, Access access, uint32_t block);

void set_device_bytes(size_t total);
size_t device_bytes();
size_t free_device_bytes();
size_t live_allocations();

// Pinned host memory.
void pin(Address address, size_t bytes);
// The bytes that `pin` was given with this very address, 0 if there are none.
size_t unpin(Address address);
bool is_pinned(Address address, size_t bytes);

}  // namespace stand_in
