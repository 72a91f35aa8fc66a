// What attention of few and of many rows have in common.
#pragma once
#include "places.cuh"

struct AttentionShape {
    u32 heads, kv_heads, head_dim;
    // A position sees itself and the `window - 1` before it; 0 is all of them. SEES_ALL: every position of its sequence.
    u32 window;
    float scale;
};

// As a window: what follows is seen, too.
const u32 SEES_ALL = 0xffffffffu;

// Behind the last position of the sequence where it is seen by all, otherwise 0.
__device__ __forceinline__ u32 end_for_all(const u32 *table, u32 window) { return window == SEES_ALL ? table[-1] : 0; }

// The first position that one at `position` sees.
__device__ __forceinline__ u32 first_seen(u32 position, u32 window) {
    return window != 0 && position >= window ? position + 1 - window : 0;
}

// What scores are relative to: while all of them are minus infinity, the difference of two would be no number.
__device__ __forceinline__ float reference_of(float largest) { return largest == minus_infinity() ? 0.0f : largest; }
