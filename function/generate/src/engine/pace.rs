//! How soon somebody who waits may begin, going by how long answers took.

/// The time between two answers that end, smoothed.
#[derive(Debug, Default)]
pub(super) struct Pace {
    between_s: Option<f64>,
}

impl Pace {
    /// An answer ended that took so long beside as many others.
    pub(super) fn ended(&mut self, took_s: f64, at_once: usize) {
        let between_s = took_s / at_once.max(1) as f64;
        let smoothed = |before: f64| before + WEIGHT * (between_s - before);
        self.between_s = Some(self.between_s.map_or(between_s, smoothed));
    }

    /// When to come back, in whole seconds.
    pub(super) fn retry_after_s(&self) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let seconds = self.between_s.unwrap_or(0.0).ceil().clamp(1.0, LONGEST_S) as u64;
        seconds
    }
}

/// Of the latest answer: ten of them and the pace is a new one.
const WEIGHT: f64 = 0.2;

/// However slow it looks, the load may change within a minute.
const LONGEST_S: f64 = 60.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_the_latest_answers_within_its_bounds() {
        let mut pace = Pace::default();
        assert_eq!(pace.retry_after_s(), 1);
        pace.ended(40.0, 8);
        assert_eq!(pace.retry_after_s(), 5);
        for _ in 0..30 {
            pace.ended(30.0, 2);
        }
        assert_eq!(pace.retry_after_s(), 15);
        pace.ended(9e9, 1);
        assert_eq!(pace.retry_after_s(), 60);
    }
}
