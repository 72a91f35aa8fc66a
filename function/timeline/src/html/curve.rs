//! The throughput over time: bytes a second in each of a fixed number of bins.

use std::fmt::Write as _;

use crate::FetchReport;
use crate::axis::Axis;

/// Bytes a second in each bin of an axis.
pub(crate) struct Curve([f64; BINS]);

impl Curve {
    /// The throughput of `fetches`, each attempt's bytes spread evenly over its transfer.
    pub(crate) fn of(fetches: &[FetchReport], axis: Axis) -> Self {
        let bin_ms = axis.end_ms / BINS as f64;
        let mut bins = [0.0; BINS];
        for fetch in fetches {
            let Some(first_ms) = fetch.first_byte_ms else { continue };
            // Over at least a bin: what arrives in an instant is no infinite rate.
            let from_ms = first_ms.min(fetch.done_ms - bin_ms).max(0.0);
            let to_ms = fetch.done_ms.max(from_ms + bin_ms);
            let bytes_per_ms = fetch.bytes as f64 / (to_ms - from_ms);
            for (n, bin) in bins.iter_mut().enumerate() {
                let bin_from_ms = n as f64 * bin_ms;
                let overlap_ms = to_ms.min(bin_from_ms + bin_ms) - from_ms.max(bin_from_ms);
                *bin += overlap_ms.max(0.0) * bytes_per_ms * 1e3 / bin_ms;
            }
        }
        Self(bins)
    }

    /// The highest bin.
    pub(crate) fn peak(&self) -> f64 {
        self.0.iter().copied().fold(0.0, f64::max)
    }

    /// The area under the curve as an SVG path, in a box of [`BINS`] by 100 that is `full` high.
    pub(crate) fn outline(&self, full: f64) -> String {
        let mut path = "M0 100".to_owned();
        for (n, bin) in self.0.iter().enumerate() {
            let _ = write!(path, "L{n}.5 {:.1}", 100.0 - bin / full * 100.0);
        }
        let _ = write!(path, "L{BINS} 100Z");
        path
    }
}

/// 4 px each in a usual window.
pub(crate) const BINS: usize = 240;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Outcome;

    #[test]
    fn bytes_are_neither_lost_nor_made_up() {
        let fetch = |first_byte_ms, done_ms| FetchReport {
            object: String::new(),
            start_byte: 0,
            end_byte: 1_000,
            stage: String::new(),
            requested_ms: 0.0,
            first_byte_ms,
            done_ms,
            bytes: 1_000,
            attempt: 1,
            hedge: false,
            outcome: Outcome::Complete,
        };
        let axis = Axis { end_ms: 240.0 };
        let fetches = [fetch(Some(10.5), 20.25), fetch(Some(100.0), 100.0), fetch(None, 7.0)];
        let curve = Curve::of(&fetches, axis);
        let bytes: f64 = curve.0.iter().map(|rate| rate / 1e3).sum();
        assert!((bytes - 2_000.0).abs() < 1e-6, "{bytes}");
        assert!(curve.peak().is_finite());
    }
}
