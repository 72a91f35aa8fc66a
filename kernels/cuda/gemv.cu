// Products of a few rows: out (rows, outputs) = x (rows, inputs) weight^T + bias, weight (outputs,
// inputs).
//
// Limit: the bytes of the weights, each read once. A warp takes four rows of a weight, so that it
// reads x (which lies in the first-level cache) once for four; a lane takes every 32nd vector of 16
// bytes of each, and has four to twelve on their way. Where a weight has few rows, `blockDim.y`
// warps share four of them, each a part of their columns, and add up by way of shared memory,
// always in the same order. `blockDim` is (32, parts of a row, groups of four rows).
//
// Rows of x and of weights are read by 16 bytes where `inputs` is a multiple of 8, which wants both
// 16-byte aligned; otherwise a number at a time.
#include "then.cuh"

// Rows of weights of a warp: with one, x would take twice the bandwidth of the first-level cache
// that the weights take.
const u32 GEMV_OUTPUTS = 4;

// Warps of a block.
const u32 GEMV_WARPS = 8;

// Rows of x that `gemv_rows_*` takes at a time: with more, the sums and vectors of a lane do not
// fit its registers.
const u32 GEMV_ROWS = 4;

// A product with a weight of the same x; `outputs` is 0 where there is none.
template <class T>
struct Product {
    const T *weight;
    const T *bias; // or null
    float *out;
    u32 outputs;
};

template <class T>
struct Products {
    Product<T> first, second, third;
};

// sums[r][m] += the part of weight row r times x row m that one vector is.
template <class T, u32 M>
__device__ __forceinline__ void add_vector(const Packed<T> (&weights)[GEMV_OUTPUTS],
                                           const float *const (&x)[M], u64 at,
                                           float (&sums)[GEMV_OUTPUTS][M]) {
    float xs[M][VECTOR];
#pragma unroll
    for (u32 m = 0; m < M; m++) {
        load_vector(x[m] + at, xs[m]);
    }
#pragma unroll
    for (u32 r = 0; r < GEMV_OUTPUTS; r++) {
        float numbers[VECTOR];
        widen(weights[r], numbers);
#pragma unroll
        for (u32 m = 0; m < M; m++) {
#pragma unroll
            for (u32 i = 0; i < VECTOR; i++) {
                sums[r][m] += numbers[i] * xs[m][i];
            }
        }
    }
}

// Begins to read one vector of each row; behind the last one, nothing.
template <class T>
__device__ __forceinline__ void fetch_rows(const T *const (&weights)[GEMV_OUTPUTS], u32 vector,
                                           u32 vectors, Packed<T> (&packed)[GEMV_OUTPUTS]) {
    if (vector < vectors) {
#pragma unroll
        for (u32 r = 0; r < GEMV_OUTPUTS; r++) {
            fetch(weights[r] + u64(vector) * VECTOR, packed[r]);
        }
    }
}

// sums[r][m] = weight row r times x row m, of those columns that this lane has. Registers for
// `AHEAD` vectors of each row go round: as soon as one was used, the vector that comes `AHEAD`
// later is on its way. (Where all are fetched before the first is used, the compiler saves
// registers and fetches most of them after it.)
template <u32 AHEAD, class T, u32 M>
__device__ __forceinline__ void multiply(const T *const (&weights)[GEMV_OUTPUTS],
                                         const float *const (&x)[M], u32 inputs,
                                         float (&sums)[GEMV_OUTPUTS][M]) {
    const u32 stride = WARP * blockDim.y;
    const u32 first = threadIdx.y * WARP + threadIdx.x;
    const u32 vectors = inputs % VECTOR == 0 ? inputs / VECTOR : 0;
    Packed<T> packed[AHEAD][GEMV_OUTPUTS] = {};
#pragma unroll
    for (u32 a = 0; a < AHEAD; a++) {
        fetch_rows(weights, first + a * stride, vectors, packed[a]);
    }
#pragma unroll 1
    for (u32 turn = first; turn < vectors; turn += AHEAD * stride) {
#pragma unroll
        for (u32 a = 0; a < AHEAD; a++) {
            const u32 vector = turn + a * stride;
            if (vector < vectors) {
                add_vector(packed[a], x, u64(vector) * VECTOR, sums);
                fetch_rows(weights, vector + AHEAD * stride, vectors, packed[a]);
            }
        }
    }
#pragma unroll 1
    for (u32 i = vectors * VECTOR + first; i < inputs; i += stride) {
#pragma unroll
        for (u32 r = 0; r < GEMV_OUTPUTS; r++) {
#pragma unroll
            for (u32 m = 0; m < M; m++) {
                sums[r][m] += widen(weights[r][i]) * x[m][i];
            }
        }
    }
}

