#include "threads.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <vector>

#include "chance.h"
#include "clocks.h"
#include "fiber.h"
#include "half.h"
#include "kernels.h"
#include "report.h"
#include "shared.h"
#include "shim_calls.h"

namespace stand_in {
namespace {

constexpr unsigned warp_lanes = 32;
constexpr unsigned most_threads = 1024;
// Not a power of two: the ends of all stacks, which are all that most threads use, would share one set of each cache.
constexpr size_t stack_bytes = (64 << 10) + 5 * 64;
constexpr unsigned dynamic_capacity = 227 << 10;  // of sm_90, the most of any

enum class State { ready, waits_for_warp, waits_for_block, done };

struct Copy {
    void* to;
    const void* from;
    unsigned bytes;         // of `to`
    unsigned source_bytes;  // the rest is zeros
    unsigned group;         // the number of its group among the thread's
};

// Words that a lane shows to the other lanes: twelve, its elements of the factors of a matrix product, are the most.
using Shown = std::array<uint32_t, 12>;

struct Warp {
    uint32_t alive;
    uint32_t arrived;  // lanes that wait for others
    Time barrier;
    Shown shown[warp_lanes];  // by each lane, when it was last released
};

struct Thread {
    Fiber fiber;
    State state;
    Index index;
    unsigned number;
    unsigned lane;
    Warp* warp;
    uint32_t awaited;       // lanes, while it waits for its warp
    Shown shows;            // to the other lanes
    std::vector<Copy> copies;
    unsigned groups;        // of copies, committed
};

struct Block {
    const Kernel* kernel;
    void** arguments;
    Index index, size, grid;
    uint32_t number;
    unsigned threads, alive, arrived;
    Time began, barrier;
    bool ended;  // by a report
};

Thread threads[most_threads];
Warp warps[most_threads / warp_lanes];
Block block;
Thread* current;
Fiber conductor;  // runs the threads in turn
char* stacks;
char* dynamic_memory;
unsigned dynamic_bytes;
Time now = 1;
bool shuffled;

void* pages(size_t bytes) {
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory != MAP_FAILED) return memory;
    perror("the stand-in for libcuda allocates stacks");
    abort();
}

void prepare_once() {
    if (stacks) return;
    stacks = static_cast<char*>(pages(stack_bytes * most_threads));
    dynamic_memory = static_cast<char*>(pages(dynamic_capacity));
}

void pause() { switch_fiber(&current->fiber, conductor); }

uint32_t lane_bit(const Thread& thread) { return 1u << thread.lane; }

Thread* lanes_of(const Warp* warp) { return threads + (warp - warps) * warp_lanes; }

// What a fiber runs: the kernel, as one thread.
void run_thread() {
    block.kernel->call(block.arguments);
    current->state = State::done;
    current->warp->alive &= ~lane_bit(*current);
    block.alive--;
    for (;;) pause();
}

void release_warp(Warp& warp, uint32_t lanes) {
    warp.arrived &= ~lanes;
    for (unsigned lane = 0; lane < warp_lanes; lane++) {
        if (!(lanes >> lane & 1)) continue;
        Thread& thread = lanes_of(&warp)[lane];
        thread.state = State::ready;
        warp.shown[lane] = thread.shows;
    }
}

// Lets those go on whose lanes are all there: lanes that have ended are awaited no longer.
void release_warp_if_complete(Warp& warp) {
    for (unsigned lane = 0; lane < warp_lanes; lane++) {
        if (!(warp.arrived >> lane & 1)) continue;
        uint32_t awaited = lanes_of(&warp)[lane].awaited & warp.alive;
        if ((warp.arrived & awaited) == awaited) release_warp(warp, awaited);
    }
}

void release_block_if_complete() {
    if (!block.alive || block.arrived != block.alive) return;
    block.arrived = 0;
    block.barrier = ++now;
    for (unsigned number = 0; number < block.threads; number++) {
        if (threads[number].state == State::waits_for_block) threads[number].state = State::ready;
    }
}

void wait_for_lanes(uint32_t lanes) {
    Warp& warp = *current->warp;
    current->state = State::waits_for_warp;
    current->awaited = lanes;
    warp.arrived |= lane_bit(*current);
    release_warp_if_complete(warp);
    if (current->state != State::ready) pause();
}

// Shows `words` to the others of `lanes`, and returns what all have shown. It stays until this lane waits again: nobody
// of `lanes` is released without it.
const Shown* exchange(uint32_t lanes, Shown words) {
    current->shows = words;
    wait_for_lanes(lanes);
    return current->warp->shown;
}

// Runs the lanes of a warp until none can go on. False if none could.
bool run_warp(Warp& warp) {
    unsigned first = shuffled ? chance(warp_lanes) : 0;
    bool progress = false, again = true;
    while (again) {
        again = false;
        for (unsigned turn = 0; turn < warp_lanes; turn++) {
            Thread& thread = lanes_of(&warp)[(first + turn) % warp_lanes];
            if (thread.state != State::ready) continue;
            current = &thread;
            switch_fiber(&conductor, thread.fiber);
            current = nullptr;
            if (block.ended) return true;
            again = progress = true;
        }
        release_warp_if_complete(warp);
    }
    return progress;
}

void report_deadlock() {
    unsigned in_warp = 0;
    for (unsigned number = 0; number < block.threads; number++) {
        in_warp += threads[number].state == State::waits_for_warp;
    }
    report(LAUNCH_FAILED, text("`%s`, block (%u, %u, %u) cannot go on: %u threads wait in __syncthreads and %u for lanes "
                               "of their warp that do not come; expected all threads of the block at each barrier",
                               block.kernel->name.c_str(), block.index.x, block.index.y, block.index.z, block.arrived, in_warp));
    block.ended = true;
}

// The thread behind the one of this index.
Index next(Index index) {
    if (++index.x == block.size.x) {
        index.x = 0;
        if (++index.y == block.size.y) index = {0, 0, index.z + 1};
    }
    return index;
}

void begin_threads() {
    unsigned count = block.threads;
    for (unsigned number = 0; number < (count + warp_lanes - 1) / warp_lanes; number++) {
        unsigned lanes = std::min(count - number * warp_lanes, warp_lanes);
        warps[number].alive = lanes == warp_lanes ? ~0u : (1u << lanes) - 1;
        warps[number].arrived = 0;
        warps[number].barrier = now;
    }
    Index index = {0, 0, 0};
    for (unsigned number = 0; number < count; number++, index = next(index)) {
        Thread& thread = threads[number];
        thread.fiber = new_fiber(stacks + stack_bytes * (number + 1), run_thread);
        thread.state = State::ready;
        thread.index = index;
        thread.number = number;
        thread.lane = number % warp_lanes;
        thread.warp = &warps[number / warp_lanes];
        thread.copies.clear();
        thread.groups = 0;
    }
    for (unsigned number = count; number % warp_lanes; number++) threads[number].state = State::done;
}

std::vector<unsigned> order_of_warps() {
    std::vector<unsigned> order((block.threads + warp_lanes - 1) / warp_lanes);
    std::iota(order.begin(), order.end(), 0);
    for (unsigned left = order.size(); shuffled && left > 1; left--) std::swap(order[left - 1], order[chance(left)]);
    return order;
}

void land(const Copy& copy) {
    memcpy(copy.to, copy.from, copy.source_bytes);
    memset(static_cast<char*>(copy.to) + copy.source_bytes, 0, copy.bytes - copy.source_bytes);
}

}  // namespace

