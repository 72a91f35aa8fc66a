// Operations in which no element knows of another. All are bound by bytes; a thread takes one
// number, then the one a whole grid further on.
#include "prelude.cuh"

__device__ __forceinline__ u64 first_element() {
    return u64(blockIdx.x) * blockDim.x + threadIdx.x;
}

__device__ __forceinline__ u64 elements_of_grid() { return u64(gridDim.x) * blockDim.x; }

// x += y
KERNEL(add)(float *x, const float *y, u64 count) {
    for (u64 i = first_element(); i < count; i += elements_of_grid()) {
        x[i] += y[i];
    }
}

template <class T>
__device__ __forceinline__ void round_all(const float *x, T *out, u64 count) {
    for (u64 i = first_element(); i < count; i += elements_of_grid()) {
        out[i] = round_as(T{}, x[i]);
    }
}

KERNEL(round_bf16)(const float *x, bf16 *out, u64 count) { round_all(x, out, count); }

KERNEL(round_f16)(const float *x, f16 *out, u64 count) { round_all(x, out, count); }
