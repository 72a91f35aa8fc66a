//! AVX2 with FMA and F16C: every x86 server since Haswell (2013) and Zen (2017).
#![expect(unsafe_code, reason = "intrinsics ask for a processor that has them")]
#![allow(clippy::wildcard_imports, reason = "the names of intrinsics are their own namespace")]

use std::arch::x86_64::*;

use half::{bf16, f16};

use super::{Kernel, Simd, arrays};

/// Proof that the processor has AVX2, FMA and F16C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx2(());

impl Avx2 {
    pub(crate) fn detect() -> Option<Self> {
        let present = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        present.then_some(Self(()))
    }
}

macro_rules! avx2 {
    ($intrinsics:expr) => {
        // SAFETY: an `Avx2` exists only where `detect` saw what these intrinsics need; those that
        // take an address get that of an array as long as what they read or write, and ask for no
        // alignment.
        unsafe { $intrinsics }
    };
}

impl Simd for Avx2 {
    type Vector = __m256;

    const REGISTERS: usize = 16;

    arrays!(8);

    #[inline(always)]
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn with_avx2<K: Kernel>(simd: Avx2, kernel: K) -> K::Output {
            kernel.run(simd)
        }
        avx2!(with_avx2(self, kernel))
    }

    #[inline(always)]
    fn prefetch<T>(self, slice: &[T], index: usize) {
        avx2!(_mm_prefetch::<_MM_HINT_T1>(slice.as_ptr().wrapping_add(index).cast()));
    }

    #[inline(always)]
    fn load(self, from: &[f32; 8]) -> __m256 {
        avx2!(_mm256_loadu_ps(from.as_ptr()))
    }

    #[inline(always)]
    fn load_f16(self, from: &[f16; 8]) -> __m256 {
        avx2!(_mm256_cvtph_ps(_mm_loadu_si128(from.as_ptr().cast())))
    }

    #[inline(always)]
    fn load_bf16(self, from: &[bf16; 8]) -> __m256 {
        avx2!({
            let bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.as_ptr().cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits))
        })
    }

    #[inline(always)]
    fn store(self, vector: __m256, to: &mut [f32; 8]) {
        avx2!(_mm256_storeu_ps(to.as_mut_ptr(), vector));
    }

    #[inline(always)]
    fn splat(self, value: f32) -> __m256 {
        avx2!(_mm256_set1_ps(value))
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        avx2!(_mm256_add_ps(a, b))
    }

    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        avx2!(_mm256_sub_ps(a, b))
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        avx2!(_mm256_mul_ps(a, b))
    }

    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        avx2!(_mm256_div_ps(a, b))
    }

    #[inline(always)]
    fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        avx2!(_mm256_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        avx2!(_mm256_max_ps(a, b))
    }

    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        avx2!(_mm256_min_ps(a, b))
    }

    #[inline(always)]
    fn to_exponent(self, a: __m256) -> __m256 {
        avx2!(_mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(a))))
    }

    #[inline(always)]
    fn sum(self, a: __m256) -> f32 {
        avx2!({
            let four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        })
    }

    #[inline(always)]
    fn sums(self, vectors: &[__m256; 8]) -> [f32; 8] {
        avx2!(sums(vectors))
    }

    #[inline(always)]
    fn maximum(self, a: __m256) -> f32 {
        let mut lanes = [0.0; 8];
        self.store(a, &mut lanes);
        lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
}

/// [`Simd::sums`]: each step halves the vectors, adding halves of what both held.
#[inline(always)]
#[expect(clippy::many_single_char_names, reason = "eight vectors, and what becomes of each pair")]
pub(super) unsafe fn sums([a, b, c, d, e, f, g, h]: &[__m256; 8]) -> [f32; 8] {
    let mut sums = [0.0; 8];
    avx2!({
        // Of each letter four, then two, then one.
        let (ae, bf, cg, dh) = (halves(*a, *e), halves(*b, *f), halves(*c, *g), halves(*d, *h));
        let (abef, cdgh) = (quarters(ae, bf), quarters(cg, dh));
        let even = _mm256_shuffle_ps::<0b10_00_10_00>(abef, cdgh);
        let odd = _mm256_shuffle_ps::<0b11_01_11_01>(abef, cdgh);
        _mm256_storeu_ps(sums.as_mut_ptr(), _mm256_add_ps(even, odd));
    });
    sums
}

/// The halves of `a` added up, beside those of `b`.
#[inline(always)]
unsafe fn halves(a: __m256, b: __m256) -> __m256 {
    avx2!({
        let outer = _mm256_blend_ps::<0b1111_0000>(a, b);
        _mm256_add_ps(outer, _mm256_permute2f128_ps::<0x21>(a, b))
    })
}

/// The same for the halves of each half.
#[inline(always)]
unsafe fn quarters(a: __m256, b: __m256) -> __m256 {
    avx2!({
        let outer = _mm256_blend_ps::<0b1100_1100>(a, b);
        _mm256_add_ps(outer, _mm256_shuffle_ps::<0b01_00_11_10>(a, b))
    })
}
