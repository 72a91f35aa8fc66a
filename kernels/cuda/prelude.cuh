// The dialect that the kernels are written in: conversions, reductions, and the few machine
// instructions that have no name in C++.
//
// The same sources are compiled twice: by nvcc for the device, and by g++ for the tests' stand-in
// for libcuda, which includes its own header ahead of this one. That header brings what nvcc knows
// by itself (`threadIdx` and its like, `__shared__`, `__device__`, `__forceinline__`,
// `__syncthreads`, `__shfl_sync`, `__shfl_xor_sync`, `atomicAdd`, `__trap`, `float4`, `uint4`), and
// what stands below for nvcc alone. No header of CUDA is included.
#pragma once

#include "types.cuh"

#ifdef __CUDACC__

// A function that the host launches by its name.
#define KERNEL(name) extern "C" __global__ void name
// `name`: the shared memory whose size the launch says. 16 bytes: the widest access.
#define DYNAMIC_SHARED(T, name)                                        \
    extern __shared__ __align__(16) unsigned char dynamic_shared_[];   \
    T *const name = reinterpret_cast<T *>(dynamic_shared_)

// ---------------------------------------------------------------------------- Machine instructions

__device__ __forceinline__ float widen(f16 x) {
    float out;
    asm("cvt.f32.f16 %0, %1;" : "=f"(out) : "h"(x.bits));
    return out;
}

__device__ __forceinline__ u16 round_to_f16(float x) {
    u16 out;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(out) : "f"(x));
    return out;
}

__device__ __forceinline__ u16 round_to_bf16(float x) {
    u16 out;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(out) : "f"(x));
    return out;
}

// 2^x, to two units of the last place; of less than 2^-126, 0.
__device__ __forceinline__ float power_of_2(float x) {
    float out;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(out) : "f"(x));
    return out;
}

// Two numbers side by side in one register, the first in the lower half.
__device__ __forceinline__ u32 pack(bf16, float low, float high) {
    u32 out;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(high), "f"(low));
    return out;
}

__device__ __forceinline__ u32 pack(f16, float low, float high) {
    u32 out;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(out) : "f"(high), "f"(low));
    return out;
}

// 16 bytes that are read once: they leave the first-level cache to what is read again.
__device__ __forceinline__ uint4 load_once(const void *address) {
    uint4 out;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(out.x), "=r"(out.y), "=r"(out.z), "=r"(out.w)
                 : "l"(address));
    return out;
}

__device__ __forceinline__ u32 shared_address(const void *address) {
    return static_cast<u32>(__cvta_generic_to_shared(address));
}

// Begins to copy 16 bytes, past the registers and the first-level cache. Both addresses are
// multiples of 16.
__device__ __forceinline__ void cp_async16(void *shared, const void *global) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(shared)),
                 "l"(global)
                 : "memory");
}

// The same; where nothing `is_there`, it puts zeros, and reads nothing.
__device__ __forceinline__ void cp_async16_or_zeros(void *shared, const void *global,
                                                    bool is_there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)),
                 "l"(global), "r"(is_there ? 16 : 0)
                 : "memory");
}

// Closes a group of copies; a group may be empty.
__device__ __forceinline__ void cp_async_commit() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}

// Waits until at most `PENDING` groups of this thread are under way.
template <int PENDING>
__device__ __forceinline__ void cp_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

