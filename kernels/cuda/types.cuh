// The types of the kernels. The tests' stand-in for libcuda, which brings what nvcc knows by itself,
// includes them too.
#ifndef FIRSTLIGHT_TYPES // a changed copy of the kernels may meet the original
#define FIRSTLIGHT_TYPES

typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// The upper half of binary32.
struct bf16 {
    u16 bits;
};

// IEEE 754 binary16.
struct f16 {
    u16 bits;
};

#endif
