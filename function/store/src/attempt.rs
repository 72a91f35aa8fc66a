//! One attempt at one range, and what the attempts at a range share.
//!
//! All attempts at a range, one after another or two at once, write through one [`Landing`]: it takes each byte once, in
//! order, whoever brings it first, so that a retry goes on from the byte that was reached and a hedge cannot race its twin.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use firstlight_timeline::{At, Counter, FetchRecord, Mark, Outcome, Timeline};
use futures_util::StreamExt;
use tokio::time::timeout;

use crate::hedge::Hedging;
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
    pub(crate) timeline: Timeline,
}

/// How an attempt stands on the timeline.
pub(crate) struct Label {
    pub(crate) stage: Arc<str>,
    pub(crate) attempt: u32,
    pub(crate) hedge: bool,
    pub(crate) is_weights: bool,
}

impl Wire {
    /// Reads what is missing of a range, from the byte that was reached when it was called.
    pub(crate) async fn attempt<S: Sink>(
        &self,
        landing: &Landing<S>,
        label: Label,
    ) -> Result<(), Error> {
        let is_weights = label.is_weights;
        let mut log = Log::new(&self.timeline, landing, label);
        let result = self.transfer(landing, &mut log).await;
        if result.is_ok() && is_weights {
            let (first_byte, total) = log.latencies();
            self.hedging.finished(log.bytes, first_byte, total);
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
        log.first_byte();
        while at < end {
            let bytes = match timeout(self.stall, chunks.next()).await {
                Ok(Some(bytes)) => bytes?,
                Ok(None) => return Err(self.short(landing, at)),
                Err(_) => return Err(self.stalled(landing, at, self.stall)),
            };
            let fresh = landing.accept(at, &bytes);
            log.received(bytes.len() as u64, fresh);
            at += bytes.len() as u64;
            if let Some(throttle) = &self.throttle {
                throttle.take(bytes.len()).await;
            }
        }
        Ok(())
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

/// Puts the attempt on the timeline when it ends, also where it is dropped because its twin was faster.
struct Log<'a> {
    timeline: &'a Timeline,
    record: Option<FetchRecord>,
    is_weights: bool,
    bytes: u64,
}

impl<'a> Log<'a> {
    fn new<S: Sink>(timeline: &'a Timeline, landing: &Landing<S>, label: Label) -> Self {
        timeline.mark(Mark::FirstRequest);
        timeline.count(Counter::Requests, 1);
        let now = timeline.now();
        let record = FetchRecord {
            object: Arc::clone(&landing.object.key),
            range: landing.reached()..landing.range.end,
            stage: label.stage,
            requested: now,
            first_byte: None,
            done: now,
            bytes: 0,
            attempt: label.attempt,
            hedge: label.hedge,
            outcome: Outcome::Lost,
        };
        Self { timeline, record: Some(record), is_weights: label.is_weights, bytes: 0 }
    }

    fn first_byte(&mut self) {
        self.timeline.mark(Mark::FirstByte);
        if self.is_weights {
            self.timeline.mark(Mark::FirstWeightByte);
        }
        let now = self.timeline.now();
        self.record.as_mut().expect("taken only at the end").first_byte = Some(now);
    }

    fn received(&mut self, bytes: u64, fresh: u64) {
        self.bytes += bytes;
        self.timeline.count(Counter::BytesFetched, bytes);
        self.timeline.count(Counter::BytesTwice, bytes - fresh);
    }

    fn latencies(&self) -> (Duration, Duration) {
        let record = self.record.as_ref().expect("taken only at the end");
        let since =
            |at: At| Duration::from_nanos(at.as_ns().saturating_sub(record.requested.as_ns()));
        (record.first_byte.map_or(Duration::ZERO, since), since(self.timeline.now()))
    }

    fn conclude(&mut self, result: &Result<(), Error>) {
        let outcome = match result {
            Ok(()) => Outcome::Complete,
            Err(Error::Stalled { .. }) => Outcome::Stalled,
            Err(error) if error.is_transient() => Outcome::Retried(error.to_string()),
            Err(error) => Outcome::Failed(error.to_string()),
        };
        self.put(outcome);
    }

    fn put(&mut self, outcome: Outcome) {
        if let Some(record) = self.record.take() {
            let done = self.timeline.now();
            self.timeline.fetch(FetchRecord { done, bytes: self.bytes, outcome, ..record });
        }
    }
}

impl Drop for Log<'_> {
    fn drop(&mut self) {
        self.put(Outcome::Lost);
    }
}

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
