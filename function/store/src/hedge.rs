//! When a second attempt pays. The last range to arrive ends the load, so the load's end is drawn
//! from the tail of all ranges: an attempt that is far behind its peers is made once more, on
//! another connection (Dean and Barroso, "The Tail at Scale", 2013).
//!
//! Each attempt is watched while it runs. Before its first byte it is late when it has waited for
//! several times as long as others did; after that, when what is left would come much sooner from a
//! new request that gets the rate which its peers have right now. So a connection that crawls is
//! found out after a fraction of a second, not when it has taken longer than a whole range takes,
//! and a link on which *every* range is slow is not loaded further. The number of hedges is bounded
//! by a share of the requests.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// Fewer peers than this say nothing about what is usual.
const PEERS_MIN: usize = 4;
/// Finished attempts that are remembered: enough for a median, few enough to follow a link that
/// changes.
const FINISHED_MAX: usize = 32;
/// A first byte is late at so many medians: S3's 99th percentile is about four times its median.
const FIRST_BYTE_STRETCH: f64 = 3.0;
/// A body is late when it needs so many times as long as a new request would: connections that
/// share a link differ by a factor of two for a while.
const BODY_STRETCH: f64 = 3.0;
/// A new request cannot be back before this, and timers and threads are late by some of it.
const PATIENCE_MIN: Duration = Duration::from_millis(50);
/// A body is watched for so long before it is judged: two or three of S3's first bytes.
const OBSERVED_MIN: Duration = Duration::from_millis(100);

/// What a share of few requests comes to at least: in forty requests of which 1 % are slow, one start in a hundred has
/// three.
const HEDGES_MIN: f64 = 4.0;

pub(crate) struct Hedging {
    share: f64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Of finished attempts.
    first_bytes_s: Window,
    /// Of finished attempts.
    bytes_per_s: Window,
    /// Of those that are running, by their number.
    running_bytes_per_s: BTreeMap<u64, f64>,
    /// Numbers given so far.
    watched: u64,
    requests: u64,
    hedges: u64,
}

impl Hedging {
    pub(crate) fn new(share: f64) -> Self {
        Self { share, state: Mutex::default() }
    }

    /// A request is about to be made.
    pub(crate) fn request(&self) {
        self.lock().requests += 1;
    }

    /// A request was answered, its first byte came `after` it was made.
    pub(crate) fn first_byte(&self, after: Duration) {
        self.lock().first_bytes_s.push(after.as_secs_f64());
    }

    /// A range of weights came whole: `bytes` in `body`, the time since its first byte.
    pub(crate) fn finished(&self, bytes: u64, body: Duration) {
        if !body.is_zero() {
            self.lock().bytes_per_s.push(bytes as f64 / body.as_secs_f64());
        }
    }

    /// Watches a range of weights that is about to be asked for: `bytes` of it.
    pub(crate) fn watch(&self, bytes: u64) -> Watch<'_> {
        let mut state = self.lock();
        state.watched += 1;
        Watch {
            hedging: self,
            number: state.watched,
            bytes,
            begun: None,
            moved: (Duration::ZERO, 0),
        }
    }

    /// Whether a request without a byte after `waited` is late.
    pub(crate) fn is_overdue(&self, waited: Duration) -> bool {
        let Some(usual_s) = median(self.lock().first_bytes_s.samples.clone()) else { return false };
        waited > Duration::from_secs_f64(usual_s * FIRST_BYTE_STRETCH).max(PATIENCE_MIN)
    }

    /// Takes one hedge out of the budget, if there is one left.
    pub(crate) fn spend(&self) -> bool {
        let mut state = self.lock();
        let allowed = (state.requests as f64 * self.share).ceil().max(HEDGES_MIN);
        let granted = self.share > 0.0 && (state.hedges as f64) < allowed;
        state.hedges += u64::from(granted);
        granted
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }
}

/// One attempt that is running.
pub(crate) struct Watch<'a> {
    hedging: &'a Hedging,
    number: u64,
    bytes: u64,
    /// When the first bytes were seen, and how many: the rate is that of those behind them.
    begun: Option<(Duration, u64)>,
    /// When there were more bytes than before, and how many.
    moved: (Duration, u64),
}

impl Watch<'_> {
    /// Whether a second attempt would be done well before this one, of which `received` bytes have
    /// come `waited` after it was made.
    pub(crate) fn is_late(&mut self, waited: Duration, received: u64) -> bool {
        if received == 0 {
            return self.hedging.is_overdue(waited);
        }
        if received > self.moved.1 {
            self.moved = (waited, received);
        }
        let (since, before) = *self.begun.get_or_insert((waited, received));
        let observed = waited.saturating_sub(since);
        if observed < OBSERVED_MIN {
            return false;
        }
        let own = (received - before) as f64 / observed.as_secs_f64();
        let left = self.bytes.saturating_sub(received) as f64;
        match self.new_request_s(own, left) {
            Some(new_s) => left / own > new_s * BODY_STRETCH + PATIENCE_MIN.as_secs_f64(),
            // What comes before the ranges has no peers: it is late when it is silent.
            None => self.hedging.is_overdue(waited.saturating_sub(self.moved.0)),
        }
    }

    /// Tells the others of the own rate; how long a new request for `bytes` takes, if they tell.
    fn new_request_s(&self, own: f64, bytes: f64) -> Option<f64> {
        let mut state = self.hedging.lock();
        state.running_bytes_per_s.insert(self.number, own);
        state.new_request_s(self.number, bytes)
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.hedging.lock().running_bytes_per_s.remove(&self.number);
    }
}

