//! Numbers to try, and how close is close.

use half::{bf16, f16};

use crate::Elements;

/// Lengths around the widths of vectors and tiles, and some of real models.
pub const SIZES: [usize; 22] =
    [0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 576, 896];

/// `count` numbers between `-range` and `range`, the same for the same seed.
#[must_use]
pub fn numbers(count: usize, seed: u64, range: f32) -> Vec<f32> {
    // An additive counter through the finaliser of MurmurHash3.
    let number = |index: u64| {
        let mut bits = (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed.rotate_left(32);
        for _ in 0..2 {
            bits = (bits ^ (bits >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        }
        let unit = (bits >> 40) as f32 / (1_u64 << 24) as f32;
        (2.0 * unit - 1.0) * range
    };
    (0..count as u64).map(number).collect()
}

/// Weights in one dtype.
#[derive(Clone, Debug)]
pub enum Weights {
    /// As they were.
    F32(Vec<f32>),
    /// Rounded to binary16.
    F16(Vec<f16>),
    /// Rounded to bfloat16.
    BF16(Vec<bf16>),
}

impl Weights {
    /// The same numbers in each dtype.
    #[must_use]
    pub fn all(numbers: &[f32]) -> [Self; 3] {
        [
            Self::F32(numbers.to_vec()),
            Self::F16(numbers.iter().map(|&x| f16::from_f32(x)).collect()),
            Self::BF16(numbers.iter().map(|&x| bf16::from_f32(x)).collect()),
        ]
    }

    /// What a kernel takes.
    #[must_use]
    pub fn elements(&self) -> Elements<'_> {
        match self {
            Self::F32(weights) => Elements::F32(weights),
            Self::F16(weights) => Elements::F16(weights),
            Self::BF16(weights) => Elements::BF16(weights),
        }
    }
}

/// Panics where `fast` is off by more than `tolerance * (1 + |expected|)`, or where only one of the
/// two is NaN.
#[track_caller]
#[expect(clippy::float_cmp, reason = "equal infinities are close")]
pub fn assert_close(fast: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(fast.len(), expected.len(), "{what}: lengths");
    for (index, (&fast, &expected)) in fast.iter().zip(expected).enumerate() {
        let error = (f64::from(fast) - expected).abs();
        let close = error <= tolerance * (1.0 + expected.abs());
        let same = (fast.is_nan() && expected.is_nan()) || f64::from(fast) == expected;
        assert!(close || same, "{what}: {fast} at {index} should be {expected}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "at 1 should be NaN")]
    fn a_number_is_not_close_to_nan() {
        assert_close(&[1.0, 2.0], &[1.0, f64::NAN], 1.0, "");
    }

    #[test]
    #[should_panic(expected = "NaN at 0 should be 1")]
    fn nan_is_not_close_to_a_number() {
        assert_close(&[f32::NAN], &[1.0], 1.0, "");
    }

    #[test]
    fn numbers_are_spread_over_the_range() {
        let numbers = numbers(10_000, 7, 3.0);
        let mean = numbers.iter().sum::<f32>() / 1e4;
        assert!(numbers.iter().all(|x| x.abs() <= 3.0) && mean.abs() < 0.1, "{mean}");
        assert!(numbers.iter().any(|&x| x > 2.9) && numbers.iter().any(|&x| x < -2.9));
    }
}
