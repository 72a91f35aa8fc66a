#include "kernels.h"

#include <cstring>
#include <map>

#include "chance.h"
#include "report.h"
#include "threads.h"

namespace stand_in {
namespace {

std::map<std::string, Kernel>& kernels() {
    static std::map<std::string, Kernel> kernels;
    return kernels;
}

bool blocks_in_any_order;
const Launch* running;

// A walk over all blocks: from `first` by steps of `step`, which shares no divisor with their number.
struct Walk {
    uint64_t blocks, first = 0, step = 1;

    explicit Walk(uint64_t blocks) : blocks(blocks) {
        if (!blocks_in_any_order) return;
        first = chance(blocks);
        do step = chance(blocks) + 1;
        while (common_divisor(step, blocks) != 1);
    }

    uint64_t block(uint64_t turn) const { return (first + turn * step) % blocks; }

    static uint64_t common_divisor(uint64_t a, uint64_t b) { return b ? common_divisor(b, a % b) : a; }
};

}  // namespace

std::vector<size_t> Kernel::offsets() const {
    std::vector<size_t> offsets;
    size_t end = 0;
    for (const Parameter& parameter : parameters) {
        size_t begin = (end + parameter.alignment - 1) / parameter.alignment * parameter.alignment;
        offsets.push_back(begin);
        end = begin + parameter.bytes;
    }
    offsets.push_back(end);
    return offsets;
}

void enlist(Kernel kernel) { kernels()[kernel.name] = kernel; }

Kernel* find_kernel(const std::string& name) {
    auto found = kernels().find(name);
    return found == kernels().end() ? nullptr : &found->second;
}

void run_blocks_in_any_order(bool any) {
    blocks_in_any_order = any;
    shuffle_threads(any);
}

const Launch* running_launch() { return running; }

std::string Launch::argument_into(size_t start, size_t bytes) const {
    std::vector<size_t> offsets = kernel->offsets();
    for (size_t i = 0; i < kernel->parameters.size(); i++) {
        size_t end = offsets[i] + kernel->parameters[i].bytes, value;
        // Structures may hold several pointers; all are aligned.
        for (size_t at = offsets[i]; at + sizeof value <= end && at % sizeof value == 0; at += sizeof value) {
            memcpy(&value, &arguments[at], sizeof value);
            if (value - start <= bytes) return text(" (argument %zu)", i);
        }
    }
    return {};
}

void Launch::run() const {
    running = this;
    std::vector<unsigned char> packed = arguments;
    std::vector<size_t> offsets = kernel->offsets();
    std::vector<void*> pointers;
    for (size_t i = 0; i < kernel->parameters.size(); i++) pointers.push_back(packed.data() + offsets[i]);
    uint64_t blocks = uint64_t{grid.x} * grid.y * grid.z;
    Walk walk(blocks);
    for (uint64_t turn = 0; turn < blocks; turn++) {
        uint64_t number = walk.block(turn);
        Index index = {unsigned(number % grid.x), unsigned(number / grid.x % grid.y), unsigned(number / grid.x / grid.y)};
        if (!run_block(*kernel, pointers.data(), index, number, block, grid, shared_bytes)) break;
    }
    running = nullptr;
}

}  // namespace stand_in