bool run_block(const Kernel& kernel, void** arguments, Index index, uint32_t number, Index size, Index grid,
               unsigned shared_bytes) {
    prepare_once();
    dynamic_bytes = shared_bytes;
    unsigned count = size.x * size.y * size.z;
    now++;
    block = {&kernel, arguments, index, size, grid, number, count, count, 0, now, now, false};
    begin_threads();
    std::vector<unsigned> order = order_of_warps();
    while (block.alive) {
        bool progress = false;
        for (unsigned warp : order) {
            progress |= run_warp(warps[warp]);
            if (block.ended) return false;
        }
        release_block_if_complete();
        if (!progress && block.alive && block.arrived) report_deadlock();
        if (block.ended) return false;
    }
    return true;
}

void end_launch() {
    block.ended = true;
    for (;;) pause();
}

void shuffle_threads(bool shuffle) { shuffled = shuffle; }

bool in_kernel() { return current; }

uint32_t current_block() { return block.number; }

Position position() {
    const Thread& thread = *current;
    Time warp_barrier = std::max(thread.warp->barrier, block.barrier);
    auto number = static_cast<uint16_t>(thread.number);
    return {number, static_cast<uint16_t>(number / warp_lanes), block.began, block.barrier, warp_barrier, now};
}

std::string actor() {
    if (!current) return "`" + operation(current_operation()).name + "`";
    Index at = current->index;
    return text("`%s`, block (%u, %u, %u), thread (%u, %u, %u),", block.kernel->name.c_str(), block.index.x, block.index.y,
                block.index.z, at.x, at.y, at.z);
}

bool is_stack(uintptr_t address) { return address - reinterpret_cast<uintptr_t>(stacks) < stack_bytes * most_threads; }

DynamicShared dynamic_shared_memory() {
    return {reinterpret_cast<uintptr_t>(dynamic_memory), dynamic_bytes, dynamic_capacity};
}

// ---- What a kernel calls (shim.h).

