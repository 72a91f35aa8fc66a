// Kernels without fault, for the tests of the stand-in itself.

KERNEL(plus)(float* x, const float* y, u32 count) {
    u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) x[i] += y[i];
}

// Of each block of 64, through shared memory.
KERNEL(reversed)(const float* x, float* out) {
    __shared__ float tile[64];
    tile[threadIdx.x] = x[blockIdx.x * 64 + threadIdx.x];
    __syncthreads();
    out[blockIdx.x * 64 + threadIdx.x] = tile[63 - threadIdx.x];
}

// Sums of each warp by shuffles, then of all by an atomic.
KERNEL(total)(const float* x, float* out, u32* blocks) {
    float sum = x[blockIdx.x * blockDim.x + threadIdx.x];
    for (u32 distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
    if (threadIdx.x % 32 == 0) atomicAdd(out, sum);
    if (threadIdx.x == 0) atomicAdd(blocks, 1u);
}

// Where each lane stands, by those shuffles and votes that reductions do not use.
KERNEL(lanes)(u32* out) {
    u32 lane = threadIdx.x;
    out[lane] = __shfl_sync(0xffffffffu, lane, 5);
    out[32 + lane] = __shfl_down_sync(0xffffffffu, lane, 3);
    out[64 + lane] = __shfl_up_sync(0xffffffffu, lane, 3);
    out[96 + lane] = __ballot_sync(0xffffffffu, lane % 3 == 0);
}

// One warp: out (16 x 8) = a (16 x 16) b (16 x 8), by the tensor cores' instructions. b lies as in memory, row by row.
template <class T>
static __device__ void product(const T* a, const T* b, float* out) {
    __shared__ __align__(16) T tile_a[16 * 16];
    __shared__ __align__(16) T tile_b[16 * 8];
    u32 lane = threadIdx.x;
    cp_async16(tile_a + 8 * lane, a + 8 * lane);
    cp_async_commit();
    if (lane < 16) cp_async16(tile_b + 8 * lane, b + 8 * lane);
    cp_async_commit();
    cp_async_wait<0>();
    __syncwarp();
    u32 left[4], right[4];
    ldmatrix_x4(left, tile_a + lane % 16 * 16 + lane / 16 * 8);
    ldmatrix_x4_transposed(right, tile_b + lane % 16 * 8);
    float sums[4] = {0, 0, 0, 0};
    mma_m16n8k16(T{}, sums, left, right[0], right[1]);
    for (u32 i = 0; i < 4; i++) out[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = sums[i];
}
KERNEL(product_bf16)(const bf16* a, const bf16* b, float* out) { product(a, b, out); }
KERNEL(product_f16)(const f16* a, const f16* b, float* out) { product(a, b, out); }

struct Three {
    const float* first;
    float by;
};

// A structure by value, and dynamic shared memory.
KERNEL(scaled)(Three three, float* out) {
    DYNAMIC_SHARED(float, tile);
    tile[threadIdx.x] = three.first[threadIdx.x] * three.by;
    __syncthreads();
    out[threadIdx.x] = tile[threadIdx.x ^ 1];
}

// The numbers that are above `floor`, side by side in any order: threads take their places by an atomic.
KERNEL(gathered)(const float* x, float floor, float* out, u32* count) {
    __shared__ float tile[64];
    __shared__ u32 taken;
    if (threadIdx.x == 0) taken = 0;
    __syncthreads();
    if (x[threadIdx.x] > floor) tile[atomicAdd(&taken, 1u)] = x[threadIdx.x];
    __syncthreads();
    if (threadIdx.x < taken) out[threadIdx.x] = tile[threadIdx.x];
    if (threadIdx.x == 0) *count = taken;
}
