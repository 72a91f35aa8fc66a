// What the matrix units do at most: products that never leave the registers. For measuring, so not
// part of kernels.cu.
//
// Eight chains a warp hide how long one product takes. The numbers are about 1 and differ in each
// lane, since units that see equal bits take less power, and are faster.

#include "../prelude.cuh"

const u32 MATRIX_CHAINS = 8;

KERNEL(multiply_adds)(u32 turns, float* out) {
    u32 seed = blockIdx.x * blockDim.x + threadIdx.x;
    u32 a[4];
    for (u32 i = 0; i < 4; i++) {
        a[i] = 0x3f803f80u | ((seed * 2654435761u + i * 40503u) & 0x003f003fu);
    }
    u32 b0 = a[0] ^ 0x00150015u, b1 = a[1] ^ 0x002a002au;
    float sums[MATRIX_CHAINS][4] = {};
    for (u32 turn = 0; turn < turns; turn++) {
#pragma unroll
        for (u32 chain = 0; chain < MATRIX_CHAINS; chain++) {
            mma_m16n8k16(bf16{}, sums[chain], a, b0, b1);
        }
    }
    float sum = 0.0f;
    for (u32 chain = 0; chain < MATRIX_CHAINS; chain++) {
        sum += sums[chain][0] + sums[chain][1] + sums[chain][2] + sums[chain][3];
    }
    out[seed] = sum;
}
