//! The arithmetic: dot products, GEMV, GEMM, norms, attention, by SIMD chosen at run time
