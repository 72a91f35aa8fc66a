// `-fsanitize=thread` makes the compiler call a function before each load and store. The sanitizer's own library is not
// linked: the functions are ours, and check the access as one of a GPU's thread. `-fsanitize=alignment,bounds` likewise
// calls us where an address is not aligned to its type, and an index is outside of an array whose size is known.
#include "hooks.h"

#include <cstdint>

#include "report.h"
#include "shared.h"
#include "shim_calls.h"
#include "symbols.h"
#include "threads.h"

namespace stand_in {

void refuse_address(Address address, size_t bytes, const char* expected) {
    report(ILLEGAL_ADDRESS, text("%s accesses %zu bytes at 0x%zx: %s", actor().c_str(), bytes, static_cast<size_t>(address), expected));
    end_launch();
}

void check_access(const void* pointer, size_t bytes, Access access) {
    auto address = reinterpret_cast<Address>(pointer);
    if (is_device(address)) {
        if (!check_device(address, bytes, access, current_block())) end_launch();
    } else if (!is_stack(address)) {
        if (is_shared(address)) check_shared(address, bytes, access);
        else if (!is_library(address)) refuse_address(address, bytes, "neither device nor shared memory, but the host's");
    }
}

void check_alignment(const void* pointer, size_t bytes) {
    auto address = reinterpret_cast<Address>(pointer);
    if (address % bytes == 0) return;
    report(MISALIGNED_ADDRESS, text("%s accesses %s: expected an address that is a multiple of %zu", actor().c_str(),
                                    is_device(address) ? place(address).c_str() : "shared memory", bytes));
    end_launch();
}

void atomic_access(const void* address, unsigned bytes) {
    if (checked) check_access(address, bytes, Access::atomic);
}

namespace {

// A hook is called as well from instrumented code that no thread runs: constructors that enlist kernels.
inline void hook(const void* address, size_t bytes, Access access) {
    if (in_kernel()) check_access(address, bytes, access);
}

// As GCC's and Clang's undefined behaviour sanitizers lay them out.
struct SourceLocation {
    const char* file;
    uint32_t line, column;
};
struct TypeMismatch {
    SourceLocation location;
    const void* type;
    unsigned char log_alignment;
    unsigned char kind;
};
struct OutOfBounds {
    SourceLocation location;
    const void* array_type;
    const void* index_type;
};

}  // namespace

extern "C" {

#define HOOKS(bytes)                                                                                  \
    void __tsan_read##bytes(void* p) { hook(p, bytes, Access::read); }                                \
    void __tsan_write##bytes(void* p) { hook(p, bytes, Access::write); }                              \
    void __tsan_unaligned_read##bytes(void* p) { hook(p, bytes, Access::read); }                      \
    void __tsan_unaligned_write##bytes(void* p) { hook(p, bytes, Access::write); }                    \
    void __tsan_volatile_read##bytes(void* p) { hook(p, bytes, Access::read); }                       \
    void __tsan_volatile_write##bytes(void* p) { hook(p, bytes, Access::write); }
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)

void __tsan_read_range(void* p, size_t bytes) { hook(p, bytes, Access::read); }
void __tsan_write_range(void* p, size_t bytes) { hook(p, bytes, Access::write); }
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}

void __ubsan_handle_type_mismatch_v1(const TypeMismatch* mismatch, void* pointer) {
    if (in_kernel()) check_alignment(pointer, size_t{1} << mismatch->log_alignment);
}

void __ubsan_handle_out_of_bounds(const OutOfBounds* bounds, void* index) {
    if (!in_kernel()) return;
    report(ILLEGAL_ADDRESS, text("%s uses index %td of an array (%s:%u): expected one below its length", actor().c_str(),
                                 reinterpret_cast<ptrdiff_t>(index), bounds->location.file, bounds->location.line));
    end_launch();
}

}  // extern "C"

}  // namespace stand_in
