// Rotary position embedding (Su et al., 2021), in the half-split layout. Bound by latency: few
// numbers.
#include "places.cuh"

// Cosines, then sines, of the angles of the rows' positions: out (rows, 2 half). A block for each
// row, which has a place for itself, a thread for each angle. The angle is rounded to f32, as the
// models were trained with.
KERNEL(turns)(const float *inverse_frequencies, const Place *places, float *out, u32 half) {
    const Place place = places[blockIdx.x];
    const float position = float(place.position);
    float *const row = out + u64(place.row) * 2 * half;
    for (u32 i = threadIdx.x; i < half; i += blockDim.x) {
        const float angle = position * inverse_frequencies[i];
        row[i] = cosf(angle);
        row[half + i] = sinf(angle);
    }
}

// In each head of x (rows, columns), columns i and i + head_dim / 2 turn by angle i of their row. A
// column of blocks for each row, a thread for each pair of columns.
KERNEL(rope)(float *x, const float *turns, u32 columns, u32 head_dim) {
    const u32 half = head_dim / 2;
    const u32 pair = blockIdx.y * blockDim.x + threadIdx.x;
    if (pair >= columns / 2) {
        return;
    }
    const u32 i = pair % half;
    float *const head = x + u64(blockIdx.x) * columns + pair / half * head_dim;
    const float *const row = turns + u64(blockIdx.x) * head_dim;
    const float cosine = row[i], sine = row[half + i];
    const float left = head[i], right = head[half + i];
    head[i] = left * cosine - right * sine;
    head[half + i] = right * cosine + left * sine;
}
