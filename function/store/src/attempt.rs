//! One attempt at one range, and what the attempts at a range share.
//!
//! All attempts at a range, one after another or two at once, receive through one [`Landing`], straight into the memory
//! of the bytes that are missing: it takes each byte once, in order, whoever has it first, so that a retry goes on from
//! the byte that was reached. Twins take turns at the memory, a receive each (none of them waits within its turn); the
//! hedge that is behind receives what is there already into scrap until it has caught up, and the attempt that it
//! overtakes gives up.

use std::future::poll_fn;
use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use firstlight_timeline::Timeline;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use crate::hedge::Hedging;
use crate::held::Held;
use crate::log::{Label, Log};
use crate::settings::CONNECT;
use crate::throttle::Throttle;
use crate::{Body, Error, Limits, Object, Sink, Store};

/// The memory that a range lands in, and how far it is filled.
pub(crate) struct Landing<S> {
    pub(crate) object: Object,
    pub(crate) range: Range<u64>,
    /// How long this side held it back.
    pub(crate) held: Held,
    state: Mutex<State<S>>,
}

struct State<S> {
    reached: u64,
    sink: S,
}

impl<S: Sink> Landing<S> {
    pub(crate) fn new(object: Object, range: Range<u64>, sink: S) -> Self {
        let state = Mutex::new(State { reached: range.start, sink });
        Self { object, range, held: Held::default(), state }
    }

    /// The first byte that is still missing.
    pub(crate) fn reached(&self) -> u64 {
        self.lock().reached
    }

    /// What is left to ask for. Nothing, and no request can be made, where all of it has landed.
    fn missing(&self) -> Option<Range<u64>> {
        let missing = self.reached()..self.range.end;
        (!missing.is_empty()).then_some(missing)
    }

    pub(crate) fn into_sink(self) -> S {
        self.state.into_inner().expect("no holder panics").sink
    }

    /// Receives what is there of `body`, whose next byte is that at `at`, where it is missing; what a twin has brought
    /// before is received into `scrap`.
    fn poll_receive(
        &self,
        body: &mut dyn Body,
        at: u64,
        scrap: &mut Vec<u8>,
        context: &mut Context<'_>,
    ) -> Poll<Result<Received, Error>> {
        let mut state = self.lock();
        let State { reached, sink } = &mut *state;
        if at < *reached {
            scrap.resize(SCRAP_BYTES, 0);
            let twice = &mut scrap[..in_memory(*reached - at, SCRAP_BYTES)];
            drop(state);
            let bytes = ready!(body.poll_receive(context, twice))? as u64;
            return Poll::Ready(Ok(Received { bytes, fresh: 0 }));
        }
        let missing = *reached..self.range.end;
        let length = in_memory(missing.end - missing.start, LANDING_BYTES);
        let memory = sink.memory(missing);
        let length = length.min(memory.len());
        let bytes = ready!(body.poll_receive(context, &mut memory[..length]))? as u64;
        *reached += bytes;
        Poll::Ready(Ok(Received { bytes, fresh: bytes }))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State<S>> {
        self.state.lock().expect("a sink does not panic: its bounds are the range's")
    }
}

/// How many bytes were received, and how many of them were missing.
struct Received {
    bytes: u64,
    fresh: u64,
}

fn in_memory(bytes: u64, limit: usize) -> usize {
    usize::try_from(bytes).map_or(limit, |bytes| bytes.min(limit))
}

/// What attempts need and do not own.
pub(crate) struct Wire {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) stall: Duration,
    throttle: Option<Throttle>,
    pub(crate) hedging: Hedging,
    /// Bytes of the ranges of weights that have landed so far.
    pub(crate) landed: AtomicU64,
    pub(crate) timeline: Timeline,
}

impl Wire {
    pub(crate) fn new(store: Arc<dyn Store>, limits: &Limits, timeline: Timeline) -> Self {
        Self {
            store,
            stall: limits.stall,
            throttle: limits.bandwidth_bytes_per_s.map(Throttle::new),
            hedging: Hedging::new(limits.hedge_share),
            landed: AtomicU64::new(0),
            timeline,
        }
    }

