// Causal grouped-query attention of many rows on the matrix units, without a matrix of all scores ("FlashAttention": Dao
// et al., 2022): queries and out are (rows, heads * head_dim) in f32, keys and values in 16 bits.
//
// A block takes a tile, which is up to 64 rows of one sequence, of one head; each of its four warps 16 rows of them. It
// walks the positions that the rows see in steps that begin at multiples of their length, so that each lies in one block
// of the cache: their keys are copied into shared memory, multiplied with the queries (which stay in registers), taken into an
// online softmax, and the exponentials, rounded, are multiplied with the values. While one of both is multiplied, the
// other is copied. Rows in shared memory are 16 bytes longer than they are, so that the eight rows of a matrix of
// `ldmatrix` lie in different banks.
//
// Limit: the matrix units, 4 rows positions head_dim operations a head; the exponentials take as long at 64 columns.
// `head_dim` is a multiple of 8, everything 16-byte aligned; columns up to `DIM` are zeros.
#include "attention.cuh"

// Rows of a block; a warp has 16.
const u32 PREFILL_ROWS = 64;
const u32 PREFILL_THREADS = 128;

// Heads of up to `DIM` columns, `STEP` positions at a time: with 256 columns and 64 positions the sums and scores would
// not fit the registers.
template <u32 DIM_, u32 STEP_>
struct Prefill {
    static const u32 DIM = DIM_, STEP = STEP_;
    // Pieces of 16 bytes of a row in shared memory.
    static const u32 STRIDE = DIM / 8 + 1;
    // Steps of 16 columns, and of 16 positions.
    static const u32 COLUMN_STEPS = DIM / 16, POSITION_STEPS = STEP / 16;
};

// Where the lane's address for `ldmatrix_x4` is, of the 16 rows and 16 columns that begin there: the second matrix lies
// `below` (8 rows further), or beside the first (8 columns further).
template <class P>
__device__ __forceinline__ const uint4 *matrices(const uint4 *tile, u32 row, u32 piece, bool second_is_below) {
    const u32 lane = threadIdx.x % WARP, matrix = lane / 8;
    const u32 down = second_is_below ? matrix % 2 : matrix / 2, right = second_is_below ? matrix / 2 : matrix % 2;
    return tile + (row + 8 * down + lane % 8) * P::STRIDE + piece + right;
}

// The queries of the rows g and g + 8 of a warp, as `a` of the products. `queries` and `row` begin with the tile.
template <class P, class T>
__device__ __forceinline__ void load_queries(const float *queries, u32 row, u32 rows, u32 head, const AttentionShape &shape,
                                             u32 (&out)[P::COLUMN_STEPS][4]) {
    const u32 column = threadIdx.x % 4 * 2;
#pragma unroll
    for (u32 half = 0; half < 2; half++) {
        const u64 own_row = least(row + half * 8, rows - 1);
        const float *const from = queries + (own_row * shape.heads + head) * shape.head_dim + column;
#pragma unroll
        for (u32 i = 0; i < 2 * P::COLUMN_STEPS; i++) {
            float2 pair = {0, 0};
            if (8 * i < shape.head_dim) {
                pair = *reinterpret_cast<const float2 *>(from + 8 * i);
            }
            out[i / 2][i % 2 * 2 + half] = pack(T{}, pair.x, pair.y);
        }
    }
}

// Begins to copy the rows of a step; those behind the `last` one are the last one again, with which nothing is done.
template <class P, class T>
__device__ __forceinline__ void copy_rows(uint4 *tile, const T *from, u32 last, u32 head_dim) {
    const u32 pieces = head_dim / 8;
#pragma unroll 1
    for (u32 i = threadIdx.x; i < P::STEP * pieces; i += PREFILL_THREADS) {
        const u32 row = i / pieces, piece = i % pieces;
        cp_async16(tile + row * P::STRIDE + piece, from + u64(least(row, last)) * head_dim + piece * 8);
    }
}

// Columns that the heads do not have.
template <class P>
__device__ __forceinline__ void clear_columns(uint4 *tile, u32 head_dim) {
    const u32 pieces = head_dim / 8, missing = P::DIM / 8 - pieces;
#pragma unroll 1
    for (u32 i = threadIdx.x; i < P::STEP * missing; i += PREFILL_THREADS) {
        tile[i / missing * P::STRIDE + pieces + i % missing] = uint4{0, 0, 0, 0};
    }
}

// scores (16, STEP) = queries (16, DIM) keys^T
template <class P, class T>
__device__ __forceinline__ void score(const u32 (&queries)[P::COLUMN_STEPS][4], const uint4 *keys,
                                      float (&scores)[2 * P::POSITION_STEPS][4]) {
#pragma unroll
    for (u32 p = 0; p < P::POSITION_STEPS; p++) {
#pragma unroll
        for (u32 i = 0; i < 8; i++) {
            scores[2 * p + i / 4][i % 4] = 0;
        }
#pragma unroll
        for (u32 c = 0; c < P::COLUMN_STEPS; c++) {
            u32 key[4];
            ldmatrix_x4(key, matrices<P>(keys, 16 * p, 2 * c, false));
            mma_m16n8k16(T{}, scores[2 * p], queries[c], key[0], key[1]);
            mma_m16n8k16(T{}, scores[2 * p + 1], queries[c], key[2], key[3]);
        }
    }
}