impl State {
    /// How long a new request for `bytes` takes, if it fares as the attempts beside number `own`.
    fn new_request_s(&self, own: u64, bytes: f64) -> Option<f64> {
        let running = self.running_bytes_per_s.iter().filter(|(number, _)| **number != own);
        let mut peers: Vec<f64> = running.map(|(_, rate)| *rate).collect();
        if peers.len() < PEERS_MIN {
            peers.extend(&self.bytes_per_s.samples);
        }
        Some(median(self.first_bytes_s.samples.clone())? + bytes / median(peers)?)
    }
}

fn median(mut samples: Vec<f64>) -> Option<f64> {
    if samples.len() < PEERS_MIN {
        return None;
    }
    let middle = samples.len() / 2;
    let (_, median, _) = samples.select_nth_unstable_by(middle, f64::total_cmp);
    Some(*median)
}

/// The last samples, in a ring.
#[derive(Default)]
struct Window {
    samples: Vec<f64>,
    next: usize,
}

impl Window {
    fn push(&mut self, sample: f64) {
        if self.samples.len() < FINISHED_MAX {
            self.samples.push(sample);
        } else {
            self.samples[self.next] = sample;
            self.next = (self.next + 1) % FINISHED_MAX;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const MB: u64 = 1_000_000;

    /// Four peers: 30 ms to the first byte, then 10 MB/s.
    fn with_peers() -> Hedging {
        let hedging = Hedging::new(0.03);
        for _ in 0..PEERS_MIN {
            hedging.first_byte(30 * MS);
            hedging.finished(MB, 100 * MS);
        }
        hedging
    }

    #[test]
    fn nothing_is_late_before_enough_is_known() {
        let hedging = Hedging::new(0.03);
        let mut watch = hedging.watch(8 * MB);
        assert!(!watch.is_late(10_000 * MS, 0));
        assert!(!watch.is_late(10_000 * MS, 1));
        assert!(!watch.is_late(20_000 * MS, 2));
    }

    #[test]
    fn a_first_byte_is_late_at_three_medians() {
        let hedging = with_peers();
        let mut watch = hedging.watch(8 * MB);
        assert!(!watch.is_late(90 * MS, 0));
        assert!(watch.is_late(91 * MS, 0));
        (0..FINISHED_MAX).for_each(|_| hedging.first_byte(MS));
        assert!(!watch.is_late(50 * MS, 0), "no request is back before that");
    }

    #[test]
    fn a_body_is_late_when_a_new_request_would_be_done_long_before() {
        let hedging = with_peers();
        let mut crawls = hedging.watch(8 * MB);
        assert!(!crawls.is_late(40 * MS, 1000), "seen first");
        assert!(!crawls.is_late(130 * MS, 1000), "not watched for long enough");
        assert!(crawls.is_late(141 * MS, 50_000), "half a megabyte a second");
        let mut shares = hedging.watch(8 * MB);
        assert!(!shares.is_late(40 * MS, 0));
        assert!(!shares.is_late(41 * MS, 1));
        assert!(!shares.is_late(1041 * MS, 4 * MB), "less than half of the usual rate is usual");
        let mut ends = hedging.watch(8 * MB);
        assert!(!ends.is_late(40 * MS, 7_950_000));
        assert!(!ends.is_late(240 * MS, 7_990_000), "slow, and over before a new request is");
    }

    #[test]
    fn a_body_without_peers_is_late_when_it_is_silent() {
        let hedging = Hedging::new(0.03);
        (0..PEERS_MIN).for_each(|_| hedging.first_byte(30 * MS));
        let mut watch = hedging.watch(MB);
        assert!(!watch.is_late(40 * MS, 1));
        assert!(!watch.is_late(1000 * MS, 2), "slow, and moving");
        assert!(!watch.is_late(1090 * MS, 2));
        assert!(watch.is_late(1091 * MS, 2));
        assert!(!watch.is_late(1100 * MS, 3), "it moves again");
    }

    #[test]
    fn peers_that_run_count_before_those_that_are_done() {
        let hedging = with_peers();
        let mut all: Vec<_> = (0..=PEERS_MIN).map(|_| hedging.watch(8 * MB)).collect();
        for watch in &mut all {
            assert!(!watch.is_late(30 * MS, 1));
        }
        // The link has become slower for everybody: 200 kB/s each.
        let late = all.iter_mut().map(|watch| watch.is_late(1030 * MS, 200_001));
        assert_eq!(late.filter(|late| *late).count(), PEERS_MIN, "until the peers are known");
        assert!(!all.iter_mut().any(|watch| watch.is_late(2030 * MS, 400_001)));
        all.truncate(1);
        assert!(all[0].is_late(3030 * MS, 600_001), "those that are gone do not count");
    }

    #[test]
    fn the_budget_is_a_share_of_the_requests() {
        let hedging = Hedging::new(0.02);
        assert_eq!((0..10).filter(|_| hedging.spend()).count(), 4, "a few are always there");
        (0..300).for_each(|_| hedging.request());
        assert_eq!((0..10).filter(|_| hedging.spend()).count(), 2, "6 of 300");
        assert!(!Hedging::new(0.0).spend());
    }

    #[test]
    fn the_window_forgets_the_oldest() {
        let mut window = Window::default();
        (0..FINISHED_MAX).for_each(|_| window.push(9.0));
        (0..FINISHED_MAX).for_each(|_| window.push(1.0));
        assert_eq!(median(window.samples), Some(1.0));
    }
}
