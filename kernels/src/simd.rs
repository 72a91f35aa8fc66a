//! What an operation may use of an instruction set.
//!
//! An operation is a [`Kernel`]: a struct of its arguments whose `run` is written once, over
//! [`Simd`]. Each instruction set is a token that exists only where the processor was seen to have
//! it, which is what makes its methods safe. [`Simd::vectorize`] enters a function compiled for
//! that set, and everything is inlined into it; so vector code uses loops, not closures, which
//! would be compiled on their own, without the set.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

use half::{bf16, f16};

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::{Avx512, Avx512Bf16};
#[cfg(target_arch = "aarch64")]
pub(crate) use neon::{Neon, NeonBf16};
pub(crate) use portable::Portable;

/// An operation with its arguments. Implementations of `run` are `#[inline(always)]`.
pub(crate) trait Kernel {
    type Output;

    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// An instruction set, as a token that proves its presence.
pub(crate) trait Simd: Copy {
    /// A register of `LANES` f32.
    type Vector: Copy;
    /// As many numbers, in memory.
    type Array<T: Copy>: Copy + AsRef<[T]> + AsMut<[T]>;

    const LANES: usize;

    /// Vectors that the processor holds at a time.
    const REGISTERS: usize;

    /// Runs the kernel in a function that is compiled for this instruction set.
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output;

    /// Whole vectors, and the rest.
    fn chunks<T: Copy>(slice: &[T]) -> (&[Self::Array<T>], &[T]);

    /// Whole vectors, and the rest.
    fn chunks_mut<T: Copy>(slice: &mut [T]) -> (&mut [Self::Array<T>], &mut [T]);

    /// A rest, with zeros behind it.
    fn padded<T: Copy + Default>(rest: &[T]) -> Self::Array<T>;

    /// Asks for the memory at `index` of `slice`, or behind its end, to be brought to the
    /// second-level cache.
    fn prefetch<T>(self, slice: &[T], index: usize);

    fn load(self, from: &Self::Array<f32>) -> Self::Vector;
    fn load_f16(self, from: &Self::Array<f16>) -> Self::Vector;
    fn load_bf16(self, from: &Self::Array<bf16>) -> Self::Vector;
    fn store(self, vector: Self::Vector, to: &mut Self::Array<f32>);

