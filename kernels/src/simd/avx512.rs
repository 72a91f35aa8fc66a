//! AVX-512F: Skylake-X (2017) and Zen 4 (2022) on. Twice the lanes, and twice the registers for the
//! sums of a tile. And its products of bf16: Cooper Lake (2020) and Zen 4 on.
#![expect(unsafe_code, reason = "intrinsics ask for a processor that has them")]
#![allow(clippy::wildcard_imports, reason = "the names of intrinsics are their own namespace")]

use std::arch::x86_64::*;
use std::mem::transmute;

use half::{bf16, f16};

use super::{Bf16Dot, Bf16Kernel, Kernel, Simd, arrays, avx2};

/// Proof that the processor has AVX-512F.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx512(());

impl Avx512 {
    pub(crate) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx512f").then_some(Self(()))
    }
}

macro_rules! avx512 {
    ($intrinsics:expr) => {
        // SAFETY: an `Avx512` or `Avx512Bf16` exists only where `detect` saw what these intrinsics
        // need; those that take an address get that of an array as long as what they read or
        // write, and ask for no alignment; the types of vectors are all 64 bytes without meaning.
        unsafe { $intrinsics }
    };
}

impl Simd for Avx512 {
    type Vector = __m512;

    const REGISTERS: usize = 32;

    arrays!(16);

    #[inline(always)]
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx512f")]
        fn with_avx512<K: Kernel>(simd: Avx512, kernel: K) -> K::Output {
            kernel.run(simd)
        }
        avx512!(with_avx512(self, kernel))
    }

    #[inline(always)]
    fn prefetch<T>(self, slice: &[T], index: usize) {
        avx512!(_mm_prefetch::<_MM_HINT_T1>(slice.as_ptr().wrapping_add(index).cast()));
    }

    #[inline(always)]
    fn load(self, from: &[f32; 16]) -> __m512 {
        avx512!(_mm512_loadu_ps(from.as_ptr()))
    }

    #[inline(always)]
    fn load_f16(self, from: &[f16; 16]) -> __m512 {
        avx512!(_mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())))
    }

    #[inline(always)]
    fn load_bf16(self, from: &[bf16; 16]) -> __m512 {
        avx512!({
            let bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.as_ptr().cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))
        })
    }

    #[inline(always)]
    fn store(self, vector: __m512, to: &mut [f32; 16]) {
        avx512!(_mm512_storeu_ps(to.as_mut_ptr(), vector));
    }

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        avx512!(_mm512_set1_ps(value))
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        avx512!(_mm512_add_ps(a, b))
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        avx512!(_mm512_sub_ps(a, b))
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        avx512!(_mm512_mul_ps(a, b))
    }

    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        avx512!(_mm512_div_ps(a, b))
    }

    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        avx512!(_mm512_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        avx512!(_mm512_max_ps(a, b))
    }

    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        avx512!(_mm512_min_ps(a, b))
    }

    #[inline(always)]
    fn to_exponent(self, a: __m512) -> __m512 {
        avx512!(_mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_castps_si512(a))))
    }

    #[inline(always)]
    fn sum(self, a: __m512) -> f32 {
        avx512!(_mm512_reduce_add_ps(a))
    }

    #[inline(always)]
    fn sums(self, vectors: &[__m512; 8]) -> [f32; 8] {
        avx512!({
            let mut halves = [_mm256_setzero_ps(); 8];
            for (half, &vector) in halves.iter_mut().zip(vectors) {
                let upper = _mm512_extractf64x4_pd::<1>(_mm512_castps_pd(vector));
                *half = _mm256_add_ps(_mm512_castps512_ps256(vector), _mm256_castpd_ps(upper));
            }
            avx2::sums(&halves)
        })
    }

    #[inline(always)]
    fn maximum(self, a: __m512) -> f32 {
        let mut lanes = [0.0; 16];
        self.store(a, &mut lanes);
        lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
}

/// Proof that the processor also has AVX512-BF16, and the extensions that came long before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx512Bf16(Avx512);

impl Avx512Bf16 {
    pub(crate) fn detect() -> Option<Self> {
        let present = is_x86_feature_detected!("avx512bf16")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        Avx512::detect().filter(|_| present).map(Self)
    }
}

/// Products below 2^-126 count as zero, and so do numbers below it.
impl Bf16Dot for Avx512Bf16 {
    type Simd = Avx512;

    #[inline(always)]
    fn simd(self) -> Avx512 {
        self.0
    }

    #[inline(always)]
    fn vectorize<K: Bf16Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
        fn with_avx512_bf16<K: Bf16Kernel>(dot: Avx512Bf16, kernel: K) -> K::Output {
            kernel.run(dot)
        }
        avx512!(with_avx512_bf16(self, kernel))
    }

    #[inline(always)]
    fn load(self, from: &[[bf16; 2]; 16]) -> __m512 {
        avx512!(_mm512_loadu_ps(from.as_ptr().cast()))
    }

    #[inline(always)]
    fn dot(self, a: __m512, b: __m512, sum: __m512) -> __m512 {
        avx512!({
            let (a, b) = (transmute::<__m512, __m512bh>(a), transmute::<__m512, __m512bh>(b));
            _mm512_dpbf16_ps(sum, a, b)
        })
    }

    #[inline(always)]
    fn round(self, from: &[[f32; 2]; 16]) -> [[bf16; 2]; 16] {
        let mut to = [[bf16::ZERO; 2]; 16];
        avx512!({
            let from = from.as_ptr().cast::<f32>();
            let pairs = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(from.add(16)), _mm512_loadu_ps(from));
            _mm512_storeu_ps(to.as_mut_ptr().cast(), transmute::<__m512bh, __m512>(pairs));
        });
        to
    }
}
