#include "fiber.h"

#include <cstdint>

// What a call must leave as it was (System V ABI: rbx, rbp, r12 to r15) goes onto the stack that is left.
asm(R"(
.text
.globl switch_fiber
.hidden switch_fiber
.type switch_fiber, @function
switch_fiber:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
.size switch_fiber, . - switch_fiber
)");

namespace stand_in {

Fiber new_fiber(char* stack_end, void (*function)()) {
    constexpr int saved_registers = 6;
    auto* top = reinterpret_cast<uintptr_t*>(reinterpret_cast<uintptr_t>(stack_end) & ~uintptr_t{15});
    *--top = 0;  // where `function` would return to; with it the stack is aligned as after a call
    *--top = reinterpret_cast<uintptr_t>(function);
    for (int i = 0; i < saved_registers; i++) *--top = 0;
    return top;
}

}  // namespace stand_in
