//! How long a range was held back by this side, for the bandwidth cap.
//!
//! What was received is waited with until the cap allows it, and meanwhile no byte can come. Whoever judges the server by
//! the time it takes leaves that time out: it says nothing about the server.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

/// The time in which any of a range's attempts was held back.
#[derive(Default)]
pub(crate) struct Held {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Of the times that are over.
    total: Duration,
    /// Attempts that are held back now,
    holds: u32,
    /// and since when any is.
    since: Option<Instant>,
}

/// An attempt that is held back, until this is dropped: the attempt may be dropped with it.
pub(crate) struct Hold<'a> {
    held: &'a Held,
    since: Instant,
}

impl Held {
    /// Holds an attempt back from now on.
    pub(crate) fn hold(&self) -> Hold<'_> {
        let since = Instant::now();
        self.lock().begin(since);
        Hold { held: self, since }
    }

    /// Altogether, until now.
    pub(crate) fn total(&self) -> Duration {
        self.lock().total(Instant::now())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }
}

impl Hold<'_> {
    /// Ends it, and says how long it took.
    pub(crate) fn end(self) -> Duration {
        self.since.elapsed()
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.held.lock().end(Instant::now());
    }
}

impl State {
    fn begin(&mut self, now: Instant) {
        self.since.get_or_insert(now);
        self.holds += 1;
    }

    fn end(&mut self, now: Instant) {
        self.holds -= 1;
        if self.holds == 0 {
            self.total = self.total(now);
            self.since = None;
        }
    }

    fn total(&self, now: Instant) -> Duration {
        self.total + self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_counts_once_however_many_are_held_back_in_it() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut state = State::default();
        let total_ms = |state: &State, now| state.total(at(now)).as_millis();
        assert_eq!(total_ms(&state, 5), 0);
        state.begin(at(10));
        assert_eq!(total_ms(&state, 15), 5, "it is not over");
        state.begin(at(20));
        state.end(at(30));
        assert_eq!(total_ms(&state, 35), 25, "the other is");
        state.end(at(40));
        assert_eq!(total_ms(&state, 90), 30);
        state.begin(at(100));
        state.end(at(107));
        assert_eq!(total_ms(&state, 200), 37);
    }
}
