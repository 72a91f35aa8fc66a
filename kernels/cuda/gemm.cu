// Products of many rows on the matrix units: out (rows, outputs) = x (rows, inputs) weight^T +
// bias, with x and weight (outputs, inputs) in 16 bits and sums in f32.
//
// A block computes a tile of the output. It walks the columns of x and weight in steps of `K`; each
// step's piece of both is a stage in shared memory, and while one stage is multiplied the next ones
// are copied (`cp.async`). Rows in shared memory are pieces of 16 bytes whose place is exchanged by
// the row ("swizzled"), so that the eight rows of a matrix of `ldmatrix` lie in different banks. Of
// the four warps of a block each has a part of the tile; or, where the tile is small, all of it for
// a fourth of the columns, to be added up in the end, always in the same order.
//
// Limits: few rows, the bytes of the weights; many rows, the matrix units. Between them the bytes
// that a tile reads for its products decide, which is why there are four tiles;
// kernels/src/cuda/linear.rs says which one is taken.
//
// `inputs` is a multiple of 8 and everything 16-byte aligned; gemm_plain.cu takes the rest.
#include "then.cuh"

// Threads of a block.
const u32 GEMM_THREADS = 128;

// A tile of `M` rows and `N` outputs in steps of `K` columns, `STAGES` of them in shared memory.
template <u32 M_, u32 N_, u32 K_, u32 WARPS_M_, u32 WARPS_N_, u32 WARPS_K_, u32 STAGES_>
struct Tile {
    static const u32 M = M_, N = N_, K = K_, STAGES = STAGES_;
    static const u32 WARPS_M = WARPS_M_, WARPS_N = WARPS_N_, WARPS_K = WARPS_K_;
    static_assert(WARPS_M * WARPS_N * WARPS_K * WARP == GEMM_THREADS, "warps of a block");
    // Pieces of 16 bytes: of a row, and of a stage.
    static const u32 PIECES = K / 8, STAGE_PIECES = (M + N) * PIECES;
    static_assert(GEMM_THREADS % PIECES == 0 && N % (GEMM_THREADS / PIECES) == 0,
                  "each thread has the same work");
    static_assert(M % (GEMM_THREADS / PIECES) == 0,
                  "all threads copy rows of x, then all of weight");
    // What a warp multiplies: matrices of 16 rows, and pairs of matrices of 8 outputs.
    static const u32 ROWS = M / WARPS_M / 16, PAIRS = N / WARPS_N / 16;
};

// Few rows: the weights are the work. 12 KiB a stage, 8 of them weights.
typedef Tile<16, 32, 128, 1, 1, 4, 4> Tile16x32;
// 12 KiB a stage.
typedef Tile<64, 32, 64, 1, 1, 4, 4> Tile64x32;
// 24 KiB a stage.
typedef Tile<64, 128, 64, 2, 2, 1, 3> Tile64x128;
// 32 KiB a stage. Warps of 64 x 64: what they read from shared memory, two thirds of what it can
// give, is 4 KiB for 32 products of matrices.
typedef Tile<128, 128, 64, 2, 2, 1, 3> Tile128x128;

// The place of a piece of a row of a stage.
template <class TILE>
__device__ __forceinline__ u32 place(u32 row, u32 piece) {
    return row * TILE::PIECES + (piece ^ row % 8);
}

template <class T>
struct Operands {
    const T *x;
    const T *weight;
    u32 rows, outputs, inputs;
    u32 first_row, first_output;
};

// Begins to copy the columns from `column` on into a stage: the rows of x, then those of weight.
// Rows behind the last one are the last one again, and nobody looks at their products; columns
// behind the last one are zeros.
template <class TILE, class T>
__device__ __forceinline__ void fill(uint4 *stage, const Operands<T> &of, u32 column) {
    const u32 rows_at_a_time = GEMM_THREADS / TILE::PIECES;
    const u32 own_row = threadIdx.x / TILE::PIECES, piece = threadIdx.x % TILE::PIECES;
    const bool is_there = column + piece * 8 < of.inputs;
    const u32 own_column = is_there ? column + piece * 8 : 0;
#pragma unroll
    for (u32 first = 0; first < TILE::M; first += rows_at_a_time) {
        const u32 row = least(of.first_row + first + own_row, of.rows - 1);
        uint4 *const to = stage + place<TILE>(first + own_row, piece);
        cp_async16_or_zeros(to, of.x + u64(row) * of.inputs + own_column, is_there);
    }
#pragma unroll
    for (u32 first = 0; first < TILE::N; first += rows_at_a_time) {
        const u32 output = least(of.first_output + first + own_row, of.outputs - 1);
        uint4 *const to = stage + place<TILE>(TILE::M + first + own_row, piece);
        cp_async16_or_zeros(to, of.weight + u64(output) * of.inputs + own_column, is_there);
    }
}

