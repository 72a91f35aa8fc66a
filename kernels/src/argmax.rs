//! The best of all.

use crate::isa::Isa;
use crate::simd::{Kernel, Simd};
use crate::softmax;

/// The index of the largest value: the first of equals; a NaN loses to every number. 0 where there
/// is no number.
#[must_use]
pub fn argmax(isa: Isa, x: &[f32]) -> usize {
    isa.run(Argmax(x))
}

struct Argmax<'a>(&'a [f32]);

impl Kernel for Argmax<'_> {
    type Output = usize;

    #[inline(always)]
    #[expect(
        clippy::float_cmp,
        reason = "the maximum is one of them, bit for bit or as the other zero"
    )]
    fn run<S: Simd>(self, simd: S) -> usize {
        let maximum = softmax::maximum(simd, self.0);
        self.0.iter().position(|&x| x == maximum).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::reference;

    #[test]
    fn ties_and_nan() {
        const NAN: f32 = f32::NAN;
        const LEAST: f32 = f32::NEG_INFINITY;
        let cases: [(&[f32], usize); 8] = [
            (&[], 0),
            (&[1.0, 3.0, 3.0, 2.0], 1),
            (&[NAN, -5.0, NAN], 1),
            (&[NAN, LEAST, LEAST], 1),
            (&[NAN, NAN], 0),
            (&[-0.0, 0.0], 0),
            (&[-1.0, f32::INFINITY, f32::INFINITY], 1),
            (&[LEAST, LEAST], 0),
        ];
        for isa in Isa::available() {
            for (x, expected) in cases {
                assert_eq!(argmax(isa, x), expected, "{isa} {x:?}");
                assert_eq!(reference::argmax(x), expected, "{x:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn argmax_is_the_references(
            x in prop::collection::vec(
                prop_oneof![4 => (-8..8).prop_map(|n| n as f32), 1 => Just(f32::NAN)],
                0..100,
            )
        ) {
            for isa in Isa::available() {
                prop_assert_eq!(argmax(isa, &x), reference::argmax(&x));
            }
        }
    }
}
