// Layer normalisation (Ba, Kiros and Hinton, 2016).
#include "prelude.cuh"

// Of a block, for one number a warp.
const u32 LAYER_NORM_WARPS = 32;

// x = (x - mean(x)) / sqrt(variance(x) + eps) * weight + bias over rows of `columns` numbers, and the same rounded to the
// type of the weights where `rounded` is not null. A block for each row, whose threads stride over it three times; the
// second and the third time it comes from the first-level cache. A thread writes only what it alone has read. Limit: bytes, 4
// read and 4 to 6 written a number.
template <class T>
__device__ __forceinline__ void layer_norm(float *x, const T *weight, const T *bias, float eps, T *rounded, u32 columns,
                                           float *scratch) {
    const u64 start = u64(blockIdx.x) * columns;
    float sum = 0;
#pragma unroll 2
    for (u32 column = threadIdx.x; column < columns; column += blockDim.x) {
        sum += x[start + column];
    }
    const float mean = block_sum(sum, scratch) / float(columns);
    float squares = 0;
#pragma unroll 2
    for (u32 column = threadIdx.x; column < columns; column += blockDim.x) {
        const float distance = x[start + column] - mean;
        squares += distance * distance;
    }
    const float scale = 1.0f / sqrtf(block_sum(squares, scratch) / float(columns) + eps);
#pragma unroll 2
    for (u32 column = threadIdx.x; column < columns; column += blockDim.x) {
        const float y = (x[start + column] - mean) * scale * widen(weight[column]) + widen(bias[column]);
        x[start + column] = y;
        if (rounded) {
            rounded[start + column] = round_as(T{}, y);
        }
    }
}

KERNEL(layer_norm_f32)(float *x, const float *weight, const float *bias, float eps, float *rounded, u32 columns) {
    __shared__ float scratch[LAYER_NORM_WARPS];
    layer_norm(x, weight, bias, eps, rounded, columns, scratch);
}

KERNEL(layer_norm_bf16)(float *x, const bf16 *weight, const bf16 *bias, float eps, bf16 *rounded, u32 columns) {
    __shared__ float scratch[LAYER_NORM_WARPS];
    layer_norm(x, weight, bias, eps, rounded, columns, scratch);
}

KERNEL(layer_norm_f16)(float *x, const f16 *weight, const f16 *bias, float eps, f16 *rounded, u32 columns) {
    __shared__ float scratch[LAYER_NORM_WARPS];
    layer_norm(x, weight, bias, eps, rounded, columns, scratch);
}