// A softmax that has seen some positions, of the rows g and g + 8; `sum` is that of this lane alone.
template <class P>
struct Rows {
    float largest[2], sum[2];
    float values[2 * P::COLUMN_STEPS][4];
};

// Scores to exponentials, relative to the largest score so far; what was before is scaled down to it. `position` is that
// of the lane's first row, `first` that of the first score; where all rows see the same, it ends at `end_for_all`.
template <class P>
__device__ __forceinline__ void take_scores(float (&scores)[2 * P::POSITION_STEPS][4], u32 position, u32 first,
                                            u32 end_for_all, const AttentionShape &shape, Rows<P> &rows) {
#pragma unroll
    for (u32 half = 0; half < 2; half++) {
        const u32 start = first_seen(position + 8 * half, shape.window);
        const u32 seen = (end_for_all != 0 ? end_for_all : position + 8 * half + 1) - start;
        const u32 own_first = first + threadIdx.x % 4 * 2 - start; // wraps where it lies before the start
        float larger = rows.largest[half];
#pragma unroll
        for (u32 i = 0; i < 4 * P::POSITION_STEPS; i++) {
            float &own = scores[i / 2][2 * half + i % 2];
            own = own_first + i / 2 * 8 + i % 2 < seen ? own * (shape.scale * LOG2_E) : minus_infinity();
            larger = fmaxf(larger, own);
        }
        larger = fmaxf(larger, __shfl_xor_sync(WHOLE_WARP, larger, 1));
        larger = fmaxf(larger, __shfl_xor_sync(WHOLE_WARP, larger, 2));
        const float reference = reference_of(larger);
        const float shrink = power_of_2(rows.largest[half] - reference);
        rows.largest[half] = larger;
        rows.sum[half] *= shrink;
#pragma unroll
        for (u32 i = 0; i < 4 * P::POSITION_STEPS; i++) {
            float &own = scores[i / 2][2 * half + i % 2];
            own = power_of_2(own - reference);
            rows.sum[half] += own;
        }
#pragma unroll
        for (u32 i = 0; i < 4 * P::COLUMN_STEPS; i++) {
            rows.values[i / 2][2 * half + i % 2] *= shrink;
        }
    }
}

// rows.values (16, DIM) += exponentials (16, STEP) values
template <class P, class T>
__device__ __forceinline__ void add_values(const float (&exponentials)[2 * P::POSITION_STEPS][4], const uint4 *values,
                                           Rows<P> &rows) {
#pragma unroll
    for (u32 p = 0; p < P::POSITION_STEPS; p++) {
        u32 weights[4];
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            const float *const pair = exponentials[2 * p + i / 2] + i % 2 * 2;
            weights[i] = pack(T{}, pair[0], pair[1]);
        }
#pragma unroll
        for (u32 c = 0; c < P::COLUMN_STEPS; c++) {
            u32 value[4];
            ldmatrix_x4_transposed(value, matrices<P>(values, 16 * p, 2 * c, true));
            mma_m16n8k16(T{}, rows.values[2 * c], weights, value[0], value[1]);
            mma_m16n8k16(T{}, rows.values[2 * c + 1], weights, value[2], value[3]);
        }
    }
}

template <class P, class T>
__device__ __forceinline__ void write_rows(const Rows<P> &of, u32 row, u32 rows, u32 head, const AttentionShape &shape,
                                           float *out, T *rounded) {
#pragma unroll
    for (u32 half = 0; half < 2; half++) {
        float sum = of.sum[half];
        sum += __shfl_xor_sync(WHOLE_WARP, sum, 1);
        sum += __shfl_xor_sync(WHOLE_WARP, sum, 2);
        const float scale = 1.0f / sum;
        const u64 start = (u64(row + 8 * half) * shape.heads + head) * shape.head_dim + threadIdx.x % 4 * 2;
        if (row + 8 * half >= rows) {
            continue;
        }
#pragma unroll
        for (u32 i = 0; i < 2 * P::COLUMN_STEPS; i++) {
            const float2 pair = {of.values[i][2 * half] * scale, of.values[i][2 * half + 1] * scale};
            if (8 * i < shape.head_dim) {
                *reinterpret_cast<float2 *>(out + start + 8 * i) = pair;
                if (rounded) {
                    *reinterpret_cast<u32 *>(rounded + start + 8 * i) = pack(T{}, pair.x, pair.y);
                }
            }
        }
    }
}

