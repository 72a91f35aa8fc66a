// What a kernel sees of CUDA when g++ compiles it: force-included (`-include shim.h`) before each `.cu` file.
//
// One thread of a block is one fiber (threads.cpp). Whatever a thread reads or writes in memory is seen by the checks,
// because kernels are compiled with instrumented loads and stores (hooks.cpp); whatever it asks of its block or its
// warp (an index, a barrier, a shuffle, a matrix product) is a call.
#pragma once

#include "../../../kernels/cuda/types.cuh"
#include "half.h"
#include "shim_calls.h"

// ---- The language.

#define __device__
#define __host__
#define __global__
#define __constant__ const
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __restrict__ __restrict

// A block runs alone, from its first thread to its last, so that one copy of each shared array is enough. They are the
// only variables of a kernel file that can be written, which is how the checks know them.
#define __shared__ static

// The build looks for this name in the preprocessed text, and enlists what it finds (enlist.h).
#define KERNEL(name) static __attribute__((noinline, used)) void stand_in_kernel_##name
#define DYNAMIC_SHARED(type, name) type* name = static_cast<type*>(stand_in::dynamic_shared())

#define threadIdx (stand_in::thread_index())
#define blockIdx (stand_in::block_index())
#define blockDim (stand_in::block_size())
#define gridDim (stand_in::grid_size())
#define warpSize 32

#define __syncthreads() stand_in::sync_block()

// ---- Vectors.

struct __align__(8) float2 {
    float x, y;
};
struct __align__(16) float4 {
    float x, y, z, w;
};
struct __align__(8) uint2 {
    unsigned x, y;
};
struct __align__(16) uint4 {
    unsigned x, y, z, w;
};
struct __align__(8) int2 {
    int x, y;
};
struct __align__(16) int4 {
    int x, y, z, w;
};

static inline float2 make_float2(float x, float y) { return {x, y}; }
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

// ---- Arithmetic.

static inline float fminf(float a, float b) { return __builtin_fminf(a, b); }
static inline float fmaxf(float a, float b) { return __builtin_fmaxf(a, b); }
static inline float fabsf(float x) { return __builtin_fabsf(x); }
static inline float sqrtf(float x) { return __builtin_sqrtf(x); }
static inline float rsqrtf(float x) { return 1.0f / __builtin_sqrtf(x); }
static inline float expf(float x) { return __builtin_expf(x); }
static inline float exp2f(float x) { return __builtin_exp2f(x); }
static inline float logf(float x) { return __builtin_logf(x); }
static inline float log2f(float x) { return __builtin_log2f(x); }
static inline float powf(float x, float y) { return __builtin_powf(x, y); }
static inline float cosf(float x) { return __builtin_cosf(x); }
static inline float sinf(float x) { return __builtin_sinf(x); }
static inline float tanhf(float x) { return __builtin_tanhf(x); }
static inline float erff(float x) { return __builtin_erff(x); }
static inline float floorf(float x) { return __builtin_floorf(x); }
static inline float fmaf(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
static inline float __expf(float x) { return __builtin_expf(x); }
static inline float __fdividef(float a, float b) { return a / b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline bool isnan(float x) { return __builtin_isnan(x); }
static inline void sincosf(float x, float* sine, float* cosine) {
    *sine = sinf(x);
    *cosine = cosf(x);
}

static inline int min(int a, int b) { return a < b ? a : b; }
static inline int max(int a, int b) { return a > b ? a : b; }
static inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
static inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
static inline unsigned long min(unsigned long a, unsigned long b) { return a < b ? a : b; }
static inline unsigned long max(unsigned long a, unsigned long b) { return a > b ? a : b; }

static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }
static inline int __ffs(int x) { return __builtin_ffs(x); }

// ---- Bits.

template <class To, class From>
static __forceinline__ To stand_in_bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "bits of one size");
    To to;
    __builtin_memcpy(&to, &from, sizeof to);
    return to;
}
static __forceinline__ float __uint_as_float(unsigned bits) { return stand_in_bits<float>(bits); }
static __forceinline__ unsigned __float_as_uint(float x) { return stand_in_bits<unsigned>(x); }
static __forceinline__ float __int_as_float(int bits) { return stand_in_bits<float>(bits); }
static __forceinline__ int __float_as_int(float x) { return stand_in_bits<int>(x); }

// ---- Warps. Only `__syncwarp` orders memory between lanes, as the CUDA guide has it: a shuffle does not.

static inline void __syncwarp(unsigned lanes = 0xffffffffu) { stand_in::sync_warp(lanes); }