    /// Reads what is missing of a range, if anything is, from the byte that was reached when it was called.
    pub(crate) async fn attempt<S: Sink>(
        &self,
        landing: &Landing<S>,
        label: Label,
    ) -> Result<(), Error> {
        let Some(missing) = landing.missing() else { return Ok(()) };
        let is_weights = label.is_weights;
        let key = Arc::clone(&landing.object.key);
        let mut log = Log::new(&self.timeline, key, missing.clone(), label);
        let result = self.transfer(landing, missing, &mut log).await;
        if result.is_ok() && is_weights {
            let (first_byte, body) = log.latencies();
            self.hedging.first_byte(first_byte);
            self.hedging.finished(log.bytes(), body);
        }
        if !matches!(result, Err(Error::Slow { .. })) {
            log.conclude(&result); // else it is lost, to its twin
        }
        result
    }

    async fn transfer<S: Sink>(
        &self,
        landing: &Landing<S>,
        missing: Range<u64>,
        log: &mut Log<'_>,
    ) -> Result<(), Error> {
        let at = missing.start;
        let mut body = self.request(landing, missing).await?;
        self.receive(landing, at, &mut *body, log).await
    }

    /// Receives a body, whose first byte is that at `at`, until the range ends.
    pub(crate) async fn receive<S: Sink>(
        &self,
        landing: &Landing<S>,
        mut at: u64,
        body: &mut dyn Body,
        log: &mut Log<'_>,
    ) -> Result<(), Error> {
        let mut patience = Patience::new(self.stall);
        let mut scrap = Vec::new();
        while at < landing.range.end {
            if !log.is_hedge() && at < landing.reached() {
                return Err(self.slow(landing)); // the hedge is ahead: what comes here has come already
            }
            let received =
                patience.wait(|context| landing.poll_receive(body, at, &mut scrap, context));
            let Received { bytes, fresh } = match received.await {
                Some(Ok(Received { bytes: 0, .. })) => return Err(self.short(landing, at)),
                Some(received) => received?,
                None => return Err(self.stalled(landing, at, self.stall)),
            };
            log.received(bytes, fresh);
            log.copied(body.copied_bytes());
            if log.is_weights() {
                self.landed.fetch_add(fresh, Relaxed);
            }
            at += bytes;
            patience.received(bytes);
            let held = self.throttled(landing, bytes).await;
            patience.held(held);
            log.held(held);
        }
        Ok(())
    }

    /// Waits until the bandwidth cap allows the bytes that were received, and says how long that took.
    async fn throttled<S>(&self, landing: &Landing<S>, bytes: u64) -> Duration {
        let Some(throttle) = &self.throttle else { return Duration::ZERO };
        let hold = landing.held.hold();
        throttle.take(bytes).await;
        hold.end()
    }

    async fn request<S: Sink>(
        &self,
        landing: &Landing<S>,
        missing: Range<u64>,
    ) -> Result<Box<dyn Body>, Error> {
        let (patience, at) = (self.stall + CONNECT, missing.start);
        let read = self.store.read(&landing.object, missing);
        timeout(patience, read).await.map_err(|_| self.stalled(landing, at, patience))?
    }

    fn short<S>(&self, landing: &Landing<S>, at: u64) -> Error {
        let object = self.store.locate(&landing.object.key);
        Error::Short { object, range: landing.range.clone(), at }
    }

    /// What was late on its way.
    pub(crate) fn slow<S: Sink>(&self, landing: &Landing<S>) -> Error {
        Error::Slow { object: self.store.locate(&landing.object.key), at: landing.reached() }
    }

    fn stalled<S>(&self, landing: &Landing<S>, at: u64, after: Duration) -> Error {
        let object = self.store.locate(&landing.object.key);
        Error::Stalled { object, at, after_s: after.as_secs_f64() }
    }
}

