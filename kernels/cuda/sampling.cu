// Logits to one token, so that only its number has to come back from the device.
#include "prelude.cuh"

// Threads of the one block that a vocabulary gets: 600 kB of logits from the second-level cache take it 6 microseconds.
const u32 SAMPLING_THREADS = 1024;
const u32 SAMPLING_WARPS = SAMPLING_THREADS / WARP;

// No column.
const u32 NOWHERE = 0xffffffffu;

// A number and where it is.
struct Best {
    float number;
    u32 at;
};

// The larger number, of equals the first; NaN, which nothing is equal to, is never `Best` of anything.
__device__ __forceinline__ Best better(Best a, Best b) {
    if (b.at == NOWHERE || a.at == NOWHERE) {
        return b.at == NOWHERE ? a : b;
    }
    const bool is_b = b.number > a.number || (b.number == a.number && b.at < a.at);
    return is_b ? b : a;
}

// Every thread gets the best of x. `scratch`: one for each warp.
__device__ __forceinline__ Best best_of(const float *x, u32 columns, Best *scratch) {
    Best best = {0, NOWHERE};
#pragma unroll 4
    for (u32 column = threadIdx.x; column < columns; column += SAMPLING_THREADS) {
        const float number = x[column];
        best = better(best, Best{number, number == number ? column : NOWHERE});
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

// out[row] = the column of the largest number of a row of x (rows, columns): the first of equals; a NaN loses to every
// number; 0 where there is none. A block for each row.
KERNEL(argmax)(const float *x, u32 columns, u32 *out) {
    __shared__ Best scratch[SAMPLING_WARPS];
    const Best best = best_of(x + u64(blockIdx.x) * columns, columns, scratch);
    if (threadIdx.x == 0) {
        out[blockIdx.x] = best.at == NOWHERE ? 0 : best.at;
    }
}

// What is drawn from. Weights are whole numbers, so that their sums are the same in every order.
struct Choice {
    const float *logits;
    u32 columns;
    float largest;
    // log2(e) / temperature
    float scale;
};

// The weight of the likeliest token: with 2^18 tokens of it, sums are below 2^62.
const float LIKELIEST = 17592186044416.0f; // 2^44

// The probability of a token, relative to that of the likeliest. A NaN has none.
__device__ __forceinline__ u64 weight_of(float logit, const Choice &choice) {
    const float weight = power_of_2((logit - choice.largest) * choice.scale) * LIKELIEST;
    return logit == choice.largest ? u64(LIKELIEST) : weight > 0 && weight <= LIKELIEST ? u64(weight) : 0;
}

// Whole numbers in the order of the logits.
__device__ __forceinline__ u32 key_of(float logit) {
    const u32 bits = bits_of(logit + 0.0f); // of the two zeros, the positive one
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

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

// What the tokens from `start` on in steps of `stride` up to `end` weigh, of those that have at least `floor` as key; or
// how many there are. A token of no weight does not count.
__device__ __forceinline__ u64 measure(const Choice &choice, u32 floor, bool counts, u32 start, u32 end, u32 stride) {
    u64 sum = 0;
#pragma unroll 2
    for (u32 column = start; column < end; column += stride) {
        const float logit = choice.logits[column];
        const u64 weight = key_of(logit) >= floor ? weight_of(logit, choice) : 0;
        sum += counts ? weight > 0 : weight;
    }
    return sum;
}

// The largest key such that the tokens with at least it, and `floor`, have the wanted measure; `floor` where all of them
// have not. A bit at a time, from the highest: a pass over the logits each.
__device__ __forceinline__ u32 raise(const Choice &choice, u32 floor, bool counts, u64 wanted, u64 *scratch) {
    u32 key = 0;
#pragma unroll 1
    for (u32 bit = 0x80000000u; bit > 0; bit /= 2) {
        const u32 higher = key | bit;
        const u64 own = measure(choice, higher, counts, threadIdx.x, choice.columns, SAMPLING_THREADS);
        if (higher <= floor || sum_of_block(own, scratch) >= wanted) {
            key = higher;
        }
    }
    return key > floor ? key : floor;
}

// The token at which the weights of those with at least `floor` as key, added up by their ids, pass `target`. The columns
// are cut into a piece for each thread, then the piece in which it happens, until that is one column.
__device__ __forceinline__ u32 draw(const Choice &choice, u32 floor, u64 target, u64 *scratch) {
    u32 start = 0, end = choice.columns;
#pragma unroll 1
    while (end - start > 1) {
        const u32 length = divided_up(end - start, SAMPLING_THREADS);
        const u32 own = least(start + threadIdx.x * length, end);
        scratch[threadIdx.x] = measure(choice, floor, false, own, least(own + length, end), 1);
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

// One token of logits (columns), by `*uniform`, which is at least 0 and below 1. Temperature, then the `top_k` likeliest
// (0 is all), then of those, from the likeliest on, as many as it takes to have `top_p` of their weight; both times with
// all that are as likely as the last one. A temperature of 0 is the largest logit, as is a row without numbers.
//
// One block. `top_k` and `top_p` are 32 passes over the logits each, some 6 microseconds a pass; they are only made where
// they are asked for.
KERNEL(sample)(const float *logits, u32 columns, float temperature, u32 top_k, float top_p, const float *uniform,
               u32 *out) {
    __shared__ Best best_scratch[SAMPLING_WARPS];
    __shared__ u64 scratch[SAMPLING_THREADS];
    const Best best = best_of(logits, columns, best_scratch);
    u32 token = best.at == NOWHERE ? 0 : best.at;
    if (temperature > 0 && best.at != NOWHERE) {
        const Choice choice = {logits, columns, best.number, LOG2_E / temperature};
        u32 floor = 0;
        if (top_k > 0 && top_k < columns) {
            floor = raise(choice, floor, true, top_k, scratch);
        }
        u64 mass = sum_of_block(measure(choice, floor, false, threadIdx.x, columns, SAMPLING_THREADS), scratch);
        if (top_p < 1) {
            const u64 wanted = u64(double(top_p) * double(mass));
            floor = raise(choice, floor, false, wanted > 0 ? wanted : 1, scratch);
            mass = sum_of_block(measure(choice, floor, false, threadIdx.x, columns, SAMPLING_THREADS), scratch);
        }
        const u64 target = u64(double(*uniform) * double(mass));
        token = draw(choice, floor, target < mass ? target : mass - 1, scratch);
    }
    if (threadIdx.x == 0) {
        *out = token;
    }
}
