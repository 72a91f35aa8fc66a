// Where the rows of a pass stand, and where their sequences have their keys and values.
//
// The cache of a layer is a pool of blocks: (blocks, kv_heads, KV_BLOCK, head_dim) keys, and as many values. A sequence
// has a list of numbers of blocks, in the order of its positions; the lists of all sequences of a pass lie in `tables`,
// one behind the other, each behind the number of positions that its sequence has in this pass. All of this is read from memory, so that a recorded step does what is there when it is run.
#pragma once
#include "prelude.cuh"

// Positions in a block.
const u32 KV_BLOCK = 64;

// Rows of one sequence that follow each other: the first one's number among those of the pass, how many they are, the
// first one's position, and where in `tables` the list of the sequence begins.
struct __align__(16) Place {
    u32 row, rows, position, table;
};

// The number of the first key of a head, or value, at `slot` of a block.
__device__ __forceinline__ u64 row_of_cache(u32 block, u32 slot, u32 kv_head, u32 kv_heads, u32 head_dim) {
    return ((u64(block) * kv_heads + kv_head) * KV_BLOCK + slot) * head_dim;
}