template <class T>
static __forceinline__ T stand_in_shuffle(unsigned lanes, T value, unsigned source_lane) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles move 4 or 8 bytes");
    if constexpr (sizeof(T) == 4) {
        return stand_in_bits<T>(stand_in::shuffle(lanes, stand_in_bits<unsigned>(value), source_lane));
    } else {
        auto bits = stand_in_bits<unsigned long>(value);
        unsigned long low = stand_in::shuffle(lanes, static_cast<unsigned>(bits), source_lane);
        unsigned long high = stand_in::shuffle(lanes, static_cast<unsigned>(bits >> 32), source_lane);
        return stand_in_bits<T>(low | high << 32);
    }
}
// The lane to read, within sections of `width` lanes; past its section's end a lane reads itself.
static __forceinline__ unsigned stand_in_peer(unsigned peer, unsigned width) {
    unsigned self = stand_in::lane();
    return peer / width == self / width ? peer : self;
}
template <class T>
static __forceinline__ T __shfl_sync(unsigned lanes, T value, unsigned source, unsigned width = 32) {
    return stand_in_shuffle(lanes, value, stand_in::lane() / width * width + source % width);
}
template <class T>
static __forceinline__ T __shfl_xor_sync(unsigned lanes, T value, unsigned flip, unsigned width = 32) {
    return stand_in_shuffle(lanes, value, stand_in_peer(stand_in::lane() ^ flip, width));
}
template <class T>
static __forceinline__ T __shfl_down_sync(unsigned lanes, T value, unsigned by, unsigned width = 32) {
    return stand_in_shuffle(lanes, value, stand_in_peer(stand_in::lane() + by, width));
}
template <class T>
static __forceinline__ T __shfl_up_sync(unsigned lanes, T value, unsigned by, unsigned width = 32) {
    return stand_in_shuffle(lanes, value, stand_in_peer(stand_in::lane() - by, width));
}
static inline unsigned __ballot_sync(unsigned lanes, bool vote) { return stand_in::ballot(lanes, vote); }
static inline bool __any_sync(unsigned lanes, bool vote) { return stand_in::ballot(lanes, vote) != 0; }
static inline bool __all_sync(unsigned lanes, bool vote) { return stand_in::ballot(lanes, !vote) == 0; }
static inline unsigned __activemask() { return 0xffffffffu; }
static inline void __trap() { stand_in::trap(); }
static inline void __threadfence() {}

// ---- Atomics: no other thread runs between the read and the write, so plain ones will do.

template <class T, class Change>
static __attribute__((noinline, no_sanitize("thread"))) T stand_in_atomic(T* place, Change change) {
    stand_in::atomic_access(place, sizeof(T));
    T before = *place;
    *place = change(before);
    return before;
}
template <class T>
static inline T atomicAdd(T* place, T by) {
    return stand_in_atomic(place, [by](T before) { return before + by; });
}
template <class T>
static inline T atomicMax(T* place, T with) {
    return stand_in_atomic(place, [with](T before) { return before > with ? before : with; });
}
template <class T>
static inline T atomicMin(T* place, T with) {
    return stand_in_atomic(place, [with](T before) { return before < with ? before : with; });
}
template <class T>
static inline T atomicExch(T* place, T with) {
    return stand_in_atomic(place, [with](T) { return with; });
}
template <class T>
static inline T atomicCAS(T* place, T expected, T with) {
    return stand_in_atomic(place, [=](T before) { return before == expected ? with : before; });
}

// ---- What the kernels' own header has in inline assembly, by the same names; its comments say what each one does.

static inline float widen(f16 x) { return stand_in::widen_f16(x.bits); }
static inline u16 round_to_f16(float x) { return stand_in_bits<u16>(static_cast<_Float16>(x)); }

// Nearest, ties to even; NaN as the machine writes it.
static inline u16 round_to_bf16(float x) {
    u32 bits = __float_as_uint(x);
    if (isnan(x)) return 0x7fff;
    return static_cast<u16>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
static inline float power_of_2(float x) { return __builtin_exp2f(x); }
static inline u32 pack(bf16, float low, float high) {
    return round_to_bf16(low) | static_cast<u32>(round_to_bf16(high)) << 16;
}
static inline u32 pack(f16, float low, float high) {
    return round_to_f16(low) | static_cast<u32>(round_to_f16(high)) << 16;
}
static inline uint4 load_once(const void* address) { return *static_cast<const uint4*>(address); }

static inline void cp_async16(void* shared, const void* global) { stand_in::copy_async(shared, global, 16, 16); }
static inline void cp_async16_or_zeros(void* shared, const void* global, bool is_there) {
    stand_in::copy_async(shared, global, 16, is_there ? 16 : 0);
}
static inline void cp_async_commit() { stand_in::commit_copies(); }
template <int groups_in_flight>
static inline void cp_async_wait() {
    stand_in::wait_copies(groups_in_flight);
}

static __forceinline__ void stand_in_mma(stand_in::Half type, float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    stand_in::Quad sum = stand_in::matrix_product(type, {d[0], d[1], d[2], d[3]}, a[0], a[1], a[2], a[3], b0, b1);
    d[0] = sum.x, d[1] = sum.y, d[2] = sum.z, d[3] = sum.w;
}
static __forceinline__ void mma_m16n8k16(bf16, float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    stand_in_mma(stand_in::Half::bf16, d, a, b0, b1);
}
static __forceinline__ void mma_m16n8k16(f16, float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    stand_in_mma(stand_in::Half::f16, d, a, b0, b1);
}
static __forceinline__ void stand_in_ldmatrix(u32 (&out)[4], const void* row, bool transposed) {
    stand_in::Words loaded = stand_in::load_matrices(row, transposed);
    out[0] = loaded.x, out[1] = loaded.y, out[2] = loaded.z, out[3] = loaded.w;
}
static __forceinline__ void ldmatrix_x4(u32 (&out)[4], const void* row) { stand_in_ldmatrix(out, row, false); }
static __forceinline__ void ldmatrix_x4_transposed(u32 (&out)[4], const void* row) {
    stand_in_ldmatrix(out, row, true);
}
