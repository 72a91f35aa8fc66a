// Grouped-query attention of few rows over a long cache, whose positions are split among blocks and put together
// afterwards ("split-KV": Dao et al., 2023). The rows may be of different sequences.
//
// Limit: the bytes of the keys and values. A block takes one row, up to four heads that share a head of the cache, and
// one part of the positions. In it, as many neighbouring lanes as a key has vectors make a team (16 at 128 columns), and
// each team walks positions of its own, each lane with its vector of the keys, of the values, of four queries and of
// four sums. The softmax of a team is online (Milakov and Gimelshein, 2018): its sums are relative to the largest score
// it has met. At the end the teams of the block are put together in shared memory, in the same order each time.
//
// Scores are in units of log(2), so that their exponentials are powers of 2.
//
// Everything is read by 16 bytes: `head_dim` is a multiple of 8, and all addresses are multiples of 16.
#include "attention.cuh"

// Heads of a block that share the keys and values that it reads. More would not fit the registers of a lane.
const u32 DECODE_HEADS = 4;

// Positions that a team has on their way at a time.
const u32 DECODE_AHEAD = 2;

// Threads of a block.
const u32 DECODE_THREADS = 128;

// What a softmax that has seen some positions is, of one head: for each lane its vector of the values.
struct Online {
    float largest, sum;
    float values[VECTOR];
};

// The vector of a row that begins at column `at`; zeros behind the end of the row.
template <class T>
__device__ __forceinline__ void load_columns(const T *row, u32 at, u32 columns, float (&out)[VECTOR]) {
    Packed<T> packed = {};
    if (at < columns) {
        fetch(row + at, packed);
    }
    widen(packed, out);
}

