//! The pauses between the attempts at one range, and their end.
//!
//! A pause doubles with each attempt that brings nothing; a byte of progress starts the count anew.
//! Too many attempts in a row, or too many altogether, and the last failure is the range's.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use firstlight_timeline::{Counter, Timeline};
use tokio::time::sleep;

use crate::{Error, Limits};

/// The first pause after a broken attempt; it doubles with each.
const PAUSE: Duration = Duration::from_millis(40);
/// The same where the server asked for fewer requests, which it does for seconds.
const PAUSE_WHEN_THROTTLED: Duration = Duration::from_millis(400);
/// Attempts at one range altogether, as a multiple of [`Limits::attempts`]: a server that gives one
/// byte each time is not asked forever.
const ATTEMPTS_WITH_PROGRESS: u32 = 16;

/// How long to wait after each failed attempt, and when to give up.
pub(crate) struct Pauses {
    /// The number of the attempt that is due.
    pub(crate) attempt: u32,
    in_a_row: u32,
    allowed: u32,
}

impl Pauses {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { attempt: 1, in_a_row: 0, allowed: limits.attempts.max(1) }
    }

    /// Waits until the next attempt is due, now that one has failed; fails itself where there is to
    /// be none.
    pub(crate) async fn wait(
        &mut self,
        error: Error,
        progress: bool,
        timeline: &Timeline,
    ) -> Result<(), Error> {
        if matches!(error, Error::Stalled { .. }) {
            timeline.count(Counter::Stalls, 1);
        }
        tracing::debug!(%error, "attempt failed");
        let pause = self.after(error, progress)?;
        timeline.count(Counter::Retries, 1);
        sleep(pause).await;
        Ok(())
    }

    /// Full jitter: anything up to the pause that is due, so that ranges that broke together do not
    /// return together.
    fn after(&mut self, error: Error, progress: bool) -> Result<Duration, Error> {
        if !error.is_transient() {
            return Err(error);
        }
        self.in_a_row = if progress { 1 } else { self.in_a_row + 1 };
        if self.in_a_row >= self.allowed || self.attempt >= self.allowed * ATTEMPTS_WITH_PROGRESS {
            return Err(Error::GaveUp { attempts: self.attempt, last: Box::new(error) });
        }
        self.attempt += 1;
        let first = if error.is_throttling() { PAUSE_WHEN_THROTTLED } else { PAUSE };
        let due = first * 2_u32.pow((self.in_a_row - 1).min(6));
        Ok(due.mul_f64(random_share()))
    }
}

/// Anything in 0..1; its only use is to be different each time.
fn random_share() -> f64 {
    let random = RandomState::new().hash_one(0_u8);
    random as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken() -> Error {
        Error::Connection { object: "x".into(), reason: "reset".into() }
    }

    #[test]
    fn attempts_without_progress_are_counted_and_progress_starts_the_count_anew() {
        let mut pauses = Pauses::new(&Limits { attempts: 3, ..Limits::default() });
        assert!(pauses.after(broken(), false).is_ok());
        assert!(pauses.after(broken(), false).is_ok());
        assert!(pauses.after(broken(), true).is_ok());
        assert!(pauses.after(broken(), false).is_ok());
        let gave_up = pauses.after(broken(), false).unwrap_err();
        assert!(matches!(gave_up, Error::GaveUp { attempts: 5, .. }), "{gave_up}");
    }

    #[test]
    fn what_cannot_get_better_is_not_tried_again() {
        let gone = Error::NotFound { object: "x".into(), hint: None };
        let mut pauses = Pauses::new(&Limits::default());
        assert!(matches!(pauses.after(gone, true), Err(Error::NotFound { .. })));
    }

    #[test]
    fn endless_progress_ends() {
        let mut pauses = Pauses::new(&Limits { attempts: 2, ..Limits::default() });
        let tries = (0..1000).take_while(|_| pauses.after(broken(), true).is_ok()).count();
        assert_eq!(tries, 31);
    }
}
