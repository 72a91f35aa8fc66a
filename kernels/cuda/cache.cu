// Keys and values into the pool of a layer.
#include "places.cuh"

// Puts keys and values (rows, kv_heads head_dim) where their rows stand. A column of blocks for each row, which has a
// place for itself, a thread for each number. A block that the pool of `blocks` does not have stops the kernel with an
// error.
template <class T>
__device__ __forceinline__ void append(const float *keys, const float *values, T *key_cache, T *value_cache,
                                       const Place *places, const u32 *tables, u32 kv_heads, u32 head_dim, u32 blocks) {
    const Place place = places[blockIdx.x];
    const u32 block = tables[place.table + place.position / KV_BLOCK];
    if (block >= blocks) {
        __trap();
    }
    const u32 columns = kv_heads * head_dim;
    const u32 column = blockIdx.y * blockDim.x + threadIdx.x;
    if (column >= columns) {
        return;
    }
    const u64 from = u64(place.row) * columns + column;
    const u64 to = row_of_cache(block, place.position % KV_BLOCK, column / head_dim, kv_heads, head_dim) + column % head_dim;
    key_cache[to] = round_as(T{}, keys[from]);
    value_cache[to] = round_as(T{}, values[from]);
}

KERNEL(append_f32)(const float *keys, const float *values, float *key_cache, float *value_cache, const Place *places,
                   const u32 *tables, u32 kv_heads, u32 head_dim, u32 blocks) {
    append(keys, values, key_cache, value_cache, places, tables, kv_heads, head_dim, blocks);
}

KERNEL(append_bf16)(const float *keys, const float *values, bf16 *key_cache, bf16 *value_cache, const Place *places,
                    const u32 *tables, u32 kv_heads, u32 head_dim, u32 blocks) {
    append(keys, values, key_cache, value_cache, places, tables, kv_heads, head_dim, blocks);
}

KERNEL(append_f16)(const float *keys, const float *values, f16 *key_cache, f16 *value_cache, const Place *places,
                   const u32 *tables, u32 kv_heads, u32 head_dim, u32 blocks) {
    append(keys, values, key_cache, value_cache, places, tables, kv_heads, head_dim, blocks);
}
