//! The link between the bucket and its clients, and the clocks that make bytes take as long as on
//! that link.
//!
//! A [`Clock`] is a first-in-first-out queue in virtual time. It holds no bytes, only the moment at
//! which its line is free again. A body that wants to send a chunk books it: the chunk starts when
//! the line is free and the chunk is ready, and the body sleeps until the chunk's last byte would
//! have left. Bodies hold one booking each, so those that share a line take turns.
//!
//! Timers fire late, by a millisecond or more. A body that wakes late therefore books its next
//! chunk as ready at the end of the last one, not at the moment it woke: lateness delays bytes but
//! never loses line time, and the rate holds over any longer stretch. How far back a chunk may be
//! ready is bounded by [`LATENESS_MAX`], so that a body held up by a slow reader does not save line
//! time for a burst.
//!
//! All shaping is done here and none by the kernel (`SO_MAX_PACING_RATE`): a paced socket takes
//! megabytes into its send buffer at once, which a line shared with other connections would count
//! as already sent.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use firstlight_timeline::Rate;

/// What lies between the bucket and its clients. The default is the bare loopback.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// The whole link, shared by all connections.
    pub rate: Option<Rate>,
    /// Each connection on its own: 50 to 90 MB/s on S3.
    pub connection_rate: Option<Rate>,
    /// From the last byte of a request to the first of its answer: 17 to 30 ms on S3.
    pub first_byte: Duration,
}

impl Link {
    /// What a single connection gets when it is alone.
    pub(crate) fn alone(&self) -> Rate {
        self.connection_rate.into_iter().chain(self.rate).min().unwrap_or(S3_CONNECTION_RATE)
    }
}

/// A line that carries one chunk after the other.
#[derive(Debug)]
pub(crate) struct Clock {
    rate: Rate,
    free: Mutex<Option<Instant>>,
}

impl Clock {
    pub(crate) fn new(rate: Rate) -> Arc<Self> {
        Arc::new(Self { rate, free: Mutex::new(None) })
    }

    /// Takes the line for `bytes` that are ready at `ready`, and says when the last of them has
    /// left.
    fn book(&self, bytes: usize, ready: Instant) -> Instant {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let start = free.map_or(ready, |free| free.max(ready));
        let end = start + self.rate.time_for(bytes as u64);
        *free = Some(end);
        end
    }
}

/// The lines that one body crosses, in order, and when its last chunk was through.
#[derive(Debug)]
pub(crate) struct Pace {
    clocks: Vec<Arc<Clock>>,
    through: Instant,
}

impl Pace {
    pub(crate) fn new(clocks: Vec<Arc<Clock>>) -> Self {
        Self { clocks, through: Instant::now() }
    }

    /// As much as the slowest line carries in a millisecond, the resolution of the timer, within
    /// what is worth a write and what other bodies on the same line may wait for.
    pub(crate) fn chunk_bytes(&self) -> usize {
        let slowest = self.clocks.iter().map(|clock| clock.rate.bytes_per_s()).min();
        slowest.map_or(UNSHAPED_CHUNK_BYTES, |rate| {
            usize::try_from(rate / 1000)
                .unwrap_or(usize::MAX)
                .clamp(SHAPED_CHUNK_BYTES_MIN, SHAPED_CHUNK_BYTES_MAX)
        })
    }

    /// Waits until `bytes` more have crossed every line.
    ///
    /// A line is booked only once the line before it is through: a booking made ahead of time would
    /// keep the shared line empty for everyone while the chunk crawls over a slow one.
    pub(crate) async fn cross(&mut self, bytes: usize) {
        if self.clocks.is_empty() {
            return;
        }
        let now = Instant::now();
        self.through = self.through.max(now.checked_sub(LATENESS_MAX).unwrap_or(now));
        for clock in &self.clocks {
            self.through = clock.book(bytes, self.through);
            wait_until(self.through).await;
        }
    }
}

/// Sleeps until `moment` if that is still to come. A sleep until now would take the rest of the
/// timer's millisecond.
pub(crate) async fn wait_until(moment: Instant) {
    if moment > Instant::now() {
        sleep_until(moment).await;
    }
}

/// What S3 gives a connection, in the middle of the 50 to 90 MB/s that are seen.
const S3_CONNECTION_RATE: Rate = Rate::from_bytes_per_s(75_000_000);

/// Several turns of a scheduler with busy cores (3 to 4 ms each). At 1 Gbit/s it allows a burst of
/// 2.5 MB after a stall of the reader, less than the socket buffers of a real sender and receiver
/// would hold.
const LATENESS_MAX: Duration = Duration::from_millis(20);

const SHAPED_CHUNK_BYTES_MIN: usize = 16 * 1024;

/// Half a millisecond at 1 Gbit/s.
const SHAPED_CHUNK_BYTES_MAX: usize = 64 * 1024;

/// Two of these fill what hyper buffers of a body (400 KiB): large writes, and still counted as
/// they go.
const UNSHAPED_CHUNK_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn chunks_on_a_line_follow_each_other_without_gaps() {
        let clock = Clock::new(Rate::from_bytes_per_s(1_000_000));
        let start = Instant::now();
        assert_eq!(clock.book(1000, start), start + ms(1));
        assert_eq!(clock.book(2000, start), start + ms(3), "waits for the chunk before it");
        assert_eq!(clock.book(1000, start + ms(2)), start + ms(4), "woke late: no gap");
        assert_eq!(clock.book(1000, start + ms(9)), start + ms(10), "an idle line saves nothing");
    }

    #[tokio::test]
    async fn a_slow_body_does_not_keep_the_shared_line() {
        let line = Clock::new(Rate::from_bytes_per_s(1_000_000_000));
        let slow_line = Clock::new(Rate::from_bytes_per_s(100_000));
        let mut slow = Pace::new(vec![slow_line, Arc::clone(&line)]);
        let crawl = tokio::spawn(async move { slow.cross(100_000).await });
        tokio::task::yield_now().await;
        let now = Instant::now();
        assert!(line.book(1000, now) < now + ms(1), "the crawling chunk has not booked it yet");
        crawl.abort();
    }

    #[test]
    fn chunks_are_small_on_slow_lines_and_large_without_any() {
        let chunk = |rates: &[u64]| {
            let clock = |rate: &u64| Clock::new(Rate::from_bytes_per_s(*rate));
            Pace::new(rates.iter().map(clock).collect()).chunk_bytes()
        };
        assert_eq!(chunk(&[]), 256 * 1024);
        assert_eq!(chunk(&[125_000_000]), 64 * 1024);
        assert_eq!(chunk(&[125_000_000, 30_000_000]), 30_000);
        assert_eq!(chunk(&[1]), 16 * 1024);
    }

    #[test]
    fn a_connection_alone_gets_the_narrowest_part_of_the_link() {
        let rate = |bytes| Some(Rate::from_bytes_per_s(bytes));
        let link = Link { rate: rate(125), connection_rate: rate(100), ..Link::default() };
        assert_eq!(link.alone().bytes_per_s(), 100);
        assert_eq!(Link { rate: rate(60), ..link }.alone().bytes_per_s(), 60);
    }
}
