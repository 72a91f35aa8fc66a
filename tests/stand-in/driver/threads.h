// The threads of one block, as the checks see them: who runs now, where, and what the block's barriers have ordered.
#pragma once

#include <cstdint>
#include <string>

#include "shim_calls.h"

namespace stand_in {

// False in the fast build: kernels run without hooks, and memory has no marks.
#ifdef STAND_IN_UNCHECKED
constexpr bool checked = false;
#else
constexpr bool checked = true;
#endif

struct Kernel;

// Time within launches: it passes at each barrier, of a block or of a warp.
using Time = uint32_t;

struct Position {
    uint16_t thread;      // its number in the block
    uint16_t warp;
    Time block_began;
    Time block_barrier;   // the last barrier of all its threads
    Time warp_barrier;    // the last one of the thread's warp, or of all
    Time now;
};

// Whether a thread of a kernel runs now, in which block, and where it stands.
bool in_kernel();
uint32_t current_block();
Position position();

// "`gemv_bf16`, block (3, 0, 0), thread (17, 0, 0)", or the name of the operation if it is no kernel.
std::string actor();

// Where the stacks of the threads are: nobody else's business, so that nothing is checked there.
bool is_stack(uintptr_t address);

struct DynamicShared {
    uintptr_t start;
    unsigned bytes;     // that the launch asked for
    unsigned capacity;  // that the device has
};
DynamicShared dynamic_shared_memory();

// Runs the threads of one block to their end. False if a report ended it.
bool run_block(const Kernel& kernel, void** arguments, Index block, uint32_t block_number, Index size, Index grid,
               unsigned shared_bytes);

// Ends the launch from within a thread, after a report.
[[noreturn]] void end_launch();

// The order of warps and lanes: as they come, or shuffled.
void shuffle_threads(bool shuffle);

}  // namespace stand_in
