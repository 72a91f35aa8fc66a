// Kernels with one fault each, which the checks have to see.

KERNEL(reads_one_too_many)(const float* x, float* out, u32 count) {
    u32 i = threadIdx.x;
    if (i < count) out[i] = x[i + 1];
}

KERNEL(writes_one_too_many)(float* out, u32 count) {
    if (threadIdx.x <= count) out[threadIdx.x] = 1;
}

// `reversed` without its barrier.
KERNEL(misses_a_barrier)(const float* x, float* out) {
    __shared__ float tile[64];
    tile[threadIdx.x] = x[threadIdx.x];
    out[threadIdx.x] = tile[63 - threadIdx.x];
}

// A second round that overwrites what others still read.
KERNEL(misses_the_second_barrier)(const float* x, float* out) {
    __shared__ float tile[64];
    for (u32 round = 0; round < 2; round++) {
        tile[threadIdx.x] = x[threadIdx.x];
        __syncthreads();
        out[threadIdx.x] = tile[63 - threadIdx.x];
    }
}

KERNEL(misses_a_warp_barrier)(const float* x, float* out) {
    __shared__ float tile[32];
    tile[threadIdx.x] = x[threadIdx.x];
    out[threadIdx.x] = tile[31 - threadIdx.x];
}

// The first thread reads what others are counting.
KERNEL(misses_a_barrier_after_atomics)(const float* x, float* out) {
    __shared__ u32 tile;
    if (threadIdx.x == 0) tile = 0;
    __syncthreads();
    atomicAdd(&tile, 1u);
    if (threadIdx.x == 0) out[0] = x[0] + tile;
}

// Others count already when the first thread begins at zero.
KERNEL(misses_a_barrier_before_atomics)(const float* x, float* out) {
    __shared__ u32 tile;
    if (threadIdx.x == 0) tile = 0;
    atomicAdd(&tile, 1u);
    __syncthreads();
    if (threadIdx.x == 0) out[0] = x[0] + tile;
}

KERNEL(reads_unwritten_shared)(float* out) {
    __shared__ float tile[64];
    if (threadIdx.x > 0) tile[threadIdx.x] = 0;
    __syncthreads();
    out[threadIdx.x] = tile[threadIdx.x];
}

// Nobody waits for the copy.
KERNEL(misses_a_wait)(const float* x, float* out) {
    __shared__ __align__(16) float tile[128];
    cp_async16(tile + 4 * threadIdx.x, x + 4 * threadIdx.x);
    cp_async_commit();
    __syncthreads();
    out[threadIdx.x] = tile[threadIdx.x];
}

// Each waits for its own copy, and then reads that of another warp.
KERNEL(misses_a_barrier_after_the_wait)(const float* x, float* out) {
    __shared__ __align__(16) float tile[256];
    cp_async16(tile + 4 * threadIdx.x, x + 4 * threadIdx.x);
    cp_async_commit();
    cp_async_wait<0>();
    out[threadIdx.x] = tile[255 - threadIdx.x];
}

KERNEL(leaves_a_static_array)(float* out, u32 count) {
    __shared__ float tile[64];
    __shared__ float other[64];
    for (u32 i = threadIdx.x; i < count; i += blockDim.x) tile[i] = other[i % 64] = 1;
    out[threadIdx.x] = tile[threadIdx.x];
}

KERNEL(leaves_dynamic_memory)(float* out, u32 count) {
    DYNAMIC_SHARED(float, tile);
    for (u32 i = threadIdx.x; i < count; i += blockDim.x) tile[i] = 1;
    out[threadIdx.x] = tile[threadIdx.x];
}

// All blocks write one number.
KERNEL(meets_other_blocks)(float* out) {
    if (threadIdx.x == 0) *out = blockIdx.x;
}

// Reads what the next block writes.
KERNEL(reads_other_blocks)(float* x) {
    x[blockIdx.x] = x[(blockIdx.x + 1) % gridDim.x] + 1;
}

KERNEL(waits_alone)(float* out) {
    if (threadIdx.x < 32) __syncwarp();
    if (threadIdx.x == 0) {
        __syncthreads();
    } else {
        __shfl_sync(0xffffffffu, 1.0f, 0);
    }
    out[threadIdx.x] = 0;
}

KERNEL(is_not_aligned)(const float* x, float* out) {
    const float4* vector = reinterpret_cast<const float4*>(x + 1);
    float4 four = *vector;
    out[0] = four.x + four.y + four.z + four.w;
}

KERNEL(traps)(u32 limit) {
    if (threadIdx.x >= limit) __trap();
}

