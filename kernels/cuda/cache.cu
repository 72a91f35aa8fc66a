// The keys and values of a layer: (kv_heads, capacity, head_dim) each, and the number of positions that they hold.
#include "prelude.cuh"

// Puts keys and values (rows, kv_heads head_dim) at the positions from `*before` on. A column of blocks for each row, a
// thread for each number. A position past the capacity stops the kernel with an error.
template <class T>
__device__ __forceinline__ void append(const float *keys, const float *values, T *key_cache, T *value_cache,
                                       const u32 *before, u32 kv_heads, u32 head_dim, u32 capacity) {
    const u32 row = blockIdx.x;
    const u32 position = *before + row;
    if (position >= capacity) {
        __trap();
    }
    const u32 columns = kv_heads * head_dim;
    const u32 column = blockIdx.y * blockDim.x + threadIdx.x;
    if (column >= columns) {
        return;
    }
    const u64 from = u64(row) * columns + column;
    const u64 to = (u64(column / head_dim) * capacity + position) * head_dim + column % head_dim;
    key_cache[to] = round_as(T{}, keys[from]);
    value_cache[to] = round_as(T{}, values[from]);
}

KERNEL(append_f32)(const float *keys, const float *values, float *key_cache, float *value_cache, const u32 *before,
                   u32 kv_heads, u32 head_dim, u32 capacity) {
    append(keys, values, key_cache, value_cache, before, kv_heads, head_dim, capacity);
}

KERNEL(append_bf16)(const float *keys, const float *values, bf16 *key_cache, bf16 *value_cache, const u32 *before,
                    u32 kv_heads, u32 head_dim, u32 capacity) {
    append(keys, values, key_cache, value_cache, before, kv_heads, head_dim, capacity);
}

KERNEL(append_f16)(const float *keys, const float *values, f16 *key_cache, f16 *value_cache, const u32 *before,
                   u32 kv_heads, u32 head_dim, u32 capacity) {
    append(keys, values, key_cache, value_cache, before, kv_heads, head_dim, capacity);
}
