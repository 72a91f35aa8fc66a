//! A second attempt beside the first, once the first is late and the budget allows (see `hedge`):
//! the faster one wins, and the other is dropped, its request with it.

use std::time::Duration;

use firstlight_timeline::Counter;
use tokio::time::{Instant, sleep};

use crate::attempt::{Landing, Wire};
use crate::{Error, Sink};

/// How often what is in flight is looked at: a fraction of S3's first byte; sixteen ranges are 640
/// looks a second.
const LOOK_AGAIN: Duration = Duration::from_millis(25);

impl Wire {
    /// Runs `attempt(false)` and, from when a future of `late` returns, the hedge `attempt(true)` beside it. One that
    /// breaks leaves the race to its twin, which is judged anew: it may be what stalls. Where an attempt fails for good,
    /// so would the other.
    pub(crate) async fn race<T, A, L>(
        &self,
        attempt: impl Fn(bool) -> A,
        late: impl Fn() -> L,
    ) -> Result<T, Error>
    where
        A: Future<Output = Result<T, Error>>,
        L: Future<Output = ()>,
    {
        self.hedging.request();
        let (mut running, mut is_hedge) = (Box::pin(attempt(false)), false);
        loop {
            tokio::select! {
                biased;
                done = &mut running => return done.inspect(|_| self.won(is_hedge)),
                () = late() => {}
            }
            self.timeline.count(Counter::Hedges, 1);
            let mut hedge = Box::pin(attempt(true));
            tokio::select! {
                biased;
                done = &mut running => match done {
                    Err(error) if error.is_transient() => (running, is_hedge) = (hedge, true),
                    done => return done.inspect(|_| self.won(is_hedge)),
                },
                done = &mut hedge => match done {
                    Err(error) if error.is_transient() => {}
                    done => return done.inspect(|_| self.won(true)),
                },
            }
        }
    }

    fn won(&self, is_hedge: bool) {
        self.timeline.count(Counter::HedgesWon, u64::from(is_hedge));
    }

    /// Returns when a second attempt at what is missing is due and paid for: never, where that does
    /// not happen. Time in which this side held the first one back does not count.
    pub(crate) async fn until_late<S: Sink>(&self, landing: &Landing<S>) {
        let (before, held) = (landing.reached(), landing.held.total());
        let mut watch = self.hedging.watch(landing.range.end - before);
        self.until(|waited| {
            let for_server = waited.saturating_sub(landing.held.total().saturating_sub(held));
            watch.is_late(for_server, landing.reached() - before)
        })
        .await;
    }

    /// The same for a request of which nothing but its first byte is awaited.
    pub(crate) async fn until_overdue(&self) {
        self.until(|waited| self.hedging.is_overdue(waited)).await;
    }

    /// Returns when `is_late`, which is told the time waited, says so and a hedge is paid for.
    async fn until(&self, mut is_late: impl FnMut(Duration) -> bool) {
        let started = Instant::now();
        loop {
            sleep(LOOK_AGAIN).await;
            if is_late(started.elapsed()) && self.hedging.spend() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::pending;
    use std::path::Path;
    use std::sync::Arc;

    use firstlight_timeline::Timeline;
    use tokio::task::yield_now;

    use super::*;
    use crate::Limits;
    use crate::folder::Folder;

    /// After how many turns an attempt ends, and how; it answers whether it is the hedge.
    type Attempt = (usize, fn(bool) -> Result<bool, Error>);

    fn breaks(_: bool) -> Result<bool, Error> {
        Err(Error::Connection { object: "x".into(), reason: "reset".into() })
    }

    fn fails(_: bool) -> Result<bool, Error> {
        Err(Error::NotFound { object: "x".into(), hint: None })
    }

    async fn run((turns, end): Attempt, is_hedge: bool) -> Result<bool, Error> {
        for _ in 0..turns {
            yield_now().await;
        }
        end(is_hedge)
    }

    /// What comes of a race whose attempts are late at once while there are hedges left, and how many hedges won it.
    async fn race(first: Attempt, hedges: &[Attempt]) -> (Option<bool>, u64) {
        let timeline = Timeline::start(None);
        let store = Arc::new(Folder::new(Path::new(".")).unwrap());
        let wire = Wire::new(store, &Limits::default(), timeline.clone());
        let left = Cell::new(hedges);
        let attempt = |is_hedge| {
            let next = if is_hedge { left.get()[0] } else { first };
            left.set(&left.get()[usize::from(is_hedge)..]);
            run(next, is_hedge)
        };
        let late = || async {
            if left.get().is_empty() {
                pending::<()>().await;
            }
        };
        let done = wire.race(attempt, late).await;
        (done.ok(), timeline.counted(Counter::HedgesWon))
    }

    #[tokio::test]
    async fn the_first_answer_wins() {
        assert_eq!(race((3, Ok), &[(9, Ok)]).await, (Some(false), 0));
        assert_eq!(race((9, Ok), &[(3, Ok)]).await, (Some(true), 1));
    }

    #[tokio::test]
    async fn what_breaks_leaves_the_race_to_its_twin() {
        assert_eq!(race((3, breaks), &[(9, Ok)]).await, (Some(true), 1));
        assert_eq!(race((9, Ok), &[(3, breaks)]).await, (Some(false), 0));
        assert_eq!(race((3, breaks), &[(9, breaks)]).await, (None, 0));
        assert_eq!(race((9, breaks), &[(3, breaks)]).await, (None, 0));
    }

    #[tokio::test]
    async fn what_stalls_beside_a_broken_hedge_is_hedged_again() {
        let stalls: Attempt = (usize::MAX, Ok);
        assert_eq!(race(stalls, &[(3, breaks), (3, Ok)]).await, (Some(true), 1));
        assert_eq!(race((3, breaks), &[stalls, (3, Ok)]).await, (Some(true), 1));
    }

    #[tokio::test]
    async fn an_attempt_that_fails_for_good_ends_the_race() {
        assert_eq!(race((3, fails), &[(9, Ok)]).await, (None, 0));
        assert_eq!(race((9, Ok), &[(3, fails)]).await, (None, 0));
    }
}
