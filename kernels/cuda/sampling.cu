// Logits to tokens, so that only their numbers have to come back from the device.
#include "prelude.cuh"

// Threads of the one block that a row gets: 600 kB of logits from the second-level cache take it 6 microseconds.
const u32 SAMPLING_THREADS = 1024;
const u32 SAMPLING_WARPS = SAMPLING_THREADS / WARP;

// No column.
const u32 NOWHERE = 0xffffffffu;

// What a token is drawn by: `Draw` of kernels/src/cuda/sampling.rs.
struct Draw {
    // At least 0 and below 1.
    double uniform;
    float temperature;
    u32 top_k;
    float top_p;
    // Of the logits.
    u32 row;
};

// A number and where it is.
struct Best {
    float number;
    u32 at;
};

// The larger number, of equals the first.
__device__ __forceinline__ Best better(Best a, Best b) {
    const bool is_b = b.number > a.number || (b.number == a.number && b.at < a.at);
    return is_b ? b : a;
}

// Every thread gets the best of x, in which a NaN counts as plus infinity. `scratch`: one for each warp.
__device__ __forceinline__ Best best_of(const float *x, u32 columns, Best *scratch) {
    Best best = {minus_infinity(), NOWHERE};
#pragma unroll 4
    for (u32 column = threadIdx.x; column < columns; column += SAMPLING_THREADS) {
        const float number = x[column];
        best = better(best, Best{number == number ? number : -minus_infinity(), column});
    }
#pragma unroll 1
    for (u32 distance = WARP / 2; distance > 0; distance /= 2) {
        const float number = __shfl_xor_sync(WHOLE_WARP, best.number, distance);
        best = better(best, Best{number, __shfl_xor_sync(WHOLE_WARP, best.at, distance)});
    }
    if (threadIdx.x % WARP == 0) {
        scratch[threadIdx.x / WARP] = best;
    }
    __syncthreads();
    best = scratch[0];
#pragma unroll 1
    for (u32 warp = 1; warp < SAMPLING_WARPS; warp++) {
        best = better(best, scratch[warp]);
    }
    return best;
}

// What is drawn from. Weights are whole numbers, so that their sums are the same in every order.
struct Choice {
    const float *logits;
    u32 columns;
    float largest;
    // log2(e) / temperature
    float scale;
};

// The weight of the likeliest token, 2 to the power of 44: with 2^18 tokens of it, sums are below 2^62.
const u32 LIKELIEST_BITS = 44;
const float LIKELIEST = 17592186044416.0f;

// The probability of a token, relative to that of the likeliest.
__device__ __forceinline__ u64 weight_of(float logit, const Choice &choice) {
    const float weight = power_of_2((logit - choice.largest) * choice.scale) * LIKELIEST;
    return logit == choice.largest ? u64(LIKELIEST) : u64(weight);
}

// Whole numbers in the order of the logits.
__device__ __forceinline__ u32 key_of(float logit) {
    const u32 bits = bits_of(logit + 0.0f); // of the two zeros, the positive one
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ float logit_of(u32 key) { return float_of(key >> 31 ? key & 0x7fffffffu : ~key); }

// Every thread gets the sum of all. `scratch`: one for each thread.
__device__ __forceinline__ u64 sum_of_block(u64 x, u64 *scratch) {
    scratch[threadIdx.x] = x;
    __syncthreads();
#pragma unroll 1
    for (u32 half = SAMPLING_THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) {
            scratch[threadIdx.x] += scratch[threadIdx.x + half];
        }
        __syncthreads();
    }
    const u64 sum = scratch[0];
    __syncthreads();
    return sum;
}

// The tokens that are left: those with a key above `floor`, and those with `floor` itself up to the column `last`.
struct Left {
    u32 floor;
    u32 last;
};

// What is measured of tokens. One of no weight does not count.
const u32 WEIGHTS = 0;
const u32 COUNTS = 1;
// Of those with `floor` itself.
const u32 EQUALS = 2;

// What the tokens from `start` on in steps of `stride` up to `end` have of `what`, of those that are left.
__device__ u64 measure(const Choice &choice, Left left, u32 what, u32 start, u32 end, u32 stride) {
    u64 sum = 0;
#pragma unroll 2
    for (u32 column = start; column < end; column += stride) {
        const float logit = choice.logits[column];
        const u32 key = key_of(logit);
        const bool is_left = key > left.floor ? what != EQUALS : key == left.floor && column <= left.last;
        const u64 weight = is_left ? weight_of(logit, choice) : 0;
        sum += what == WEIGHTS ? weight : weight > 0;
    }
    return sum;
}

// Of all that are left.
__device__ __forceinline__ u64 measure(const Choice &choice, Left left, u32 what, u64 *scratch) {
    return sum_of_block(measure(choice, left, what, threadIdx.x, choice.columns, SAMPLING_THREADS), scratch);
}

// The largest key such that the tokens with at least it, and `floor`, have the wanted measure; `floor` where all of them
// have not. A bit at a time, from the highest: a pass over the logits each.
__device__ __forceinline__ u32 raise(const Choice &choice, u32 floor, u32 what, u64 wanted, u64 *scratch) {
    u32 key = 0;
#pragma unroll 1
    for (u32 bit = 0x80000000u; bit > 0; bit /= 2) {
        const u32 higher = key | bit;
        if (higher <= floor || measure(choice, Left{higher, NOWHERE}, what, scratch) >= wanted) {
            key = higher;
        }
    }
    return key > floor ? key : floor;
}

