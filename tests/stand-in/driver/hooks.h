// Where loads and stores of kernels arrive.
#pragma once

#include <cstddef>

#include "memory.h"

namespace stand_in {

// An access of the running thread: a report, and the end of the launch, if it is wrong.
void check_access(const void* address, size_t bytes, Access access);
void check_alignment(const void* address, size_t bytes);
[[noreturn]] void refuse_address(Address address, size_t bytes, const char* expected);

}  // namespace stand_in
