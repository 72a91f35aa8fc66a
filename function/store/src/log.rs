//! One attempt, as the timeline will tell of it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use firstlight_timeline::{At, Counter, FetchRecord, Mark, Outcome, Timeline};

use crate::Error;

/// How an attempt stands on the timeline.
pub(crate) struct Label {
    pub(crate) stage: Arc<str>,
    pub(crate) attempt: u32,
    pub(crate) hedge: bool,
    pub(crate) is_weights: bool,
}

/// Puts the attempt on the timeline when it ends, also where it is dropped because its twin was faster.
pub(crate) struct Log<'a> {
    timeline: &'a Timeline,
    record: Option<FetchRecord>,
    is_weights: bool,
    bytes: u64,
    copied_bytes: u64,
    held: Duration,
}

impl<'a> Log<'a> {
    /// `range` of the object `key` is about to be asked for.
    pub(crate) fn new(
        timeline: &'a Timeline,
        key: Arc<str>,
        range: Range<u64>,
        label: Label,
    ) -> Self {
        timeline.mark(Mark::FirstRequest);
        timeline.count(Counter::Requests, 1);
        let now = timeline.now();
        let record = FetchRecord {
            object: key,
            range,
            stage: label.stage,
            requested: now,
            first_byte: None,
            done: now,
            bytes: 0,
            attempt: label.attempt,
            hedge: label.hedge,
            outcome: Outcome::Lost,
        };
        Self {
            timeline,
            record: Some(record),
            is_weights: label.is_weights,
            bytes: 0,
            copied_bytes: 0,
            held: Duration::ZERO,
        }
    }

    /// The body has begun, which is when the record has no first byte yet.
    fn first_byte(&mut self) {
        self.timeline.mark(Mark::FirstByte);
        if self.is_weights {
            self.timeline.mark(Mark::FirstWeightByte);
        }
        let now = self.timeline.now();
        self.record.as_mut().expect("taken only at the end").first_byte = Some(now);
    }

    /// `bytes` came, of which `fresh` were still missing.
    pub(crate) fn received(&mut self, bytes: u64, fresh: u64) {
        if self.bytes == 0 && bytes > 0 {
            self.first_byte();
        }
        self.bytes += bytes;
        self.timeline.count(Counter::BytesFetched, bytes);
        self.timeline.count(Counter::BytesTwice, bytes - fresh);
    }

    /// So many bytes of the body, all in all, lay elsewhere in this process before they were at their places.
    pub(crate) fn copied(&mut self, bytes: u64) {
        if self.is_weights {
            self.timeline.count(Counter::BytesCopied, bytes - self.copied_bytes);
        }
        self.copied_bytes = bytes;
    }

    /// For so long the body was held back by this side.
    pub(crate) fn held(&mut self, held: Duration) {
        self.held += held;
    }

    /// Whether this is the second attempt beside another.
    pub(crate) fn is_hedge(&self) -> bool {
        self.record().hedge
    }

    /// Whether the range is one of weights.
    pub(crate) fn is_weights(&self) -> bool {
        self.is_weights
    }

    /// Bytes received so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Since the request.
    pub(crate) fn age(&self) -> Duration {
        self.since(self.record().requested)
    }

    /// How long the server took until the first byte, and from there until now.
    pub(crate) fn latencies(&self) -> (Duration, Duration) {
        let body = self.record().first_byte.map_or(Duration::ZERO, |first| self.since(first));
        (self.age().saturating_sub(body), body.saturating_sub(self.held))
    }

    fn since(&self, at: At) -> Duration {
        Duration::from_nanos(self.timeline.now().as_ns().saturating_sub(at.as_ns()))
    }

    fn record(&self) -> &FetchRecord {
        self.record.as_ref().expect("taken only at the end")
    }

    /// The attempt ended by itself.
    pub(crate) fn conclude<T>(&mut self, result: &Result<T, Error>) {
        let outcome = match result {
            // That a file is not there is an answer: which files a model has is found out by asking.
            Ok(_) | Err(Error::NotFound { .. }) => Outcome::Complete,
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

    #[test]
    fn time_held_back_is_not_the_servers() {
        let timeline = Timeline::start(None);
        let label = Label { stage: "x".into(), attempt: 1, hedge: false, is_weights: true };
        let mut log = Log::new(&timeline, "x".into(), 0..9, label);
        log.received(9, 9);
        log.held(Duration::from_hours(1));
        assert_eq!(log.latencies().1, Duration::ZERO);
    }
}
