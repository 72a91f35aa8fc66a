//! Gaussian error linear units (Hendrycks and Gimpel, 2016, <https://arxiv.org/abs/1606.08415>).

use crate::isa::Isa;
use crate::simd::{Kernel, Simd};
use crate::threads;

/// How `x Phi(x)` is computed, with the normal distribution's `Phi`. The two are up to 5e-4 apart,
/// and a model was trained with one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gelu {
    /// As it is: `x / 2 (1 + erf(x / sqrt(2)))`.
    Exact,
    /// `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`
    Tanh,
}

/// `x = gelu(x)`, to about 3e-7.
pub fn gelu(isa: Isa, x: &mut [f32], form: Gelu) {
    let cost = x.len() * COST;
    threads::for_each_piece(x, PIECE, cost, |_, x| match form {
        Gelu::Exact => isa.run(Exact(x)),
        Gelu::Tanh => isa.run(Tanh(x)),
    });
}

struct Exact<'a>(&'a mut [f32]);

impl Kernel for Exact<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (chunks, rest) = S::chunks_mut(self.0);
        for chunk in chunks {
            simd.store(exact(simd, simd.load(chunk)), chunk);
        }
        let mut last = S::padded(rest);
        simd.store(exact(simd, simd.load(&last)), &mut last);
        rest.copy_from_slice(&last.as_ref()[..rest.len()]);
    }
}

struct Tanh<'a>(&'a mut [f32]);

impl Kernel for Tanh<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (chunks, rest) = S::chunks_mut(self.0);
        for chunk in chunks {
            simd.store(by_tanh(simd, simd.load(chunk)), chunk);
        }
        let mut last = S::padded(rest);
        simd.store(by_tanh(simd, simd.load(&last)), &mut last);
        rest.copy_from_slice(&last.as_ref()[..rest.len()]);
    }
}

/// `erfc(z) = t (a1 + t (a2 + ...)) e^(-z^2)` with `t = 1 / (1 + p z)` for positive `z`, to 1.5e-7
/// (Abramowitz and Stegun, 1964, 7.1.26). With the distance from zero for `z`, `x Phi(x)` is `x`, or
/// zero where that is negative, less `|x| / 2` of it: nothing cancels.
#[inline(always)]
fn exact<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    const P: f32 = 0.327_591_1;
    const A: [f32; 5] = [1.061_405_4, -1.453_152_1, 1.421_413_8, -0.284_496_72, 0.254_829_6];

    // In this order, a NaN passes through.
    let positive = simd.max(simd.splat(0.0), x);
    let distance = simd.max(simd.sub(simd.splat(0.0), x), x);
    let z = simd.mul(distance, simd.splat(std::f32::consts::FRAC_1_SQRT_2));
    let t = simd.div(simd.splat(1.0), simd.fma(z, simd.splat(P), simd.splat(1.0)));
    let mut polynomial = simd.splat(0.0);
    for a in A {
        polynomial = simd.mul(simd.add(polynomial, simd.splat(a)), t);
    }
    let decay = simd.exp(simd.mul(simd.sub(simd.splat(0.0), z), z));
    let tail = simd.mul(simd.mul(simd.splat(-0.5), distance), simd.mul(polynomial, decay));
    simd.add(positive, tail)
}

/// `(1 + tanh(u)) / 2` is `1 / (1 + e^(-2u))`.
#[inline(always)]
fn by_tanh<S: Simd>(simd: S, x: S::Vector) -> S::Vector {
    const MINUS_2_SQRT_2_OVER_PI: f32 = -1.595_769;
    const CUBIC: f32 = 0.044_715;

    let square = simd.mul(x, x);
    let inner = simd.mul(x, simd.fma(square, simd.splat(CUBIC), simd.splat(1.0)));
    let decay = simd.exp(simd.mul(inner, simd.splat(MINUS_2_SQRT_2_OVER_PI)));
    simd.div(x, simd.add(simd.splat(1.0), decay))
}

/// A vector of sixteen takes about as long as this many vectors of multiply-adds.
const COST: usize = 24;

/// 16 KiB.
const PIECE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;
    use crate::reference::check::{SIZES, assert_close, numbers};

    const FORMS: [Gelu; 2] = [Gelu::Exact, Gelu::Tanh];

    #[test]
    fn gelu_is_the_references() {
        for isa in Isa::available() {
            for form in FORMS {
                for size in SIZES.into_iter().chain([3 * PIECE + 5, 40_000]) {
                    for range in [0.5, 6.0, 40.0] {
                        let x = numbers(size, 1, range);
                        let mut fast = x.clone();
                        gelu(isa, &mut fast, form);
                        let expected = reference::gelu(&x, form);
                        assert_close(&fast, &expected, 4e-7, &format!("{isa} {form:?} {size}"));
                    }
                }
            }
        }
    }

    #[test]
    fn gelu_of_extremes() {
        let x = [-1e15, -100.0, -13.0, 13.0, 1e15, f32::NAN, -0.0];
        for isa in Isa::available() {
            for form in FORMS {
                let mut fast = x;
                gelu(isa, &mut fast, form);
                assert_close(&fast, &reference::gelu(&x, form), 1e-6, &isa.to_string());
            }
        }
    }
}
