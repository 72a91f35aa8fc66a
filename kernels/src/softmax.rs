//! From scores to probabilities.

use crate::isa::Isa;
use crate::simd::{Kernel, Simd};

/// `x = e^(x - max x) / sum e^(x - max x)`. With a NaN, or without a finite maximum, all become
/// NaN.
pub fn softmax(isa: Isa, x: &mut [f32]) {
    isa.run(Softmax(x));
}

struct Softmax<'a>(&'a mut [f32]);

impl Kernel for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let maximum = maximum(simd, self.0);
        let sum = exp_and_sum(simd, self.0, maximum);
        for x in self.0 {
            *x /= sum;
        }
    }
}

/// The largest of the numbers: minus infinity where there is none.
#[inline(always)]
pub(crate) fn maximum<S: Simd>(simd: S, x: &[f32]) -> f32 {
    let (chunks, rest) = S::chunks(x);
    let mut maxima = simd.splat(f32::NEG_INFINITY);
    for chunk in chunks {
        maxima = simd.max(simd.load(chunk), maxima);
    }
    let mut maximum = simd.maximum(maxima);
    for &x in rest {
        maximum = maximum.max(x);
    }
    maximum
}

/// `x = e^(x - shift)`, and the sum of them.
#[inline(always)]
pub(crate) fn exp_and_sum<S: Simd>(simd: S, x: &mut [f32], shift: f32) -> f32 {
    let (chunks, rest) = S::chunks_mut(x);
    let mut sums = simd.splat(0.0);
    for chunk in chunks {
        let exp = simd.exp(simd.sub(simd.load(chunk), simd.splat(shift)));
        simd.store(exp, chunk);
        sums = simd.add(sums, exp);
    }
    let mut sum = simd.sum(sums);
    let mut last = S::padded(rest);
    simd.store(simd.exp(simd.sub(simd.load(&last), simd.splat(shift))), &mut last);
    for (x, &exp) in rest.iter_mut().zip(last.as_ref()) {
        *x = exp;
        sum += exp;
    }
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::reference;
    use crate::reference::check::{SIZES, assert_close, numbers};

    #[test]
    fn softmax_is_the_references() {
        for isa in Isa::available() {
            for size in SIZES.into_iter().chain([49_152, 151_936]) {
                let x = numbers(size, 1, 30.0);
                let mut fast = x.clone();
                softmax(isa, &mut fast);
                assert_close(&fast, &reference::softmax(&x), 1e-6, &format!("{isa} {size}"));
            }
        }
    }

    #[test]
    fn what_has_no_softmax_is_not_a_number() {
        let infinity = f32::INFINITY;
        for isa in Isa::available() {
            for bad in [[f32::NAN, 0.0, 1.0], [infinity, 0.0, 1.0], [-infinity; 3]] {
                let mut fast = bad;
                softmax(isa, &mut fast);
                assert_close(&fast, &reference::softmax(&bad), 0.0, &isa.to_string());
            }
            let mut masked = [-infinity, 2.0, -infinity];
            softmax(isa, &mut masked);
            assert_eq!(masked, [0.0, 1.0, 0.0], "{isa}");
        }
    }

    proptest! {
        #[test]
        fn probabilities_add_up(x in prop::collection::vec(-1e3_f32..1e3, 1..200)) {
            for isa in Isa::available() {
                let mut fast = x.clone();
                softmax(isa, &mut fast);
                prop_assert!(fast.iter().all(|p| (0.0..=1.0).contains(p)));
                prop_assert!((fast.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            }
        }
    }
}
