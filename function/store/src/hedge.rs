//! When a second attempt pays. The last range to arrive ends the load, so the load's end is drawn from the tail of all
//! ranges: a range that takes longer than nearly all before it is asked for once more, on another connection
//! (Dean and Barroso, "The Tail at Scale", 2013).
//!
//! A range's patience is `quantile(first byte) + quantile(seconds a byte) * bytes`, stretched; the number of hedges is
//! bounded by a share of the requests, so that a slow link, on which *every* range is slow, is not loaded further.

use std::sync::Mutex;
use std::time::Duration;

/// Fewer finished ranges than this say nothing about a tail.
const SAMPLES_MIN: usize = 16;
/// Finished ranges that are remembered: enough for a quantile, few enough to follow a link that changes.
const SAMPLES_MAX: usize = 128;
const QUANTILE: f64 = 0.95;
/// A range must be this much slower than the quantile: ranges share the link, and their times spread around it.
const STRETCH: f64 = 1.5;
/// Below this a new request cannot be back before the old one.
const PATIENCE_MIN: Duration = Duration::from_millis(50);

pub(crate) struct Hedging {
    share: f64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    first_byte_s: Window,
    s_per_byte: Window,
    requests: u64,
    hedges: u64,
}

impl Hedging {
    pub(crate) fn new(share: f64) -> Self {
        Self { share, state: Mutex::default() }
    }

    /// A range of weights is about to be asked for.
    pub(crate) fn request(&self) {
        self.lock().requests += 1;
    }

    /// A range of `bytes` came in `total`, its first byte after `first_byte`.
    pub(crate) fn finished(&self, bytes: u64, first_byte: Duration, total: Duration) {
        let mut state = self.lock();
        state.first_byte_s.push(first_byte.as_secs_f64());
        let body = total.saturating_sub(first_byte).as_secs_f64();
        state.s_per_byte.push(body / bytes.max(1) as f64);
    }

    /// How long to wait for a range of `bytes` before a second attempt; `None` while too little is known.
    pub(crate) fn patience(&self, bytes: u64) -> Option<Duration> {
        let state = self.lock();
        let first_byte = state.first_byte_s.quantile()?;
        let body = state.s_per_byte.quantile()? * bytes as f64;
        Some(Duration::from_secs_f64((first_byte + body) * STRETCH).max(PATIENCE_MIN))
    }

    /// Takes one hedge out of the budget, if there is one left.
    pub(crate) fn spend(&self) -> bool {
        let mut state = self.lock();
        let allowed = (state.requests as f64 * self.share).ceil();
        let granted = self.share > 0.0 && (state.hedges as f64) < allowed;
        state.hedges += u64::from(granted);
        granted
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }
}

/// The last samples, in a ring.
#[derive(Default)]
struct Window {
    samples: Vec<f64>,
    next: usize,
}

impl Window {
    fn push(&mut self, sample: f64) {
        if self.samples.len() < SAMPLES_MAX {
            self.samples.push(sample);
        } else {
            self.samples[self.next] = sample;
            self.next = (self.next + 1) % SAMPLES_MAX;
        }
    }

    fn quantile(&self) -> Option<f64> {
        if self.samples.len() < SAMPLES_MIN {
            return None;
        }
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in 0..len")]
        let index = ((sorted.len() - 1) as f64 * QUANTILE).round() as usize;
        Some(sorted[index])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn nothing_is_hedged_before_enough_is_known() {
        let hedging = Hedging::new(0.03);
        for _ in 1..SAMPLES_MIN {
            hedging.finished(1000, 30 * MS, 100 * MS);
        }
        assert_eq!(hedging.patience(1000), None);
        hedging.finished(1000, 30 * MS, 100 * MS);
        assert_eq!(hedging.patience(1000), Some(150 * MS));
        assert_eq!(hedging.patience(10), Some(PATIENCE_MIN));
    }

    #[test]
    fn the_budget_is_a_share_of_the_requests() {
        let hedging = Hedging::new(0.02);
        assert!(!hedging.spend(), "no request, no hedge");
        (0..100).for_each(|_| hedging.request());
        assert_eq!((0..10).filter(|_| hedging.spend()).count(), 2);
        assert!(!Hedging::new(0.0).spend());
    }

    #[test]
    fn the_window_forgets_the_oldest() {
        let mut window = Window::default();
        (0..SAMPLES_MAX).for_each(|_| window.push(9.0));
        (0..SAMPLES_MAX).for_each(|_| window.push(1.0));
        assert_eq!(window.quantile(), Some(1.0));
    }
}
