// What becomes of a product: `Then` of linear.rs.
#pragma once

#include "prelude.cuh"

const u32 THEN_SETS = 0;
const u32 THEN_ADDS = 1;
const u32 THEN_GATES = 2;
const u32 THEN_GELU = 3;
const u32 THEN_GELU_TANH = 4;

// Whether what was in `out` before is looked at.
__device__ __forceinline__ bool looks_back(u32 then) { return then == THEN_ADDS || then == THEN_GATES; }

// x Phi(x) (Hendrycks and Gimpel, 2016), to 3e-7: erfc(z) = t (a1 + t (a2 + ...)) e^(-z^2) with t = 1 / (1 + p z) for
// positive z (Abramowitz and Stegun, 1964, 7.1.26).
__device__ __forceinline__ float gelu(float x) {
    const float distance = x < 0.0f ? -x : x, z = distance * 0.70710678f;
    const float t = 1.0f / (1.0f + 0.3275911f * z);
    const float polynomial =
        t * (0.25482960f + t * (-0.28449672f + t * (1.4214138f + t * (-1.4531521f + t * 1.0614054f))));
    return (x > 0.0f ? x : 0.0f) - 0.5f * distance * polynomial * power_of_2(-z * z * LOG2_E);
}

// The same with sqrt(2 / pi) (x + 0.044715 x^3) for the argument of a tanh: (1 + tanh(u)) / 2 is 1 / (1 + e^(-2u)).
__device__ __forceinline__ float gelu_by_tanh(float x) {
    return x / (1.0f + power_of_2(-1.5957691f * LOG2_E * x * (1.0f + 0.044715f * x * x)));
}

// What goes to where `old` was.
__device__ __forceinline__ float finished(u32 then, float old, float product) {
    switch (then) {
    case THEN_ADDS:
        return old + product;
    case THEN_GATES:
        return silu(old) * product;
    case THEN_GELU:
        return gelu(product);
    case THEN_GELU_TANH:
        return gelu_by_tanh(product);
    default:
        return product;
    }
}
