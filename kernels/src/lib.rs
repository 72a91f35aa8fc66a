//! The arithmetic: dot products, GEMV, GEMM, norms, attention, by SIMD chosen at run time.

pub mod elements;

pub use elements::Elements;
