// A fiber: a stack and the place where it stands.
#pragma once

#if !defined(__x86_64__)
#error "the stand-in for libcuda switches stacks in x86-64 assembly; fiber.cpp is what another processor needs"
#endif

namespace stand_in {

using Fiber = void*;  // the stack pointer of one that does not run

// One that will run `function`, which must not return, on the stack that ends at `stack_end`.
Fiber new_fiber(char* stack_end, void (*function)());

// Leaves the running one, which goes on when someone switches to `*from`, for `to`.
extern "C" void switch_fiber(Fiber* from, Fiber to);

}  // namespace stand_in