/// When a body counts as stalled: when a stall's time has passed in which not even a trickle came.
struct Patience {
    stall: Duration,
    deadline: Instant,
    since_deadline_bytes: u64,
    /// Set to a deadline that may have moved on since: setting a timer for every piece would cost more than the piece.
    alarm: Pin<Box<Sleep>>,
}

impl Patience {
    fn new(stall: Duration) -> Self {
        let deadline = Instant::now() + stall;
        let alarm = Box::pin(sleep_until(deadline));
        Self { stall, deadline, since_deadline_bytes: 0, alarm }
    }

    /// What `poll` gives in time.
    async fn wait<T>(&mut self, mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Option<T> {
        poll_fn(|context| match poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => self.poll_end(context).map(|()| None),
        })
        .await
    }

    fn received(&mut self, bytes: u64) {
        self.since_deadline_bytes += bytes;
        if self.since_deadline_bytes >= TRICKLE_BYTES {
            self.since_deadline_bytes = 0;
            self.deadline = Instant::now() + self.stall;
        }
    }

    /// For so long nothing could come: the body was not received.
    fn held(&mut self, held: Duration) {
        self.deadline += held;
    }

    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.alarm.as_mut().poll(context));
            if Instant::now() >= self.deadline {
                return Poll::Ready(());
            }
            self.alarm.as_mut().reset(self.deadline);
        }
    }
}

/// At most so much is received at once: a piece is what the bandwidth cap and the clocks of the attempt see.
const LANDING_BYTES: usize = 1 << 20;
/// Room for what a twin has brought before.
const SCRAP_BYTES: usize = 64 << 10;
/// Below this a range is not read but held: 341 bytes a second, at the usual three seconds. A modem brings more.
const TRICKLE_BYTES: u64 = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Gather, Version};

    /// A body of which as much is there as fits.
    struct Ready(Vec<u8>);

    impl Body for Ready {
        fn poll_receive(
            &mut self,
            _: &mut Context<'_>,
            memory: &mut [u8],
        ) -> Poll<Result<usize, Error>> {
            let count = memory.len().min(self.0.len());
            memory[..count].copy_from_slice(&self.0[..count]);
            self.0.drain(..count);
            Poll::Ready(Ok(count))
        }

        fn copied_bytes(&self) -> u64 {
            0
        }
    }

    /// What comes of `bytes`, which begin at `at`: received, and missing before.
    fn receive(landing: &Landing<Gather>, at: u64, bytes: &[u8]) -> (u64, u64) {
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut body = Ready(bytes.to_vec());
        match landing.poll_receive(&mut body, at, &mut Vec::new(), &mut context) {
            Poll::Ready(received) => received.map(|r| (r.bytes, r.fresh)).unwrap(),
            Poll::Pending => unreachable!("the body is there"),
        }
    }

    #[tokio::test]
    async fn nothing_is_silent_while_it_is_held_back() {
        let is_over = async |held| {
            let mut patience = Patience::new(Duration::ZERO);
            patience.received(TRICKLE_BYTES - 1);
            patience.held(held);
            tokio::time::sleep(Duration::from_millis(5)).await; // a timer's resolution is one
            patience.poll_end(&mut Context::from_waker(std::task::Waker::noop())).is_ready()
        };
        assert!(is_over(Duration::ZERO).await);
        assert!(!is_over(Duration::from_hours(1)).await);
    }

    #[test]
    fn each_byte_is_taken_once_whoever_brings_it() {
        let object = Object { key: "x".into(), size: 100, version: Version::Unknown };
        let landing = Landing::new(object, 10..20, Gather::after(Vec::new(), 10));
        assert_eq!(receive(&landing, 10, b"abc"), (3, 3));
        assert_eq!(receive(&landing, 10, b"abcde"), (3, 0), "the twin is behind");
        assert_eq!(receive(&landing, 13, b"de"), (2, 2), "the twin overtakes");
        assert_eq!(receive(&landing, 15, b"fghijKLM"), (5, 5), "nothing past the range");
        assert_eq!(landing.reached(), 20);
        assert_eq!(landing.into_sink().into_bytes(), b"abcdefghij");
    }
}