__device__ __forceinline__ float dot(const float (&a)[VECTOR], const float (&b)[VECTOR]) {
    float sum = 0;
#pragma unroll
    for (u32 i = 0; i < VECTOR; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}

// Each lane of a team of 2^n lanes gets the sum of all of the team.
__device__ __forceinline__ float team_sum(float x, u32 team) {
#pragma unroll 1
    for (u32 distance = team / 2; distance > 0; distance /= 2) {
        x += __shfl_xor_sync(WHOLE_WARP, x, distance);
    }
    return x;
}

// Takes the scores of some positions and their values into the softmax.
__device__ __forceinline__ void take(Online &online, const float (&scores)[DECODE_AHEAD],
                                     const float (&values)[DECODE_AHEAD][VECTOR]) {
    float larger = online.largest;
#pragma unroll
    for (u32 i = 0; i < DECODE_AHEAD; i++) {
        larger = fmaxf(larger, scores[i]);
    }
    const float reference = reference_of(larger);
    const float shrink = power_of_2(online.largest - reference);
    online.largest = larger;
    online.sum *= shrink;
#pragma unroll
    for (u32 c = 0; c < VECTOR; c++) {
        online.values[c] *= shrink;
    }
#pragma unroll
    for (u32 i = 0; i < DECODE_AHEAD; i++) {
        const float weight = power_of_2(scores[i] - reference);
        online.sum += weight;
#pragma unroll
        for (u32 c = 0; c < VECTOR; c++) {
            online.values[c] += weight * values[i][c];
        }
    }
}

// The positions of a team: a part of those that a row sees, `end` being behind the last of the part. Its teams take them
// in turns, each `stride` from the next.
struct Walk {
    u32 start, end, first, stride;

    // The position `i` of those that are taken together; the last one where there is none.
    __device__ __forceinline__ u32 position(u32 turn, u32 i) const { return least(turn + first + i * stride, end - 1); }
};

// Walks its positions, of the head `kv_head` of the blocks in `table`. All lanes of a warp make the same number of turns,
// `end - start` being the same for all: a position behind the end has a score of minus infinity. The blocks of a turn
// are looked up in the turn before.
template <class T>
__device__ __forceinline__ void walk(const T *keys, const T *values, const u32 *table, u32 kv_head,
                                     const float (&queries)[DECODE_HEADS][VECTOR], const Walk &of, u32 team,
                                     const AttentionShape &shape, Online (&online)[DECODE_HEADS]) {
    const u32 column = threadIdx.x % team * VECTOR;
    u32 blocks[DECODE_AHEAD];
#pragma unroll
    for (u32 i = 0; i < DECODE_AHEAD; i++) {
        blocks[i] = table[of.position(of.start, i) / KV_BLOCK];
    }
#pragma unroll 1
    for (u32 turn = of.start; turn < of.end; turn += DECODE_AHEAD * of.stride) {
        float key[DECODE_AHEAD][VECTOR], value[DECODE_AHEAD][VECTOR];
#pragma unroll
        for (u32 i = 0; i < DECODE_AHEAD; i++) {
            const u32 slot = of.position(turn, i) % KV_BLOCK;
            const u64 row = row_of_cache(blocks[i], slot, kv_head, shape.kv_heads, shape.head_dim);
            load_columns(keys + row, column, shape.head_dim, key[i]);
            load_columns(values + row, column, shape.head_dim, value[i]);
            blocks[i] = table[of.position(turn + DECODE_AHEAD * of.stride, i) / KV_BLOCK];
        }
#pragma unroll
        for (u32 h = 0; h < DECODE_HEADS; h++) {
            float scores[DECODE_AHEAD];
#pragma unroll
            for (u32 i = 0; i < DECODE_AHEAD; i++) {
                const float score = team_sum(dot(queries[h], key[i]), team) * (shape.scale * LOG2_E);
                scores[i] = turn + of.first + i * of.stride < of.end ? score : minus_infinity();
            }
            take(online[h], scores, value);
        }
    }
}

// The positions of this block: a part of those that the row sees, as long as the others but for the last. Where all rows
// see the same, it ends at `end_for_all`.
__device__ __forceinline__ void part_of(u32 position, u32 window, u32 end_for_all, u32 &start, u32 &end) {
    const u32 seen_end = end_for_all != 0 ? end_for_all : position + 1;
    const u32 seen_start = first_seen(position, window);
    const u32 length = divided_up(seen_end - seen_start, gridDim.z);
    start = least(seen_start + blockIdx.z * length, seen_end);
    end = least(start + length, seen_end);
}

// Leaves what this team has of one head in shared memory: its largest score, its sum, and its values.
__device__ __forceinline__ void leave(const Online &online, u32 team, u32 head_dim, float *to) {
    if (threadIdx.x % team == 0) {
        to[0] = online.largest;
        to[1] = online.sum;
    }
#pragma unroll
    for (u32 c = 0; c < VECTOR; c++) {
        const u32 column = threadIdx.x % team * VECTOR + c;
        if (column < head_dim) {
            to[2 + column] = online.values[c];
        }
    }
}

// One column of several softmaxes of the same head as one: `of` is (count, head_dim + 2), each its largest score, its
// sum, and its values.
struct Sum {
    float largest, sum, value;
};

__device__ __forceinline__ Sum sum_of(const float *of, u32 count, u32 head_dim, u32 column) {
    const u32 width = head_dim + 2;
    Sum all = {minus_infinity(), 0, 0};
#pragma unroll 1
    for (u32 i = 0; i < count; i++) {
        all.largest = fmaxf(all.largest, of[i * width]);
    }
    const float reference = reference_of(all.largest);
#pragma unroll 1
    for (u32 i = 0; i < count; i++) {
        const float weight = power_of_2(of[i * width] - reference);
        all.sum += weight * of[i * width + 1];
        all.value += weight * of[i * width + 2 + column];
    }
    return all;
}

// Adds up what the teams of the block have, `scratch` (heads, teams, head_dim + 2), and writes it: to `out`, divided by
// the sum, where the positions are not split; otherwise to `partial`.
template <class T>
__device__ __forceinline__ void put_together(const float *scratch, u32 row, u32 first_head, u32 heads, u32 teams,
                                             const AttentionShape &shape, float *partial, float *out, T *rounded) {
    const u32 width = shape.head_dim + 2;
#pragma unroll 1
    for (u32 i = threadIdx.x; i < heads * shape.head_dim; i += blockDim.x) {
        const u32 h = i / shape.head_dim, column = i % shape.head_dim;
        const Sum all = sum_of(scratch + h * teams * width, teams, shape.head_dim, column);
        const u32 head = first_head + h;
        if (gridDim.z == 1) {
            const u64 to = (u64(row) * shape.heads + head) * shape.head_dim + column;
            out[to] = all.value / all.sum;
            if (rounded) {
                rounded[to] = round_as(T{}, all.value / all.sum);
            }
            continue;
        }
        float *const to = partial + ((u64(blockIdx.x) * shape.heads + head) * gridDim.z + blockIdx.z) * width;
        to[2 + column] = all.value;
        if (column == 0) {
            to[0] = all.largest;
            to[1] = all.sum;
        }
    }
}

// Neighbouring lanes that have a row of the cache together.
__device__ __forceinline__ u32 team_of(u32 head_dim) {
    u32 team = 1;
    while (team * VECTOR < head_dim) {
        team *= 2;
    }
    return team;
}

// queries and out (rows, heads * head_dim); `partial` (places, heads, parts, head_dim + 2). The grid is (places, each one
// row; kv_heads times the blocks that its heads need; parts).
template <class T>
__device__ __forceinline__ void attention_decode(const float *queries, const T *keys, const T *values,
                                                 const Place *places, const u32 *tables, float *partial, float *out,
                                                 T *rounded, const AttentionShape &shape) {
    DYNAMIC_SHARED(float, scratch);
    const Place place = places[blockIdx.x];
    const u32 group = shape.heads / shape.kv_heads, blocks = divided_up(group, DECODE_HEADS);
    const u32 kv_head = blockIdx.y / blocks, first_of_group = blockIdx.y % blocks * DECODE_HEADS;
    const u32 first_head = kv_head * group + first_of_group;
    const u32 heads = least(DECODE_HEADS, group - first_of_group);
    const u32 team = team_of(shape.head_dim);

    float query[DECODE_HEADS][VECTOR];
    Online online[DECODE_HEADS];
#pragma unroll
    for (u32 h = 0; h < DECODE_HEADS; h++) {
        const u32 head = first_head + least(h, heads - 1);
        const float *const row = queries + (u64(place.row) * shape.heads + head) * shape.head_dim;
        load_columns(row, threadIdx.x % team * VECTOR, shape.head_dim, query[h]);
        online[h] = Online{minus_infinity(), 0.0f, {}};
    }
    const u32 teams = blockDim.x / team, own = threadIdx.x / team;
    Walk of = {0, 0, own, teams};
    const u32 *const table = tables + place.table;
    part_of(place.position, shape.window, end_for_all(table, shape.window), of.start, of.end);
    walk(keys, values, table, kv_head, query, of, team, shape, online);
#pragma unroll
    for (u32 h = 0; h < DECODE_HEADS; h++) {
        leave(online[h], team, shape.head_dim, scratch + (h * teams + own) * (shape.head_dim + 2));
    }
    __syncthreads();
    put_together(scratch, place.row, first_head, heads, teams, shape, partial, out, rounded);
}

KERNEL(attention_decode_f32)(const float *queries, const float *keys, const float *values, const Place *places,
                             const u32 *tables, float *partial, float *out, float *rounded, AttentionShape shape) {
    attention_decode(queries, keys, values, places, tables, partial, out, rounded, shape);
}

KERNEL(attention_decode_bf16)(const float *queries, const bf16 *keys, const bf16 *values, const Place *places,
                              const u32 *tables, float *partial, float *out, bf16 *rounded, AttentionShape shape) {
    attention_decode(queries, keys, values, places, tables, partial, out, rounded, shape);
}

KERNEL(attention_decode_f16)(const float *queries, const f16 *keys, const f16 *values, const Place *places,
                             const u32 *tables, float *partial, float *out, f16 *rounded, AttentionShape shape) {
    attention_decode(queries, keys, values, places, tables, partial, out, rounded, shape);
}

// Puts the parts of the positions together: partial (places, heads, parts, head_dim + 2), out (rows, heads * head_dim). A
// block for each place and head, a thread for each column; few bytes, so bound by latency.
KERNEL(attention_combine)(const float *partial, const Place *places, float *out, u32 parts, u32 heads, u32 head_dim) {
    const float *const own = partial + u64(blockIdx.x) * parts * (head_dim + 2);
    const u64 row = places[blockIdx.x / heads].row;
    float *const to = out + (row * heads + blockIdx.x % heads) * head_dim;
#pragma unroll 1
    for (u32 column = threadIdx.x; column < head_dim; column += blockDim.x) {
        const Sum all = sum_of(own, parts, head_dim, column);
        to[column] = all.value / all.sum;
    }
}
