// Products of many rows without matrix units: for weights in f32, and for weights whose rows do not
// begin at multiples of 16 bytes. out (rows, outputs) = x (rows, inputs) weight^T + bias, all of x
// in f32.
//
// A block computes 64 rows of 64 outputs in steps of 16 columns, each step's piece of x and weight
// transposed in shared memory; a thread has 4 x 4 sums. Limit: the multiply-adds of the plain
// units, a half of which it may reach.
#include "then.cuh"

const u32 PLAIN_TILE = 64;
const u32 PLAIN_STEP = 16;
const u32 PLAIN_THREADS = 256;

// Numbers of a row in shared memory: four more than there are, so that a column falls into
// different banks.
const u32 PLAIN_STRIDE = PLAIN_TILE + 4;

// In shared memory: first a step of x and of weight, in the end the sums.
const u32 PLAIN_SCRATCH = PLAIN_TILE * PLAIN_STRIDE;
static_assert(2 * PLAIN_STEP * PLAIN_STRIDE <= PLAIN_SCRATCH, "a step takes no more than the sums");

// to (PLAIN_STEP, PLAIN_TILE) = the transposed columns from `column` on of the rows from `first`
// on; zeros behind both ends.
template <class T>
__device__ __forceinline__ void transpose(const T *matrix, u32 first, u32 rows, u32 column,
                                          u32 columns, float *to) {
#pragma unroll
    for (u32 i = threadIdx.x; i < PLAIN_TILE * PLAIN_STEP; i += PLAIN_THREADS) {
        const u32 row = first + i / PLAIN_STEP, own = column + i % PLAIN_STEP;
        const bool is_there = row < rows && own < columns;
        to[i % PLAIN_STEP * PLAIN_STRIDE + i / PLAIN_STEP] =
            is_there ? widen(matrix[u64(row) * columns + own]) : 0.0f;
    }
}

template <class T>
__device__ __forceinline__ void gemm_plain(const float *x, const T *weight, const T *bias,
                                           float *out, u32 rows, u32 outputs, u32 inputs, u32 then,
                                           float *scratch) {
    float *const xs = scratch, *const weights = scratch + PLAIN_STEP * PLAIN_STRIDE;
    const u32 first_row = blockIdx.x * PLAIN_TILE, first_output = blockIdx.y * PLAIN_TILE;
    const u32 own_row = threadIdx.x / 16 * 4, own_output = threadIdx.x % 16 * 4;
    float sums[4][4] = {};
#pragma unroll 1
    for (u32 column = 0; column < inputs; column += PLAIN_STEP) {
        transpose(x, first_row, rows, column, inputs, xs);
        transpose(weight, first_output, outputs, column, inputs, weights);
        __syncthreads();
#pragma unroll 2
        for (u32 k = 0; k < PLAIN_STEP; k++) {
#pragma unroll
            for (u32 i = 0; i < 16; i++) {
                sums[i / 4][i % 4] += xs[k * PLAIN_STRIDE + own_row + i / 4] *
                                      weights[k * PLAIN_STRIDE + own_output + i % 4];
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (u32 i = 0; i < 16; i++) {
        scratch[(own_row + i / 4) * PLAIN_STRIDE + own_output + i % 4] = sums[i / 4][i % 4];
    }
    __syncthreads();
#pragma unroll 2
    for (u32 i = threadIdx.x; i < PLAIN_TILE * PLAIN_TILE; i += PLAIN_THREADS) {
        const u32 row = first_row + i / PLAIN_TILE, output = first_output + i % PLAIN_TILE;
        if (row < rows && output < outputs) {
            float *const to = out + u64(row) * outputs + output;
            const float sum = scratch[i / PLAIN_TILE * PLAIN_STRIDE + i % PLAIN_TILE] +
                              (bias ? widen(bias[output]) : 0.0f);
            *to = finished(then, looks_back(then) ? *to : 0.0f, sum);
        }
    }
}

KERNEL(gemm_plain_f32)(const float *x, const float *weight, const float *bias, float *out, u32 rows,
                       u32 outputs, u32 inputs, u32 then) {
    __shared__ float scratch[PLAIN_SCRATCH];
    gemm_plain(x, weight, bias, out, rows, outputs, inputs, then, scratch);
}

KERNEL(gemm_plain_bf16)(const float *x, const bf16 *weight, const bf16 *bias, float *out, u32 rows,
                        u32 outputs, u32 inputs, u32 then) {
    __shared__ float scratch[PLAIN_SCRATCH];
    gemm_plain(x, weight, bias, out, rows, outputs, inputs, then, scratch);
}

KERNEL(gemm_plain_f16)(const float *x, const f16 *weight, const f16 *bias, float *out, u32 rows,
                       u32 outputs, u32 inputs, u32 then) {
    __shared__ float scratch[PLAIN_SCRATCH];
    gemm_plain(x, weight, bias, out, rows, outputs, inputs, then, scratch);
}