// Four matrices of 8 x 8 numbers of 16 bits: lane 8 m + r has the address of row r of matrix m (16
// bytes), and lane l gets in `out[m]` columns 2 (l % 4) and 2 (l % 4) + 1 of row l / 4 of matrix m.
__device__ __forceinline__ void ldmatrix_x4(u32 (&out)[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// The same, transposed: lane l gets rows 2 (l % 4) and 2 (l % 4) + 1 of column l / 4.
__device__ __forceinline__ void ldmatrix_x4_transposed(u32 (&out)[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// sums (16 x 8) += a (16 x 16) b (16 x 8), of a warp. With g = lane / 4 and q = lane % 4, a lane
// has
// sums: rows g (two numbers) and g + 8 (two), columns 2 q and 2 q + 1;
// a: rows g and g + 8 at columns 2 q, 2 q + 1, then both at columns 2 q + 8, 2 q + 9;
// b: column g at rows 2 q, 2 q + 1, then at rows 2 q + 8, 2 q + 9.
__device__ __forceinline__ void mma_m16n8k16(bf16, float (&sums)[4], const u32 (&a)[4], u32 b0,
                                             u32 b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ __forceinline__ void mma_m16n8k16(f16, float (&sums)[4], const u32 (&a)[4], u32 b0,
                                             u32 b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

#endif

const u32 WARP = 32;
const u32 WHOLE_WARP = 0xffffffffu;

// ------------------------------------------------------------------------------------- Conversions

__device__ __forceinline__ float float_of(u32 bits) {
    union {
        u32 bits;
        float number;
    } both = {bits};
    return both.number;
}

__device__ __forceinline__ u32 bits_of(float number) {
    union {
        float number;
        u32 bits;
    } both = {number};
    return both.bits;
}

__device__ __forceinline__ float widen(float x) { return x; }

__device__ __forceinline__ float widen(bf16 x) { return float_of(u32(x.bits) << 16); }

// To the nearest, of two as near ones to the even one.
__device__ __forceinline__ bf16 round_as(bf16, float x) { return bf16{round_to_bf16(x)}; }

__device__ __forceinline__ f16 round_as(f16, float x) { return f16{round_to_f16(x)}; }

__device__ __forceinline__ float round_as(float, float x) { return x; }

// The two numbers of a register, as `pack` put them there.
__device__ __forceinline__ void unpack(bf16, u32 both, float *out) {
    out[0] = float_of(both << 16);
    out[1] = float_of(both & 0xffff0000u);
}

__device__ __forceinline__ void unpack(f16, u32 both, float *out) {
    out[0] = widen(f16{u16(both)});
    out[1] = widen(f16{u16(both >> 16)});
}

// Numbers that a thread takes at a time: 16 bytes of 16-bit numbers, two times 16 of f32.
const u32 VECTOR = 8;

// One vector of weights as it lies in memory.
template <class T>
struct Packed {
    uint4 bytes;
};

template <>
struct Packed<float> {
    uint4 bytes[2];
};

template <class T>
__device__ __forceinline__ void fetch(const T *from, Packed<T> &to) { to.bytes = load_once(from); }

__device__ __forceinline__ void fetch(const float *from, Packed<float> &to) {
    to.bytes[0] = load_once(from);
    to.bytes[1] = load_once(from + 4);
}

template <class T>
__device__ __forceinline__ void widen(const Packed<T> &from, float (&to)[VECTOR]) {
    unpack(T{}, from.bytes.x, to);
    unpack(T{}, from.bytes.y, to + 2);
    unpack(T{}, from.bytes.z, to + 4);
    unpack(T{}, from.bytes.w, to + 6);
}

__device__ __forceinline__ void widen(const Packed<float> &from, float (&to)[VECTOR]) {
#pragma unroll
    for (u32 half = 0; half < 2; half++) {
        to[4 * half] = float_of(from.bytes[half].x);
        to[4 * half + 1] = float_of(from.bytes[half].y);
        to[4 * half + 2] = float_of(from.bytes[half].z);
        to[4 * half + 3] = float_of(from.bytes[half].w);
    }
}

// A vector of activations, 16-byte aligned: many warps read the same ones, which the first-level
// cache holds.
__device__ __forceinline__ void load_vector(const float *from, float (&to)[VECTOR]) {
    const float4 *const halves = reinterpret_cast<const float4 *>(from);
#pragma unroll
    for (u32 half = 0; half < 2; half++) {
        const float4 x = halves[half];
        to[4 * half] = x.x;
        to[4 * half + 1] = x.y;
        to[4 * half + 2] = x.z;
        to[4 * half + 3] = x.w;
    }
}

// -------------------------------------------------------------------------------------- Arithmetic

__device__ __forceinline__ u32 least(u32 a, u32 b) { return a < b ? a : b; }

__device__ __forceinline__ u32 divided_up(u32 a, u32 b) { return a / b + (a % b != 0); }

// e^x = 2^(x log2(e)), and the powers of 2 are what the device can do.
const float LOG2_E = 1.44269504f;

// x / (1 + e^-x)
__device__ __forceinline__ float silu(float x) { return x / (1.0f + power_of_2(-x * LOG2_E)); }

// No number: what a maximum begins with. Not -INFINITY, which is a macro of a header.
__device__ __forceinline__ float minus_infinity() { return float_of(0xff800000u); }

// -------------------------------------------------------------------------------------- Reductions

// Every lane gets the sum of all, added up in the same order each time.
__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
    for (u32 distance = WARP / 2; distance > 0; distance /= 2) {
        x += __shfl_xor_sync(WHOLE_WARP, x, distance);
    }
    return x;
}

// Every thread of a block of whole warps in one row gets the sum of all. `scratch`: one number a
// warp.
__device__ __forceinline__ float block_sum(float x, float *scratch) {
    x = warp_sum(x);
    if (threadIdx.x % WARP == 0) {
        scratch[threadIdx.x / WARP] = x;
    }
    __syncthreads();
    float sum = 0;
#pragma unroll 1
    for (u32 warp = 0; warp < blockDim.x / WARP; warp++) {
        sum += scratch[warp];
    }
    __syncthreads();
    return sum;
}