    fn splat(self, value: f32) -> Self::Vector;
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn div(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a * b + c`, rounded once where the hardware can.
    fn fma(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// `if a > b { a } else { b }`: where either is NaN, `b`.
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `if a < b { a } else { b }`: where either is NaN, `b`.
    fn min(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// The bits of each lane, shifted to where an exponent is.
    fn to_exponent(self, a: Self::Vector) -> Self::Vector;
    /// Of all lanes, always in the same order.
    fn sum(self, a: Self::Vector) -> f32;
    /// Of all lanes of each vector, in an order that is the same for all eight.
    fn sums(self, vectors: &[Self::Vector; 8]) -> [f32; 8];
    /// Of all lanes; a NaN is passed over where a number follows or precedes it.
    fn maximum(self, a: Self::Vector) -> f32;

    /// `e^a` to about two units in the last place. Zero below -87.7, and 2e38 above 88.3; NaN stays
    /// NaN.
    ///
    /// `a = n ln 2 + r` with `|r| <= ln 2 / 2`, so `e^a = 2^n e^r`. The Taylor polynomial of degree
    /// 7 leaves `r^8 / 8! < 6e-9` of `e^r`, less than f32 can show. `2^n` is made from bits: adding
    /// 1.5 * 2^23 rounds to an integer and leaves it in the low bits of the sum, and 127 more is
    /// the bias of an exponent; `n = -127` gives the bits of 0.
    #[inline(always)]
    fn exp(self, a: Self::Vector) -> Self::Vector {
        const TO_INTEGER: f32 = 12_582_912.0 + 127.0;
        const LN_2_HIGH: f32 = 0.693_359_4; // 9 bits, so that n times it is exact
        const LN_2_LOW: f32 = -2.121_944_4e-4;
        const TAYLOR: [f32; 6] = [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0];

        let a = self.min(self.splat(88.3), self.max(self.splat(-88.0), a));
        let shifted = self.fma(a, self.splat(std::f32::consts::LOG2_E), self.splat(TO_INTEGER));
        let n = self.sub(shifted, self.splat(TO_INTEGER));
        let r = self.fma(n, self.splat(-LN_2_HIGH), a);
        let r = self.fma(n, self.splat(-LN_2_LOW), r);
        let mut polynomial = self.splat(1.0 / 5040.0);
        for coefficient in TAYLOR {
            polynomial = self.fma(polynomial, r, self.splat(coefficient));
        }
        let polynomial = self.fma(polynomial, r, self.splat(1.0));
        self.mul(polynomial, self.to_exponent(shifted))
    }
}

/// An operation that needs [`Bf16Dot`], with its arguments; otherwise as a [`Kernel`].
pub(crate) trait Bf16Kernel {
    type Output;

    fn run<D: Bf16Dot>(self, dot: D) -> Self::Output;
}

/// An instruction set that also multiplies bf16 as they are, two of each operand for a lane of the
/// f32 sums.
pub(crate) trait Bf16Dot: Copy {
    /// What it has besides.
    type Simd: Simd;

    fn simd(self) -> Self::Simd;

    /// Runs the kernel in a function that is compiled for this instruction set.
    fn vectorize<K: Bf16Kernel>(self, kernel: K) -> K::Output;

    /// Pairs, as the bits of a vector that only `dot` makes sense of.
    fn load(self, from: &Lanes<Self, [bf16; 2]>) -> Vector<Self>;

    /// `sum + a[0] * b[0] + a[1] * b[1]`, lane by lane.
    fn dot(self, a: Vector<Self>, b: Vector<Self>, sum: Vector<Self>) -> Vector<Self>;

    /// The nearest bf16 to each, the even one of two.
    fn round(self, from: &Lanes<Self, [f32; 2]>) -> Lanes<Self, [bf16; 2]>;
}

/// A register of the f32 that `D` adds up in.
pub(crate) type Vector<D> = <<D as Bf16Dot>::Simd as Simd>::Vector;

/// A `T` for each lane of `D`.
pub(crate) type Lanes<D, T> = <<D as Bf16Dot>::Simd as Simd>::Array<T>;

/// The methods of [`Simd`] that are the same text for every number of lanes.
macro_rules! arrays {
    ($lanes:literal) => {
        type Array<T: Copy> = [T; $lanes];

        const LANES: usize = $lanes;

        #[inline(always)]
        fn chunks<T: Copy>(slice: &[T]) -> (&[[T; $lanes]], &[T]) {
            slice.as_chunks()
        }

        #[inline(always)]
        fn chunks_mut<T: Copy>(slice: &mut [T]) -> (&mut [[T; $lanes]], &mut [T]) {
            slice.as_chunks_mut()
        }

        #[inline(always)]
        fn padded<T: Copy + Default>(rest: &[T]) -> [T; $lanes] {
            let mut array = [T::default(); $lanes];
            array[..rest.len()].copy_from_slice(rest);
            array
        }
    };
}
use arrays;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;

    struct Exp<'a>(&'a mut [f32]);

    impl Kernel for Exp<'_> {
        type Output = ();

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            for array in S::chunks_mut(self.0).0 {
                simd.store(simd.exp(simd.load(array)), array);
            }
        }
    }

    #[test]
    fn exp_is_close_everywhere() {
        for isa in Isa::available() {
            let inputs: Vec<f32> = (0..1 << 17).map(|i| (i - (1 << 16)) as f32 / 760.0).collect();
            let mut outputs = inputs.clone();
            isa.run(Exp(&mut outputs));
            for (&x, &y) in inputs.iter().zip(&outputs).filter(|(x, _)| (-87.0..88.2).contains(*x))
            {
                let exact = f64::from(x).exp();
                let error = (f64::from(y) - exact).abs() / exact;
                assert!(error < 2.5e-7, "{isa}: exp({x}) = {y}, off by {error:e}");
            }
        }
    }

    #[test]
    fn exp_of_the_ends_of_the_line() {
        for isa in Isa::available() {
            let mut values = [0.0; 16];
            let inputs = [0.0, -87.8, -1e4, f32::NEG_INFINITY, f32::INFINITY, f32::NAN];
            values[..6].copy_from_slice(&inputs);
            isa.run(Exp(&mut values));
            assert_eq!(values[..4], [1.0, 0.0, 0.0, 0.0], "{isa}");
            assert!(values[4] > 2e38 && values[4].is_finite(), "{isa}: {}", values[4]);
            assert!(values[5].is_nan(), "{isa}");
        }
    }
}
