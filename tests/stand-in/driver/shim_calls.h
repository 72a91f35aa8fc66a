// What a thread asks of its block or its warp: the calls behind the shim (shim.h), made in threads.cpp.
//
// The indices stay the same as long as a thread lives, hence `const`: the compiler may ask once.
#pragma once

namespace stand_in {

struct Index {
    unsigned x, y, z;
};

[[gnu::const]] Index thread_index();
[[gnu::const]] Index block_index();
[[gnu::const]] Index block_size();
[[gnu::const]] Index grid_size();

void sync_block();
void sync_warp(unsigned lanes);
unsigned shuffle(unsigned lanes, unsigned value, unsigned source_lane);
unsigned ballot(unsigned lanes, bool vote);
[[gnu::const]] unsigned lane();
[[gnu::const]] void* dynamic_shared();
[[noreturn]] void trap();

void copy_async(void* shared, const void* global, unsigned bytes, unsigned source_bytes);
void commit_copies();
void wait_copies(unsigned groups_in_flight);

// Announces one atomic access; the instruction itself follows, unseen by the hooks.
void atomic_access(const void* address, unsigned bytes);

struct Quad {
    float x, y, z, w;
};
enum class Half { bf16, f16 };
Quad matrix_product(Half type, Quad sum, unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0, unsigned b1);
struct Words {
    unsigned x, y, z, w;
};
Words load_matrices(const void* row, bool transposed);

}  // namespace stand_in
