//! What two sets of times tell of each other: percentiles, and a verdict that knows noise.
//!
//! The times of a cold start are skewed, and few. So nothing here assumes a distribution: two sets are compared by all
//! ratios of one time of each (Hodges and Lehmann, "Estimates of location based on rank tests", 1963). The middle one
//! is the estimate, and the ranks that the Mann-Whitney test would just reject bound the interval: were both sets drawn
//! from one distribution, 19 of 20 intervals would contain 1.
//!
//! An interval knows the noise within the sets. It knows nothing of a machine that drifts between them: runs of both
//! have to take turns.

use std::fmt;

/// The nearest-rank percentile of `sorted`, which is not empty: of 30 values, the 99th is the largest.
pub(crate) fn percentile(sorted: &[f64], percent: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank within a slice"
    )]
    let rank = (sorted.len() as f64 * percent / 100.0).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// The middle of `sorted`, which is not empty: between the two middle ones of an even number.
pub(crate) fn median(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { f64::midpoint(sorted[half - 1], sorted[half]) }
}

/// `values` in ascending order; what is no number is left out.
pub(crate) fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<_> = values.into_iter().filter(|value| !value.is_nan()).collect();
    values.sort_by(f64::total_cmp);
    values
}

/// How many times as long the second set takes as the first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ratio {
    pub(crate) estimate: f64,
    /// Where it lies with 95 % confidence.
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Ratio {
    /// `None` where there are fewer than [`FEWEST`] of one, or one is not positive.
    pub(crate) fn of(first: &[f64], second: &[f64]) -> Option<Self> {
        let positive = |times: &[f64]| times.iter().all(|time| *time > 0.0 && time.is_finite());
        if first.len().min(second.len()) < FEWEST || !positive(first) || !positive(second) {
            return None;
        }
        let ratios = first.iter().flat_map(|a| second.iter().map(move |b| b / a));
        let ratios = sorted(ratios);
        let outside = outside(first.len() as f64, second.len() as f64);
        Some(Self {
            estimate: median(&ratios),
            low: ratios[outside],
            high: ratios[ratios.len() - 1 - outside],
        })
    }

    pub(crate) fn verdict(self) -> Verdict {
        match self {
            Self { high, .. } if high < 1.0 => Verdict::Faster(self),
            Self { low, .. } if low > 1.0 => Verdict::Slower(self),
            _ => Verdict::NoDifference(self),
        }
    }
}

/// How many ratios lie outside of the interval on each side: the normal approximation of the Mann-Whitney statistic,
/// which from four of each on is within one rank of the exact distribution.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`max` bounds it")]
fn outside(first: f64, second: f64) -> usize {
    let deviation = (first * second * (first + second + 1.0) / 12.0).sqrt();
    (first * second / 2.0 - QUANTILE_975 * deviation - 0.5).floor().max(0.0) as usize
}

/// What can be said of the second set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Verdict {
    Faster(Ratio),
    Slower(Ratio),
    NoDifference(Ratio),
}

/// `faster by 3.1–7.0 %`, `slower by …`, `no difference shown (±2.0 %)`.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: f64| share * 100.0;
        match self {
            Self::Faster(Ratio { low, high, .. }) => {
                write!(f, "faster by {:.1}–{:.1} %", percent(1.0 - high), percent(1.0 - low))
            }
            Self::Slower(Ratio { low, high, .. }) => {
                write!(f, "slower by {:.1}–{:.1} %", percent(low - 1.0), percent(high - 1.0))
            }
            Self::NoDifference(Ratio { low, high, .. }) => {
                write!(f, "no difference shown (±{:.1} %)", percent((1.0 - low).max(high - 1.0)))
            }
        }
    }
}

/// With three of each, not even a complete order of all is as rare as 1 in 20.
pub(crate) const FEWEST: usize = 4;

/// Of the standard normal distribution.
const QUANTILE_975: f64 = 1.96;