// Adds up the lanes, then the parts of a row. Lane r M + m of the first part returns sums[r][m] of
// all; the others return nothing of use. `scratch`: (warps, GEMV_OUTPUTS M).
template <u32 M>
__device__ __forceinline__ float add_up(float (&sums)[GEMV_OUTPUTS][M], float *scratch) {
    const u32 count = GEMV_OUTPUTS * M;
    float *const group = scratch + threadIdx.z * blockDim.y * count;
#pragma unroll
    for (u32 i = 0; i < count; i++) {
        const float sum = warp_sum(sums[i / M][i % M]);
        if (threadIdx.x == 0) {
            group[threadIdx.y * count + i] = sum;
        }
    }
    __syncthreads();
    float sum = 0;
    if (threadIdx.y == 0 && threadIdx.x < count) {
#pragma unroll 1
        for (u32 part = 0; part < blockDim.y; part++) {
            sum += group[part * count + threadIdx.x];
        }
    }
    return sum;
}

// The rows of x from `first` on; the last one again where there are fewer than M.
template <u32 M>
__device__ __forceinline__ void rows_of(const float *x, u32 inputs, u32 first, u32 rows,
                                        const float *(&out)[M]) {
#pragma unroll
    for (u32 m = 0; m < M; m++) {
        out[m] = x + u64(least(first + m, rows - 1)) * inputs;
    }
}

// Rows of weights from `first` on; the last one again where there are fewer.
template <class T>
__device__ __forceinline__ const T *row_of(const T *weight, u32 inputs, u32 row, u32 outputs) {
    return weight + u64(least(row, outputs - 1)) * inputs;
}

// Up to three products of the same x, as if their weights lay one behind the other.
template <u32 M, u32 AHEAD, class T>
__device__ __forceinline__ void gemv(const float *x, const Products<T> &products, u32 inputs,
                                     u32 rows, u32 then, float *scratch) {
    u32 group = blockIdx.x * blockDim.z + threadIdx.z;
    Product<T> product = products.first;
    if (group >= divided_up(product.outputs, GEMV_OUTPUTS)) {
        group -= divided_up(product.outputs, GEMV_OUTPUTS);
        product = products.second;
        if (group >= divided_up(product.outputs, GEMV_OUTPUTS)) {
            group -= divided_up(product.outputs, GEMV_OUTPUTS);
            product = products.third;
        }
    }
    const u32 first = group * GEMV_OUTPUTS, first_row = blockIdx.y * M;
    float sums[GEMV_OUTPUTS][M] = {};
    if (first < product.outputs) {
        const float *x_rows[M];
        rows_of(x, inputs, first_row, rows, x_rows);
        const T *weights[GEMV_OUTPUTS];
#pragma unroll
        for (u32 r = 0; r < GEMV_OUTPUTS; r++) {
            weights[r] = row_of(product.weight, inputs, first + r, product.outputs);
        }
        multiply<AHEAD>(weights, x_rows, inputs, sums);
    }
    float sum = add_up(sums, scratch);
    const u32 output = first + threadIdx.x / M, row = first_row + threadIdx.x % M;
    if (threadIdx.y == 0 && threadIdx.x < GEMV_OUTPUTS * M && output < product.outputs &&
        row < rows) {
        float *const out = product.out + u64(row) * product.outputs + output;
        sum += product.bias ? widen(product.bias[output]) : 0.0f;
        *out = finished(then, looks_back(then) ? *out : 0.0f, sum);
    }
}

// out = silu(x gate^T + gate_bias) * (x up^T + up_bias) (Shazeer, 2020). A warp takes two rows of
// both weights.
template <u32 M, u32 AHEAD, class T>
__device__ __forceinline__ void gemv_gated(const float *x, const Product<T> &gate,
                                           const Product<T> &up, u32 inputs, u32 rows,
                                           float *scratch) {
    const u32 pairs = GEMV_OUTPUTS / 2;
    const u32 first = (blockIdx.x * blockDim.z + threadIdx.z) * pairs, first_row = blockIdx.y * M;
    float sums[GEMV_OUTPUTS][M] = {};
    if (first < gate.outputs) {
        const float *x_rows[M];
        rows_of(x, inputs, first_row, rows, x_rows);
        const T *weights[GEMV_OUTPUTS];
#pragma unroll
        for (u32 r = 0; r < pairs; r++) {
            weights[r] = row_of(gate.weight, inputs, first + r, gate.outputs);
            weights[pairs + r] = row_of(up.weight, inputs, first + r, gate.outputs);
        }
        multiply<AHEAD>(weights, x_rows, inputs, sums);
    }
    float gated = add_up(sums, scratch);
    const float upper = __shfl_sync(WHOLE_WARP, gated, threadIdx.x + pairs * M);
    const u32 output = first + threadIdx.x / M, row = first_row + threadIdx.x % M;
    if (threadIdx.y == 0 && threadIdx.x < pairs * M && output < gate.outputs && row < rows) {
        gated += gate.bias ? widen(gate.bias[output]) : 0.0f;
        const float other = upper + (up.bias ? widen(up.bias[output]) : 0.0f);
        gate.out[u64(row) * gate.outputs + output] = silu(gated) * other;
    }
}

