// The kernels that were compiled in, by name, and the launch of one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "shim_calls.h"

namespace stand_in {

// One parameter of a kernel, as the compiler laid it out.
struct Parameter {
    size_t bytes;
    size_t alignment;
    bool is_pointer;
};

struct Kernel {
    std::string name;
    std::vector<Parameter> parameters;
    void (*call)(void** arguments);  // each argument by its address
    unsigned dynamic_shared_limit = 48 << 10;  // until cuFuncSetAttribute raises it

    // Where each argument begins in a packed buffer, and, last, where the buffer ends.
    std::vector<size_t> offsets() const;
};

void enlist(Kernel kernel);
Kernel* find_kernel(const std::string& name);

// The random schedule: blocks, warps and lanes in any order, by chance.
void run_blocks_in_any_order(bool any);

struct Launch {
    const Kernel* kernel;
    Index grid;
    Index block;
    unsigned shared_bytes;
    std::vector<unsigned char> arguments;  // packed

    // Runs all blocks, one after another, until the end or the first report.
    void run() const;
    // The first argument that holds an address from `start` to `start + bytes`: " (argument 2)", or nothing.
    std::string argument_into(size_t start, size_t bytes) const;
};

// The launch that runs now, or nullptr.
const Launch* running_launch();

}  // namespace stand_in
