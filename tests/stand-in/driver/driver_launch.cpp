// cuLaunchKernel: the geometry against the device's limits, the arguments against the kernel's parameters.
#include <sys/uio.h>
#include <unistd.h>

#include <cstring>

#include "call.h"
#include "kernels.h"
#include "memory.h"
#include "schedule.h"

namespace stand_in {
namespace {

using Bytes = std::vector<unsigned char>;

// The markers of `extra`: cuda.h, CU_LAUNCH_PARAM_*.
void* const EXTRA_END = nullptr;
void* const EXTRA_BUFFER = reinterpret_cast<void*>(1);
void* const EXTRA_SIZE = reinterpret_cast<void*>(2);

bool fits(const Kernel& kernel, Index grid, Index block, unsigned shared_bytes) {
    uint64_t threads = uint64_t{block.x} * block.y * block.z;
    bool some = grid.x && grid.y && grid.z && threads;
    bool few = grid.x <= 0x7fffffff && grid.y <= 65535 && grid.z <= 65535 && block.z <= 64 && threads <= 1024;
    if (some && few && shared_bytes <= kernel.dynamic_shared_limit) return true;
    report(INVALID_VALUE, text("`%s` is launched with grid (%u, %u, %u), block (%u, %u, %u) and %u bytes of shared memory; "
                               "expected at least one and at most 1024 threads a block, and at most %u bytes, the limit set "
                               "for this kernel", kernel.name.c_str(), grid.x, grid.y, grid.z, block.x, block.y, block.z,
                               shared_bytes, kernel.dynamic_shared_limit));
    return false;
}

// Copies from memory that may not be there.
bool try_copy(void* to, const void* from, size_t bytes) {
    iovec local = {to, bytes}, remote = {const_cast<void*>(from), bytes};
    return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == static_cast<ssize_t>(bytes);
}

// Arguments by their addresses. How many there are is not said, so that only too few can be noticed, by what lies behind.
bool gather(const Kernel& kernel, void** addresses, Bytes& packed) {
    std::vector<size_t> offsets = kernel.offsets();
    packed.resize(offsets.back());
    for (size_t i = 0; i < kernel.parameters.size(); i++) {
        void* address;
        size_t bytes = kernel.parameters[i].bytes;
        if (try_copy(&address, addresses + i, sizeof address) && try_copy(&packed[offsets[i]], address, bytes)) continue;
        report(INVALID_VALUE, text("`%s` takes %zu arguments; there is none for argument %zu, of %zu bytes", kernel.name.c_str(),
                                   kernel.parameters.size(), i, bytes));
        return false;
    }
    return true;
}

// Arguments in one buffer, whose size tells of arguments that are missing, or of the wrong type.
bool unpack(const Kernel& kernel, void** extra, Bytes& packed) {
    const unsigned char* buffer = nullptr;
    size_t bytes = 0;
    for (; *extra != EXTRA_END; extra += 2) {
        if (*extra == EXTRA_BUFFER) buffer = static_cast<const unsigned char*>(extra[1]);
        if (*extra == EXTRA_SIZE) bytes = *static_cast<size_t*>(extra[1]);
    }
    size_t expected = kernel.offsets().back();
    if (bytes != expected) {
        report(INVALID_VALUE, text("`%s` is launched with %zu bytes of arguments; expected %zu, for %zu parameters",
                                   kernel.name.c_str(), bytes, expected, kernel.parameters.size()));
        return false;
    }
    packed.assign(buffer, buffer + bytes);
    return true;
}

// A pointer is null or was allocated: this is how exchanged and shifted arguments are seen.
bool are_pointers(const Kernel& kernel, const Bytes& packed) {
    std::vector<size_t> offsets = kernel.offsets();
    for (size_t i = 0; i < kernel.parameters.size(); i++) {
        if (!kernel.parameters[i].is_pointer) continue;
        Address value;
        memcpy(&value, &packed[offsets[i]], sizeof value);
        if (value == 0 || was_allocated(value)) continue;
        report(INVALID_VALUE, text("argument %zu of `%s` is a pointer; expected null or device memory, got %s", i,
                                   kernel.name.c_str(), place(value).c_str()));
        return false;
    }
    return true;
}

}  // namespace
}  // namespace stand_in

using namespace stand_in;

DRIVER_CALL cuLaunchKernel(Kernel* kernel, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                           unsigned block_y, unsigned block_z, unsigned shared_bytes, void* stream, void** addresses,
                           void** extra) {
    return driver_call(__func__, Needs::context, [&] {
        Index grid = {grid_x, grid_y, grid_z}, block = {block_x, block_y, block_z};
        Bytes packed;
        if (!fits(*kernel, grid, block, shared_bytes)) return INVALID_VALUE;
        if (!(extra ? unpack(*kernel, extra, packed) : gather(*kernel, addresses, packed))) return INVALID_VALUE;
        if (!are_pointers(*kernel, packed)) return INVALID_VALUE;
        Launch launch = {kernel, grid, block, shared_bytes, packed};
        return submit(stream_of(stream), [launch] {
            return Work{launch.kernel->name, [launch] {
                            count(Counter::kernels);
                            launch.run();
                        }, {}, {}, {}};
        });
    });
}
