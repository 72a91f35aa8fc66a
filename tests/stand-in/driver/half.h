// IEEE 754 binary16 to binary32, without the processor's or the compiler's help.
#pragma once

namespace stand_in {

static inline float widen_f16(unsigned short half) {
    // The fields move to where binary32 has them; the product corrects the exponent, of subnormal numbers as well.
    unsigned bits = (half & 0x7fffu) << 13;
    float magnitude;
    __builtin_memcpy(&magnitude, &bits, sizeof magnitude);
    magnitude *= 0x1p112f;
    __builtin_memcpy(&bits, &magnitude, sizeof bits);
    bool is_finite = (half & 0x7c00u) != 0x7c00u;
    bits |= (half & 0x8000u) << 16 | (is_finite ? 0 : 0x7f800000u);
    __builtin_memcpy(&magnitude, &bits, sizeof magnitude);
    return magnitude;
}

}  // namespace stand_in