// sums += the products of one stage, of the part of the tile that the warp has. `row` and `output`
// are where it begins.
template <class TILE, class T>
__device__ __forceinline__ void multiply_stage(const uint4 *stage, u32 row, u32 output, u32 warp_k,
                                               float (&sums)[TILE::ROWS][2 * TILE::PAIRS][4]) {
    const u32 lane = threadIdx.x % WARP, matrix = lane / 8;
#pragma unroll
    for (u32 step = 0; step < TILE::K / 16; step += TILE::WARPS_K) {
        const u32 piece = 2 * (step + warp_k);
        u32 x[TILE::ROWS][4], weight[TILE::PAIRS][4];
#pragma unroll
        for (u32 m = 0; m < TILE::ROWS; m++) {
            const u32 own = row + 16 * m + matrix % 2 * 8 + lane % 8;
            ldmatrix_x4(x[m], stage + place<TILE>(own, piece + matrix / 2));
        }
#pragma unroll
        for (u32 n = 0; n < TILE::PAIRS; n++) {
            const u32 own = TILE::M + output + 16 * n + matrix / 2 * 8 + lane % 8;
            ldmatrix_x4(weight[n], stage + place<TILE>(own, piece + matrix % 2));
        }
#pragma unroll
        for (u32 m = 0; m < TILE::ROWS; m++) {
#pragma unroll
            for (u32 n = 0; n < 2 * TILE::PAIRS; n++) {
                mma_m16n8k16(T{}, sums[m][n], x[m], weight[n / 2][n % 2 * 2],
                             weight[n / 2][n % 2 * 2 + 1]);
            }
        }
    }
}

// The sums of a tile in shared memory: (WARPS_K, M, STRIDE) numbers. The stride is eight numbers
// longer than a row, so that the rows of a matrix lie in different banks.
template <class TILE>
struct Sums {
    static const u32 STRIDE = TILE::N + 8, PART = TILE::M * STRIDE;
    static_assert(TILE::WARPS_K * PART <= TILE::STAGES * TILE::STAGE_PIECES * 4,
                  "they take the place of the stages");
};

// Leaves what a warp has where `write` finds it.
template <class TILE>
__device__ __forceinline__ void leave(const float (&sums)[TILE::ROWS][2 * TILE::PAIRS][4], u32 row,
                                      u32 output, u32 warp_k, float *scratch) {
    float *const own = scratch + warp_k * Sums<TILE>::PART +
                       (row + threadIdx.x % WARP / 4) * Sums<TILE>::STRIDE + output +
                       threadIdx.x % 4 * 2;
#pragma unroll
    for (u32 m = 0; m < TILE::ROWS; m++) {
#pragma unroll
        for (u32 n = 0; n < 2 * TILE::PAIRS; n++) {
#pragma unroll
            for (u32 half = 0; half < 2; half++) {
                float2 *const to = reinterpret_cast<float2 *>(
                    own + (16 * m + 8 * half) * Sums<TILE>::STRIDE + 8 * n);
                *to = float2{sums[m][n][2 * half], sums[m][n][2 * half + 1]};
            }
        }
    }
}

template <class T>
struct Result {
    const T *bias; // or null
    float *out;
    T *rounded; // or null
    u32 then;
};

// Numbers that a thread writes at a time, and how often it does so before it looks back.
const u32 WRITTEN = 4;
const u32 WRITES = 4;

// What is in `out`, of up to WRITTEN outputs; the rest is zeros.
__device__ __forceinline__ void read_old(const float *out, u64 at, u32 count,
                                         float (&old)[WRITTEN]) {
    if (count == WRITTEN && at % WRITTEN == 0) {
        const float4 all = *reinterpret_cast<const float4 *>(out + at);
        old[0] = all.x, old[1] = all.y, old[2] = all.z, old[3] = all.w;
        return;
    }
#pragma unroll
    for (u32 i = 0; i < WRITTEN; i++) {
        old[i] = i < count ? out[at + i] : 0.0f;
    }
}

// Adds the parts of a sum up, then puts what becomes of it in the place of what was in `out`.
template <class TILE, class T>
__device__ __forceinline__ void put(const float *sums, const float (&bias)[WRITTEN],
                                    const float (&old)[WRITTEN], u64 at, u32 count,
                                    const Result<T> &to) {
#pragma unroll
    for (u32 i = 0; i < WRITTEN; i++) {
        if (i < count) {
            float sum = bias[i];
#pragma unroll
            for (u32 part = 0; part < TILE::WARPS_K; part++) {
                sum += sums[part * Sums<TILE>::PART + i];
            }
            sum = finished(to.then, old[i], sum);
            to.out[at + i] = sum;
            if (to.rounded) {
                to.rounded[at + i] = round_as(T{}, sum);
            }
        }
    }
}