// Tiles are places of up to PREFILL_ROWS rows. The grid is (tiles, heads).
template <class P, class T>
__device__ __forceinline__ void attention_prefill(const float *queries, const T *keys, const T *values,
                                                  const Place *tiles, const u32 *tables, float *out, T *rounded,
                                                  const AttentionShape &shape) {
    DYNAMIC_SHARED(uint4, key_tile);
    uint4 *const value_tile = key_tile + P::STEP * P::STRIDE;
    const Place tile = tiles[blockIdx.x];
    const u32 *const table = tables + tile.table;
    const u32 head = blockIdx.y, kv_head = head / (shape.heads / shape.kv_heads);
    const u32 row = threadIdx.x / WARP * 16 + threadIdx.x % WARP / 4;
    const u32 all = end_for_all(table, shape.window);
    const u32 last = all != 0 ? all - 1 : tile.position + tile.rows - 1; // position that a row of the tile sees
    const u32 start = first_seen(tile.position, shape.window) / P::STEP * P::STEP;

    clear_columns<P>(key_tile, shape.head_dim);
    clear_columns<P>(value_tile, shape.head_dim);
    u32 query[P::COLUMN_STEPS][4];
    load_queries<P, T>(queries + u64(tile.row) * shape.heads * shape.head_dim, row, tile.rows, head, shape, query);
    Rows<P> own = {{minus_infinity(), minus_infinity()}, {}, {}};
    u64 from = row_of_cache(table[start / KV_BLOCK], start % KV_BLOCK, kv_head, shape.kv_heads, shape.head_dim);
    copy_rows<P>(key_tile, keys + from, last - start, shape.head_dim);
    cp_async_commit();
#pragma unroll 1
    for (u32 first = start; first <= last; first += P::STEP) {
        copy_rows<P>(value_tile, values + from, last - first, shape.head_dim);
        cp_async_commit();
        const u32 next = first + P::STEP, next_block = table[least(next, last) / KV_BLOCK];
        cp_async_wait<1>();
        __syncthreads(); // the keys are there
        float scores[2 * P::POSITION_STEPS][4];
        score<P, T>(query, key_tile, scores);
        __syncthreads(); // and done with
        if (next <= last) {
            from = row_of_cache(next_block, next % KV_BLOCK, kv_head, shape.kv_heads, shape.head_dim);
            copy_rows<P>(key_tile, keys + from, last - next, shape.head_dim);
        }
        cp_async_commit();
        take_scores(scores, tile.position + row, first, all, shape, own);
        cp_async_wait<1>();
        __syncthreads(); // the values are there
        add_values<P, T>(scores, value_tile, own);
        __syncthreads(); // and done with
    }
    // Read once more: kept over the steps, it takes the registers of a fourth block of the processor.
    const Place again = tiles[blockIdx.x];
    const u64 to = u64(again.row) * shape.heads * shape.head_dim;
    write_rows<P, T>(own, row, again.rows, head, shape, out + to, rounded ? rounded + to : rounded);
}

KERNEL(attention_prefill_64_bf16)(const float *queries, const bf16 *keys, const bf16 *values, const Place *tiles,
                                  const u32 *tables, float *out, bf16 *rounded, AttentionShape shape) {
    attention_prefill<Prefill<64, 64>>(queries, keys, values, tiles, tables, out, rounded, shape);
}

KERNEL(attention_prefill_128_bf16)(const float *queries, const bf16 *keys, const bf16 *values, const Place *tiles,
                                   const u32 *tables, float *out, bf16 *rounded, AttentionShape shape) {
    attention_prefill<Prefill<128, 64>>(queries, keys, values, tiles, tables, out, rounded, shape);
}

KERNEL(attention_prefill_256_bf16)(const float *queries, const bf16 *keys, const bf16 *values, const Place *tiles,
                                   const u32 *tables, float *out, bf16 *rounded, AttentionShape shape) {
    attention_prefill<Prefill<256, 32>>(queries, keys, values, tiles, tables, out, rounded, shape);
}

KERNEL(attention_prefill_64_f16)(const float *queries, const f16 *keys, const f16 *values, const Place *tiles,
                                 const u32 *tables, float *out, f16 *rounded, AttentionShape shape) {
    attention_prefill<Prefill<64, 64>>(queries, keys, values, tiles, tables, out, rounded, shape);
}

KERNEL(attention_prefill_128_f16)(const float *queries, const f16 *keys, const f16 *values, const Place *tiles,
                                  const u32 *tables, float *out, f16 *rounded, AttentionShape shape) {
    attention_prefill<Prefill<128, 64>>(queries, keys, values, tiles, tables, out, rounded, shape);
}

KERNEL(attention_prefill_256_f16)(const float *queries, const f16 *keys, const f16 *values, const Place *tiles,
                                  const u32 *tables, float *out, f16 *rounded, AttentionShape shape) {
    attention_prefill<Prefill<256, 32>>(queries, keys, values, tiles, tables, out, rounded, shape);
}
