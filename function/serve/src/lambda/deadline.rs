//! Until when an invocation may take: a moment before the platform ends it.

use std::time::{Duration, SystemTime};

use lambda_runtime::Context;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use super::Error;

/// The end of an invocation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    /// That of the invocation, which the platform tells in milliseconds since 1970. What had passed
    /// before the event came is none: `cargo lambda` says how long instead of until when.
    pub(crate) fn of(invocation: &Context) -> Self {
        let left = invocation.deadline().duration_since(SystemTime::now());
        Self::within(left.map_or(FAR, |left| left.saturating_sub(MARGIN)))
    }

    pub(crate) fn within(time: Duration) -> Self {
        let now = Instant::now();
        // A platform without an end of time names one that no clock knows.
        Self(now.checked_add(time.min(FAR)).unwrap_or(now))
    }

    /// `work`, given up where it takes longer.
    pub(crate) async fn bound<T>(self, work: impl Future<Output = T>) -> Result<T, Error> {
        timeout_at(self.0, work).await.map_err(|_| Error::Late)
    }

    pub(crate) fn sleep(self) -> Sleep {
        sleep_until(self.0)
    }
}

/// For the answer to leave: 6 MiB over the runtime API's loopback take some ten milliseconds on the
/// smallest function, which has an eighth of a processor.
const MARGIN: Duration = Duration::from_millis(250);

/// A day: the platform gives 15 minutes, local ones more.
const FAR: Duration = Duration::from_hours(24);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_given_up_at_the_end_and_not_before() {
        let late = Deadline::within(Duration::ZERO).bound(std::future::pending::<()>()).await;
        assert!(matches!(late, Err(Error::Late)));
        let done = Deadline::within(Duration::MAX).bound(async { 7 }).await;
        assert_eq!(done.unwrap(), 7);
    }

    #[tokio::test]
    async fn the_platforms_end_has_a_margin() {
        let mut invocation = Context::default();
        let in_ms = SystemTime::now() + Duration::from_mins(1);
        let in_ms = in_ms.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
        invocation.deadline = u64::try_from(in_ms).unwrap();
        let left = Deadline::of(&invocation).0.duration_since(Instant::now());
        assert!(left + MARGIN <= Duration::from_mins(1) && left > Duration::from_secs(50));
        invocation.deadline = 600_000;
        assert!(Deadline::of(&invocation).0 > Instant::now() + FAR / 2, "it is none");
    }
}
