// Root mean square layer normalisation (Zhang and Sennrich, 2019).
#include "prelude.cuh"

// Of a block, for one number a warp.
const u32 NORM_WARPS = 32;

// out = x / sqrt(mean(x^2) + eps) * weight over runs of `run` numbers, and the same rounded to the
// type of the weights where `rounded` is not null; x may be out. A block for each run, whose
// threads stride over it twice; the second time it comes from the first-level cache. A thread
// writes only what it alone has read. Limit: bytes, 4 read and 4 to 6 written a number; one row
// takes a few microseconds of latency.
template <class T>
__device__ __forceinline__ void rms_norm(const float *x, const T *weight, float eps, float *out,
                                         T *rounded, u32 run, float *scratch) {
    const u64 start = u64(blockIdx.x) * run;
    float squares = 0;
#pragma unroll 2
    for (u32 column = threadIdx.x; column < run; column += blockDim.x) {
        squares += x[start + column] * x[start + column];
    }
    const float scale = 1.0f / sqrtf(block_sum(squares, scratch) / float(run) + eps);
#pragma unroll 2
    for (u32 column = threadIdx.x; column < run; column += blockDim.x) {
        const float y = x[start + column] * scale * widen(weight[column]);
        out[start + column] = y;
        if (rounded) {
            rounded[start + column] = round_as(T{}, y);
        }
    }
}

KERNEL(rms_norm_f32)(const float *x, const float *weight, float eps, float *out, float *rounded,
                     u32 run) {
    __shared__ float scratch[NORM_WARPS];
    rms_norm(x, weight, eps, out, rounded, run, scratch);
}

KERNEL(rms_norm_bf16)(const float *x, const bf16 *weight, float eps, float *out, bf16 *rounded,
                      u32 run) {
    __shared__ float scratch[NORM_WARPS];
    rms_norm(x, weight, eps, out, rounded, run, scratch);
}

KERNEL(rms_norm_f16)(const float *x, const f16 *weight, float eps, float *out, f16 *rounded,
                     u32 run) {
    __shared__ float scratch[NORM_WARPS];
    rms_norm(x, weight, eps, out, rounded, run, scratch);
}