Index thread_index() { return current->index; }
Index block_index() { return block.index; }
Index block_size() { return block.size; }
Index grid_size() { return block.grid; }
unsigned lane() { return current->lane; }
void* dynamic_shared() { return dynamic_memory; }

void sync_block() {
    current->state = State::waits_for_block;
    block.arrived++;
    release_block_if_complete();
    if (current->state != State::ready) pause();
}

void sync_warp(unsigned lanes) {
    wait_for_lanes(lanes);
    current->warp->barrier = ++now;
}

unsigned shuffle(unsigned lanes, unsigned value, unsigned source_lane) {
    return exchange(lanes, {value})[source_lane % warp_lanes][0];
}

unsigned ballot(unsigned lanes, bool vote) {
    uint32_t voters = lanes & current->warp->alive;
    const Shown* shown = exchange(lanes, {vote});
    unsigned votes = 0;
    for (unsigned lane = 0; lane < warp_lanes; lane++) votes |= (voters >> lane & shown[lane][0]) << lane;
    return votes;
}

void trap() {
    report(LAUNCH_FAILED, actor() + " traps");
    end_launch();
}

void copy_async(void* to, const void* from, unsigned bytes, unsigned source_bytes) {
    check_async_copy(to, from, bytes, source_bytes);
    current->copies.push_back({to, from, bytes, source_bytes, current->groups});
}

void commit_copies() { current->groups++; }

void wait_copies(unsigned groups_in_flight) {
    unsigned landed = current->groups - std::min(current->groups, groups_in_flight);
    std::vector<Copy>& copies = current->copies;
    size_t count = 0;
    while (count < copies.size() && copies[count].group < landed) {
        const Copy& copy = copies[count++];
        land(copy);
        mark_landed(copy.to, copy.bytes);
    }
    copies.erase(copies.begin(), copies.begin() + count);
}

namespace {

float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

// A number of 16 bits as the bits of one of 32.
uint32_t widen(Half type, uint32_t half) {
    if (type == Half::bf16) return half << 16;
    float wide = widen_f16(static_cast<unsigned short>(half));
    uint32_t bits;
    memcpy(&bits, &wide, sizeof bits);
    return bits;
}

// The fragments of `mma.m16n8k16`: PTX, "Matrix fragments for mma.m16n8k16". Lane 4 g + q holds of A the rows g and
// g + 8, of B the column g, of both the depths 2 q, 2 q + 1, 2 q + 8 and 2 q + 9; of D the columns 2 q and 2 q + 1.
float product(const Shown* shown, unsigned row, unsigned column) {
    float sum = 0;
    for (unsigned depth = 0; depth < 16; depth++) {
        unsigned quarter = depth % 8 / 2, upper = depth / 8, odd = depth % 2;
        float a = float_of(shown[row % 8 * 4 + quarter][2 * (row / 8 + 2 * upper) + odd]);
        float b = float_of(shown[column * 4 + quarter][2 * (4 + upper) + odd]);
        sum += a * b;
    }
    return sum;
}

}  // namespace

Quad matrix_product(Half type, Quad sum, unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0, unsigned b1) {
    const unsigned words[] = {a0, a1, a2, a3, b0, b1};
    Shown wide;
    for (size_t i = 0; i < wide.size(); i++) wide[i] = widen(type, words[i / 2] >> i % 2 * 16 & 0xffff);
    const Shown* shown = exchange(~0u, wide);
    unsigned row = current->lane / 4, column = current->lane % 4 * 2;
    return {sum.x + product(shown, row, column), sum.y + product(shown, row, column + 1),
            sum.z + product(shown, row + 8, column), sum.w + product(shown, row + 8, column + 1)};
}

// `ldmatrix.x4`: lane 8 m + r gives the address of row r of matrix m, 8 elements of 16 bits; lane 4 g + q gets of each
// matrix the elements 2 q and 2 q + 1 of row g, or, transposed, the elements g of the rows 2 q and 2 q + 1.
Words load_matrices(const void* row, bool transposed) {
    check_shared_read(row, 16);
    Shown words = {};
    memcpy(words.data(), row, 16);
    const Shown* shown = exchange(~0u, words);
    unsigned group = current->lane / 4, pair = current->lane % 4;
    auto element = [&](unsigned matrix, unsigned r, unsigned c) {
        return shown[matrix * 8 + r][c / 2] >> c % 2 * 16 & 0xffff;
    };
    auto word = [&](unsigned matrix) {
        if (transposed) return element(matrix, 2 * pair, group) | element(matrix, 2 * pair + 1, group) << 16;
        return element(matrix, group, 2 * pair) | element(matrix, group, 2 * pair + 1) << 16;
    };
    return {word(0), word(1), word(2), word(3)};
}

}  // namespace stand_in
