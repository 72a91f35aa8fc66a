//! One attempt at one range, and what the attempts at a range share.
//!
//! All attempts at a range, one after another or two at once, write through one [`Landing`]: it takes each byte once, in
//! order, whoever brings it first, so that a retry goes on from the byte that was reached and a hedge cannot race its twin.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use firstlight_timeline::Timeline;
use futures_util::StreamExt;
use tokio::time::{Instant, timeout, timeout_at};

use crate::hedge::Hedging;
use crate::log::{Label, Log};
use crate::settings::CONNECT;
use crate::throttle::Throttle;
use crate::{Chunks, Error, Object, Sink, Store};

/// The memory that a range lands in, and how far it is filled.
pub(crate) struct Landing<S> {
    pub(crate) object: Object,
    pub(crate) range: Range<u64>,
    state: Mutex<State<S>>,
}

struct State<S> {
    reached: u64,
    sink: S,
}

impl<S: Sink> Landing<S> {
    pub(crate) fn new(object: Object, range: Range<u64>, sink: S) -> Self {
        let state = Mutex::new(State { reached: range.start, sink });
        Self { object, range, state }
    }

    /// The first byte that is still missing.
    pub(crate) fn reached(&self) -> u64 {
        self.lock().reached
    }

    pub(crate) fn into_sink(self) -> S {
        self.state.into_inner().expect("no holder panics").sink
    }

    /// Writes what `bytes`, which begin at `at`, bring of the missing bytes; says how many that were.
    fn accept(&self, at: u64, bytes: &[u8]) -> u64 {
        let mut state = self.lock();
        let end = (at + bytes.len() as u64).min(self.range.end);
        let from = state.reached;
        if at > from || end <= from {
            return 0;
        }
        let fresh = usize::try_from(from - at).expect("within a chunk")
            ..usize::try_from(end - at).expect("within a chunk");
        state.sink.write(from, &bytes[fresh]);
        state.reached = end;
        end - from
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State<S>> {
        self.state.lock().expect("a sink does not panic: its bounds are the range's")
    }
}

/// What attempts need and do not own.
pub(crate) struct Wire {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) stall: Duration,
    pub(crate) throttle: Option<Throttle>,
    pub(crate) hedging: Hedging,
    /// Bytes of the ranges of weights that have landed so far.
    pub(crate) landed: AtomicU64,
    pub(crate) timeline: Timeline,
}

impl Wire {
    /// Reads what is missing of a range, from the byte that was reached when it was called.
    pub(crate) async fn attempt<S: Sink>(
        &self,
        landing: &Landing<S>,
        label: Label,
    ) -> Result<(), Error> {
        let is_weights = label.is_weights;
        let key = Arc::clone(&landing.object.key);
        let mut log = Log::new(&self.timeline, key, landing.reached()..landing.range.end, label);
        let result = self.transfer(landing, &mut log).await;
        if result.is_ok() && is_weights {
            let (first_byte, total) = log.latencies();
            self.hedging.finished(log.bytes(), first_byte, total);
        }
        log.conclude(&result);
        result
    }

    async fn transfer<S: Sink>(
        &self,
        landing: &Landing<S>,
        log: &mut Log<'_>,
    ) -> Result<(), Error> {
        let mut at = landing.reached();
        let end = landing.range.end;
        let mut chunks = self.request(landing, at).await?;
        let mut patience = Patience::new(self.stall);
        while at < end {
            let bytes = match timeout_at(patience.deadline, chunks.next()).await {
                Ok(Some(bytes)) => bytes?,
                Ok(None) => return Err(self.short(landing, at)),
                Err(_) => return Err(self.stalled(landing, at, self.stall)),
            };
            let fresh = landing.accept(at, &bytes);
            log.received(bytes.len() as u64, fresh);
            if log.is_weights() {
                self.landed.fetch_add(fresh, Relaxed);
            }
            at += bytes.len() as u64;
            self.throttled(bytes.len()).await;
            patience.received(bytes.len());
        }
        Ok(())
    }

    /// Waits until the bandwidth cap allows the bytes that were received.
    pub(crate) async fn throttled(&self, bytes: usize) {
        if let Some(throttle) = &self.throttle {
            throttle.take(bytes).await;
        }
    }

    async fn request<S: Sink>(&self, landing: &Landing<S>, at: u64) -> Result<Chunks, Error> {
        let patience = self.stall + CONNECT;
        let read = self.store.read(&landing.object, at..landing.range.end);
        timeout(patience, read).await.map_err(|_| self.stalled(landing, at, patience))?
    }

    fn short<S>(&self, landing: &Landing<S>, at: u64) -> Error {
        let object = self.store.locate(&landing.object.key);
        Error::Short { object, range: landing.range.clone(), at }
    }

    fn stalled<S>(&self, landing: &Landing<S>, at: u64, after: Duration) -> Error {
        let object = self.store.locate(&landing.object.key);
        Error::Stalled { object, at, after_s: after.as_secs_f64() }
    }
}

/// When a body counts as stalled: when a stall's time has passed in which not even a trickle came.
pub(crate) struct Patience {
    stall: Duration,
    pub(crate) deadline: Instant,
    since_deadline_bytes: usize,
}

impl Patience {
    pub(crate) fn new(stall: Duration) -> Self {
        Self { stall, deadline: Instant::now() + stall, since_deadline_bytes: 0 }
    }

    pub(crate) fn received(&mut self, bytes: usize) {
        self.since_deadline_bytes += bytes;
        if self.since_deadline_bytes >= TRICKLE_BYTES {
            *self = Self::new(self.stall);
        }
    }
}

/// Below this a range is not read but held: 341 bytes a second, at the usual three seconds. A modem brings more.
const TRICKLE_BYTES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Version;

    fn landing() -> Landing<Vec<u8>> {
        let object = Object { key: "x".into(), size: 100, version: Version::Unknown };
        Landing::new(object, 10..20, Vec::new())
    }

    #[test]
    fn each_byte_is_taken_once_whoever_brings_it() {
        let landing = landing();
        assert_eq!(landing.accept(10, b"abc"), 3);
        assert_eq!(landing.accept(10, b"ab"), 0, "the twin is behind");
        assert_eq!(landing.accept(12, b"cde"), 2, "the twin overtakes");
        assert_eq!(landing.accept(16, b"g"), 0, "a gap is not taken");
        assert_eq!(landing.accept(15, b"fghijKLM"), 5, "nothing past the range");
        assert_eq!(landing.reached(), 20);
        assert_eq!(landing.into_sink(), b"abcdefghij");
    }
}
