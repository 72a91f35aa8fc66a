//! NEON, which every `AArch64` has. And its products of bf16, where the processor does: Graviton 3
//! (2022), Apple M2 (2022) and Grace on.
//!
//! Its products of int8 (SDOT) have nothing to multiply, since weights are used as they are stored.
//! `kernels/check-aarch64` runs the tests of all this on other machines.
#![expect(unsafe_code, reason = "intrinsics ask for a processor that has them")]
#![allow(clippy::wildcard_imports, reason = "the names of intrinsics are their own namespace")]

use std::arch::aarch64::*;
use std::arch::{asm, is_aarch64_feature_detected};

use half::{bf16, f16};

use super::{Bf16Dot, Bf16Kernel, Kernel, Simd, arrays};

/// Proof that the processor has NEON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Neon(());

impl Neon {
    pub(crate) fn detect() -> Option<Self> {
        is_aarch64_feature_detected!("neon").then_some(Self(()))
    }
}

macro_rules! neon {
    ($instructions:expr) => {
        // SAFETY: a `Neon` or `NeonBf16` exists only where `detect` saw what these instructions
        // need; those that take an address get that of an array as long as what they read or
        // write, and ask for no alignment; a prefetch may name any address.
        unsafe { $instructions }
    };
}

impl Simd for Neon {
    type Vector = float32x4_t;

    const REGISTERS: usize = 32;

    arrays!(4);

    #[inline(always)]
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "neon")]
        fn with_neon<K: Kernel>(simd: Neon, kernel: K) -> K::Output {
            kernel.run(simd)
        }
        neon!(with_neon(self, kernel))
    }

    #[inline(always)]
    #[expect(clippy::pointers_in_nomem_asm_block, reason = "what is prefetched is not read")]
    fn prefetch<T>(self, slice: &[T], index: usize) {
        let address = slice.as_ptr().wrapping_add(index);
        neon!(asm!(
            "prfm pldl2keep, [{}]",
            in(reg) address,
            options(nomem, nostack, preserves_flags),
        ));
    }

    #[inline(always)]
    fn load(self, from: &[f32; 4]) -> float32x4_t {
        neon!(vld1q_f32(from.as_ptr()))
    }

    #[inline(always)]
    fn load_f16(self, from: &[f16; 4]) -> float32x4_t {
        neon!(vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from.as_ptr().cast()))))
    }

    #[inline(always)]
    fn load_bf16(self, from: &[bf16; 4]) -> float32x4_t {
        neon!(vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(from.as_ptr().cast()))))
    }

    #[inline(always)]
    fn store(self, vector: float32x4_t, to: &mut [f32; 4]) {
        neon!(vst1q_f32(to.as_mut_ptr(), vector));
    }

    #[inline(always)]
    fn splat(self, value: f32) -> float32x4_t {
        neon!(vdupq_n_f32(value))
    }

    #[inline(always)]
    fn add(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        neon!(vaddq_f32(a, b))
    }

    #[inline(always)]
    fn sub(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        neon!(vsubq_f32(a, b))
    }

    #[inline(always)]
    fn mul(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        neon!(vmulq_f32(a, b))
    }

    #[inline(always)]
    fn div(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        neon!(vdivq_f32(a, b))
    }

    #[inline(always)]
    fn fma(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        neon!(vfmaq_f32(c, a, b))
    }

    #[inline(always)]
    fn max(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // FMAX would hand on any NaN.
        neon!(vbslq_f32(vcgtq_f32(a, b), a, b))
    }

    #[inline(always)]
    fn min(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        neon!(vbslq_f32(vcltq_f32(a, b), a, b))
    }

    #[inline(always)]
    fn to_exponent(self, a: float32x4_t) -> float32x4_t {
        neon!(vreinterpretq_f32_u32(vshlq_n_u32::<23>(vreinterpretq_u32_f32(a))))
    }

    #[inline(always)]
    fn sum(self, a: float32x4_t) -> f32 {
        neon!(vaddvq_f32(a))
    }

    #[inline(always)]
    fn sums(self, vectors: &[float32x4_t; 8]) -> [f32; 8] {
        let mut sums = [0.0; 8];
        let (fours, _) = sums.as_chunks_mut();
        for (four, &[a, b, c, d]) in fours.iter_mut().zip(vectors.as_chunks().0) {
            self.store(neon!(vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d))), four);
        }
        sums
    }

    #[inline(always)]
    fn maximum(self, a: float32x4_t) -> f32 {
        let mut lanes = [0.0; 4];
        self.store(a, &mut lanes);
        lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
}

/// Proof that the processor also has BF16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NeonBf16(Neon);

impl NeonBf16 {
    pub(crate) fn detect() -> Option<Self> {
        Neon::detect().filter(|_| is_aarch64_feature_detected!("bf16")).map(Self)
    }
}

/// Each of the two products, their sum, and the sum with what was there is rounded by itself, to
/// the odd neighbour where it lies between two; numbers below 2^-126 count as zero.
impl Bf16Dot for NeonBf16 {
    type Simd = Neon;

    #[inline(always)]
    fn simd(self) -> Neon {
        self.0
    }

    #[inline(always)]
    fn vectorize<K: Bf16Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "neon,bf16")]
        fn with_bf16<K: Bf16Kernel>(dot: NeonBf16, kernel: K) -> K::Output {
            kernel.run(dot)
        }
        neon!(with_bf16(self, kernel))
    }

    #[inline(always)]
    fn load(self, from: &[[bf16; 2]; 4]) -> float32x4_t {
        neon!(vld1q_f32(from.as_ptr().cast()))
    }

    #[inline(always)]
    fn dot(self, a: float32x4_t, b: float32x4_t, mut sum: float32x4_t) -> float32x4_t {
        neon!(asm!(
            "bfdot {sum:v}.4s, {a:v}.8h, {b:v}.8h",
            sum = inout(vreg) sum,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        ));
        sum
    }

    #[inline(always)]
    fn round(self, from: &[[f32; 2]; 4]) -> [[bf16; 2]; 4] {
        let mut to = [[bf16::ZERO; 2]; 4];
        neon!({
            let from = from.as_ptr().cast::<f32>();
            let pairs: uint16x8_t;
            asm!(
                "bfcvtn {pairs:v}.4h, {low:v}.4s",
                "bfcvtn2 {pairs:v}.8h, {high:v}.4s",
                pairs = out(vreg) pairs,
                low = in(vreg) vld1q_f32(from),
                high = in(vreg) vld1q_f32(from.add(4)),
                options(pure, nomem, nostack, preserves_flags),
            );
            vst1q_u16(to.as_mut_ptr().cast(), pairs);
        });
        to
    }
}
