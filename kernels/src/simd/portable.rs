//! Arrays of eight, for whatever instructions the compiler's baseline has (SSE2, NEON).

use half::{bf16, f16};

use super::{Kernel, Simd, arrays};
use crate::elements::Element as _;

/// No instruction set in particular.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Portable;

type Vector = [f32; 8];

impl Simd for Portable {
    type Vector = Vector;

    const REGISTERS: usize = 16;

    arrays!(8);

    #[inline(always)]
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }

    #[inline(always)]
    fn prefetch<T>(self, _: &[T], _: usize) {}

    #[inline(always)]
    fn load(self, from: &[f32; 8]) -> Vector {
        *from
    }

    #[inline(always)]
    fn load_f16(self, from: &[f16; 8]) -> Vector {
        from.map(f16::widen)
    }

    #[inline(always)]
    fn load_bf16(self, from: &[bf16; 8]) -> Vector {
        from.map(bf16::widen)
    }

    #[inline(always)]
    fn store(self, vector: Vector, to: &mut [f32; 8]) {
        *to = vector;
    }

    #[inline(always)]
    fn splat(self, value: f32) -> Vector {
        [value; 8]
    }

    #[inline(always)]
    fn add(self, a: Vector, b: Vector) -> Vector {
        lanes(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: Vector, b: Vector) -> Vector {
        lanes(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: Vector, b: Vector) -> Vector {
        lanes(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, a: Vector, b: Vector) -> Vector {
        lanes(a, b, |a, b| a / b)
    }

    #[inline(always)]
    fn fma(self, a: Vector, b: Vector, c: Vector) -> Vector {
        let mut sums = c;
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            // Without the instruction, a fused multiplication is a slow call.
            *sum = if HAS_FMA { a.mul_add(b, *sum) } else { a * b + *sum };
        }
        sums
    }

    #[inline(always)]
    fn max(self, a: Vector, b: Vector) -> Vector {
        lanes(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn min(self, a: Vector, b: Vector) -> Vector {
        lanes(a, b, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn to_exponent(self, a: Vector) -> Vector {
        a.map(|a| f32::from_bits(a.to_bits() << 23))
    }

    #[inline(always)]
    fn sum(self, a: Vector) -> f32 {
        let mut sums = a;
        for half in [4, 2, 1] {
            for lane in 0..half {
                sums[lane] += sums[lane + half];
            }
        }
        sums[0]
    }

    #[inline(always)]
    fn sums(self, vectors: &[Vector; 8]) -> [f32; 8] {
        vectors.map(|vector| self.sum(vector))
    }

    #[inline(always)]
    fn maximum(self, a: Vector) -> f32 {
        a.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }
}

const HAS_FMA: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

#[inline(always)]
fn lanes(a: Vector, b: Vector, operation: impl Fn(f32, f32) -> f32) -> Vector {
    let mut result = a;
    for (a, b) in result.iter_mut().zip(b) {
        *a = operation(*a, b);
    }
    result
}