// The column at which the measure of those that are left, added up by their columns, passes `target`. The columns are
// cut into a piece for each thread, then the piece in which it happens, until that is one column.
__device__ __forceinline__ u32 find(const Choice &choice, Left left, u32 what, u64 target, u64 *scratch) {
    u32 start = 0, end = choice.columns;
#pragma unroll 1
    while (end - start > 1) {
        const u32 length = divided_up(end - start, SAMPLING_THREADS);
        const u32 own = least(start + threadIdx.x * length, end);
        scratch[threadIdx.x] = measure(choice, left, what, own, least(own + length, end), 1);
        __syncthreads();
        u32 piece = 0;
#pragma unroll 1
        while (piece < SAMPLING_THREADS - 1 && target >= scratch[piece]) {
            target -= scratch[piece];
            piece++;
        }
        __syncthreads();
        start = least(start + piece * length, end - 1);
        end = least(start + length, end);
    }
    return start;
}

// Logits of the likeliest tokens, side by side in shared memory.
const u32 FEW = 4096;

struct Few {
    float logits[FEW];
    u32 count;
};

// So many of the likeliest tokens that they are at least `count` and weigh at least `weight`; all, where those are more
// than a few. As the logits of most texts are, a few hundred have to be looked at, and not a whole vocabulary: a bit of
// a key then takes the time of the sum alone.
__device__ __forceinline__ Choice likeliest(const Choice &all, u32 count, u64 weight, Few &few, u64 *scratch) {
#pragma unroll 1
    for (u32 bits = 8; bits < LIKELIEST_BITS; bits += 8) {
        if (threadIdx.x == 0) {
            few.count = 0;
        }
        __syncthreads();
        const float lowest = all.largest - float(bits) / all.scale;
        u64 own = 0;
#pragma unroll 2
        for (u32 column = threadIdx.x; column < all.columns; column += SAMPLING_THREADS) {
            const float logit = all.logits[column];
            const u32 at = logit >= lowest ? atomicAdd(&few.count, 1u) : FEW;
            if (at < FEW) {
                few.logits[at] = logit;
                own += weight_of(logit, all);
            }
        }
        const u64 found = sum_of_block(own, scratch);
        const u32 columns = few.count;
        __syncthreads();
        if (columns > FEW) {
            return all;
        }
        if (columns >= count && found >= weight) {
            return Choice{few.logits, columns, all.largest, all.scale};
        }
    }
    return all;
}

__device__ __forceinline__ u64 part_of(double part, u64 whole) { return u64(part * double(whole)); }

// Temperature, then the `top_k` likeliest (0 is all) with all that are as likely as the last of them, then of those, from
// the likeliest on and of equals from the first on, as many as it takes to have `top_p` of their weight.
__device__ __forceinline__ u32 drawn(const Choice &all, const Draw &draw, Few &few, u64 *scratch) {
    const bool has_k = draw.top_k > 0 && draw.top_k < all.columns;
    const bool has_p = draw.top_p < 1;
    Left left = {0, NOWHERE};
    u64 mass = 0;
    Choice choice = all;
    if (has_k) {
        choice = likeliest(all, draw.top_k, 0, few, scratch);
        left.floor = raise(choice, 0, COUNTS, draw.top_k, scratch);
    }
    mass = measure(choice, left, WEIGHTS, scratch);
    if (has_p) {
        const u64 part = part_of(draw.top_p, mass);
        const u64 wanted = part > 0 ? part : 1;
        if (!has_k) {
            choice = likeliest(all, 0, wanted, few, scratch);
        }
        left.floor = raise(choice, left.floor, WEIGHTS, wanted, scratch);
        mass = measure(choice, left, WEIGHTS, scratch);
        const u64 lightest = weight_of(logit_of(left.floor), all);
        const u64 too_many = (mass - wanted) / lightest;
        if (too_many > 0) {
            const u64 equals = measure(choice, left, EQUALS, scratch);
            left.last = find(all, left, EQUALS, equals - too_many - 1, scratch);
            mass -= too_many * lightest;
        }
    }
    const u64 target = part_of(draw.uniform, mass);
    return find(all, left, WEIGHTS, target < mass ? target : mass - 1, scratch);
}

// out[i] = a token, drawn by draws[i] from its row of logits (rows, columns); at a temperature of 0 the likeliest one, of
// equals the first. No token (NOWHERE) where a logit is NaN or plus infinity, or all are minus infinity: the host says
// what is wrong.
//
// A block for each draw.
KERNEL(sample)(const float *logits, u32 columns, const Draw *draws, u32 *out) {
    __shared__ Best best_scratch[SAMPLING_WARPS];
    __shared__ u64 scratch[SAMPLING_THREADS];
    __shared__ Few few;
    const Draw draw = draws[blockIdx.x];
    const float *const row = logits + u64(draw.row) * columns;
    const Best best = best_of(row, columns, best_scratch);
    const bool is_fit = best.number < -minus_infinity() && best.number > minus_infinity();
    u32 token = is_fit ? best.at : NOWHERE;
    if (is_fit && draw.temperature > 0) {
        token = drawn(Choice{row, columns, best.number, LOG2_E / draw.temperature}, draw, few, scratch);
    }
    if (threadIdx.x == 0) {
        out[blockIdx.x] = token;
    }
}