// Writes the tile from shared memory: neighbouring threads have neighbouring outputs.
template <class TILE, class T>
__device__ __forceinline__ void write(const float *sums, const Operands<T> &of,
                                      const Result<T> &to) {
    const u32 of_row = TILE::N / WRITTEN, rows_at_a_time = GEMM_THREADS / of_row;
    const u32 column = threadIdx.x % of_row * WRITTEN, output = of.first_output + column;
    const u32 count = output < of.outputs ? least(of.outputs - output, WRITTEN) : 0;
    float bias[WRITTEN];
#pragma unroll
    for (u32 i = 0; i < WRITTEN; i++) {
        bias[i] = to.bias && i < count ? widen(to.bias[output + i]) : 0.0f;
    }
#pragma unroll 1
    for (u32 first = threadIdx.x / of_row; first < TILE::M; first += WRITES * rows_at_a_time) {
        float old[WRITES][WRITTEN] = {};
        u32 counts[WRITES];
#pragma unroll
        for (u32 i = 0; i < WRITES; i++) {
            const u32 row = of.first_row + first + i * rows_at_a_time;
            counts[i] = first + i * rows_at_a_time < TILE::M && row < of.rows ? count : 0;
            if (looks_back(to.then)) {
                read_old(to.out, u64(row) * of.outputs + output, counts[i], old[i]);
            }
        }
#pragma unroll
        for (u32 i = 0; i < WRITES; i++) {
            const u32 row = first + i * rows_at_a_time;
            const u64 at = u64(of.first_row + row) * of.outputs + output;
            put<TILE>(sums + row * Sums<TILE>::STRIDE + column, bias, old[i], at, counts[i], to);
        }
    }
}

template <class TILE, class T>
__device__ __forceinline__ void gemm(const T *x, const T *weight, u32 rows, u32 outputs, u32 inputs,
                                     const Result<T> &to) {
    DYNAMIC_SHARED(uint4, stages);
    const Operands<T> of = {
        x, weight, rows, outputs, inputs, blockIdx.x * TILE::M, blockIdx.y * TILE::N};
    const u32 steps = divided_up(inputs, TILE::K);
    const u32 warp = threadIdx.x / WARP, warp_k = warp / (TILE::WARPS_M * TILE::WARPS_N);
    const u32 row = warp / TILE::WARPS_N % TILE::WARPS_M * TILE::ROWS * 16;
    const u32 output = warp % TILE::WARPS_N * TILE::PAIRS * 16;
    float sums[TILE::ROWS][2 * TILE::PAIRS][4] = {};

#pragma unroll 1
    for (u32 stage = 0; stage < TILE::STAGES - 1; stage++) {
        if (stage < steps) {
            fill<TILE>(stages + stage * TILE::STAGE_PIECES, of, stage * TILE::K);
        }
        cp_async_commit();
    }
#pragma unroll 1
    for (u32 step = 0; step < steps; step++) {
        cp_async_wait<TILE::STAGES - 2>();
        __syncthreads(); // this stage has arrived for all, and all are done with the one before it
        const u32 next = step + TILE::STAGES - 1;
        if (next < steps) {
            fill<TILE>(stages + next % TILE::STAGES * TILE::STAGE_PIECES, of, next * TILE::K);
        }
        cp_async_commit();
        multiply_stage<TILE, T>(stages + step % TILE::STAGES * TILE::STAGE_PIECES, row, output,
                                warp_k, sums);
    }
    cp_async_wait<0>();
    __syncthreads(); // all are done with the stages
    leave<TILE>(sums, row, output, warp_k, reinterpret_cast<float *>(stages));
    __syncthreads();
    write<TILE>(reinterpret_cast<float *>(stages), of, to);
}

#define GEMM(name, TILE, T)                                                                        \
    KERNEL(name)                                                                                   \
    (const T *x, const T *weight, const T *bias, float *out, T *rounded, u32 rows, u32 outputs,    \
     u32 inputs, u32 then) {                                                                       \
        gemm<TILE>(x, weight, rows, outputs, inputs, Result<T>{bias, out, rounded, then});         \
    }

GEMM(gemm_16x32_bf16, Tile16x32, bf16)
GEMM(gemm_64x32_bf16, Tile64x32, bf16)
GEMM(gemm_64x128_bf16, Tile64x128, bf16)
GEMM(gemm_128x128_bf16, Tile128x128, bf16)
GEMM(gemm_16x32_f16, Tile16x32, f16)
GEMM(gemm_64x32_f16, Tile64x32, f16)
GEMM(gemm_64x128_f16, Tile64x128, f16)
GEMM(gemm_128x128_f16, Tile128x128, f16)