KERNEL(gemv_f32)(const float *x, Products<float> products, u32 inputs, u32 rows, u32 then) {
    __shared__ float scratch[GEMV_WARPS * GEMV_OUTPUTS];
    gemv<1, 2>(x, products, inputs, rows, then, scratch);
}

KERNEL(gemv_bf16)(const float *x, Products<bf16> products, u32 inputs, u32 rows, u32 then) {
    __shared__ float scratch[GEMV_WARPS * GEMV_OUTPUTS];
    gemv<1, 3>(x, products, inputs, rows, then, scratch);
}

KERNEL(gemv_f16)(const float *x, Products<f16> products, u32 inputs, u32 rows, u32 then) {
    __shared__ float scratch[GEMV_WARPS * GEMV_OUTPUTS];
    gemv<1, 3>(x, products, inputs, rows, then, scratch);
}

KERNEL(gemv_rows_f32)(const float *x, Products<float> products, u32 inputs, u32 rows, u32 then) {
    __shared__ float scratch[GEMV_WARPS * GEMV_OUTPUTS * GEMV_ROWS];
    gemv<GEMV_ROWS, 1>(x, products, inputs, rows, then, scratch);
}

KERNEL(gemv_rows_bf16)(const float *x, Products<bf16> products, u32 inputs, u32 rows, u32 then) {
    __shared__ float scratch[GEMV_WARPS * GEMV_OUTPUTS * GEMV_ROWS];
    gemv<GEMV_ROWS, 2>(x, products, inputs, rows, then, scratch);
}

KERNEL(gemv_rows_f16)(const float *x, Products<f16> products, u32 inputs, u32 rows, u32 then) {
    __shared__ float scratch[GEMV_WARPS * GEMV_OUTPUTS * GEMV_ROWS];
    gemv<GEMV_ROWS, 2>(x, products, inputs, rows, then, scratch);
}

KERNEL(gemv_gated_f32)(const float *x, Product<float> gate, Product<float> up, u32 inputs,
                       u32 rows) {
    __shared__ float scratch[GEMV_WARPS * GEMV_OUTPUTS];
    gemv_gated<1, 2>(x, gate, up, inputs, rows, scratch);
}

KERNEL(gemv_gated_bf16)(const float *x, Product<bf16> gate, Product<bf16> up, u32 inputs,
                        u32 rows) {
    __shared__ float scratch[GEMV_WARPS * GEMV_OUTPUTS];
    gemv_gated<1, 3>(x, gate, up, inputs, rows, scratch);
}

KERNEL(gemv_gated_f16)(const float *x, Product<f16> gate, Product<f16> up, u32 inputs, u32 rows) {
    __shared__ float scratch[GEMV_WARPS * GEMV_OUTPUTS];
    gemv_gated<1, 3>(x, gate, up, inputs, rows, scratch);
}

KERNEL(gemv_gated_rows_f32)(const float *x, Product<float> gate, Product<float> up, u32 inputs,
                            u32 rows) {
    __shared__ float scratch[GEMV_WARPS * GEMV_OUTPUTS * GEMV_ROWS];
    gemv_gated<GEMV_ROWS, 1>(x, gate, up, inputs, rows, scratch);
}

KERNEL(gemv_gated_rows_bf16)(const float *x, Product<bf16> gate, Product<bf16> up, u32 inputs,
                             u32 rows) {
    __shared__ float scratch[GEMV_WARPS * GEMV_OUTPUTS * GEMV_ROWS];
    gemv_gated<GEMV_ROWS, 2>(x, gate, up, inputs, rows, scratch);
}

KERNEL(gemv_gated_rows_f16)(const float *x, Product<f16> gate, Product<f16> up, u32 inputs,
                            u32 rows) {
    __shared__ float scratch[GEMV_WARPS * GEMV_OUTPUTS * GEMV_ROWS];
    gemv_gated<GEMV_ROWS, 2>(x, gate, up, inputs, rows, scratch);
}
