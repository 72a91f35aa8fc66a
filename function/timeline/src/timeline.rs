//! The recorder: what a start leaves behind while it runs.
//!
//! Marks and counters are atomics, so that a hot path pays a clock read and an exchange. Spans and
//! fetches are a few thousand a start and go into vectors behind a lock; both are bounded, and what
//! does not fit is counted instead.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::clock::{At, monotonic_ns, process_cpu_ms};
use crate::report::Snapshot;
use crate::{Counter, FetchRecord, Lane, Mark, Report};

/// The clock of one cold start. Clones share it.
#[derive(Clone, Debug)]
pub struct Timeline(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// `CLOCK_MONOTONIC` at t0.
    t0_ns: u64,
    /// Wall clock at t0.
    started_unix_ms: u64,
    /// Nanoseconds since t0, or [`UNSET`].
    marks: [AtomicU64; Mark::ALL.len()],
    counters: [AtomicU64; Counter::ALL.len()],
    /// 0 until it is known.
    link_bytes_per_s: AtomicU64,
    spans: Mutex<Bounded<SpanRecord>>,
    fetches: Mutex<Bounded<FetchRecord>>,
    description: Mutex<BTreeMap<String, String>>,
}

impl Timeline {
    /// Starts the clock.
    ///
    /// `t0_ns` is the [`monotonic_ns`](Self::monotonic_ns) at which the parent spawned this process,
    /// where it told. Without it, or if it lies in the future, t0 is now.
    #[must_use]
    pub fn start(t0_ns: Option<u64>) -> Self {
        let now_ns = monotonic_ns();
        let t0_ns = t0_ns.filter(|t0_ns| *t0_ns <= now_ns).unwrap_or(now_ns);
        Self(Arc::new(Inner {
            t0_ns,
            started_unix_ms: unix_ms().saturating_sub((now_ns - t0_ns) / 1_000_000),
            marks: [const { AtomicU64::new(UNSET) }; Mark::ALL.len()],
            counters: [const { AtomicU64::new(0) }; Counter::ALL.len()],
            link_bytes_per_s: AtomicU64::new(0),
            spans: Mutex::new(Bounded::new(SPANS_MAX)),
            fetches: Mutex::new(Bounded::new(FETCHES_MAX)),
            description: Mutex::default(),
        }))
    }

    /// The clock that a parent passes on to the process it spawns: `CLOCK_MONOTONIC`, nanoseconds.
    #[must_use]
    pub fn monotonic_ns() -> u64 {
        monotonic_ns()
    }

    /// Milliseconds of CPU time that this process has used, all its threads together.
    #[must_use]
    pub fn process_cpu_ms() -> u64 {
        process_cpu_ms()
    }

    /// This moment.
    #[must_use]
    pub fn now(&self) -> At {
        At::from_ns(monotonic_ns().saturating_sub(self.0.t0_ns))
    }

    /// Notes that `mark` is reached now. The first time wins.
    pub fn mark(&self, mark: Mark) {
        self.mark_at(mark, self.now());
    }

    /// Notes that `mark` was reached at `at`. The first note wins, even over an earlier moment.
    pub fn mark_at(&self, mark: Mark, at: At) {
        let ns = at.as_ns().min(UNSET - 1);
        let cell = &self.0.marks[mark as usize];
        // A mark that is already set is the normal case of a hot path: nothing to do.
        let _ = cell.compare_exchange(UNSET, ns, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// When `mark` was reached, if it was.
    #[must_use]
    pub fn marked(&self, mark: Mark) -> Option<At> {
        let ns = self.0.marks[mark as usize].load(Ordering::Relaxed);
        (ns != UNSET).then_some(At::from_ns(ns))
    }

    /// Begins a piece of work, which lasts until the span is dropped or [ended](Span::end).
    pub fn span(&self, lane: Lane, label: impl Into<String>) -> Span {
        let record = SpanRecord {
            lane,
            label: label.into(),
            from: self.now(),
            to: At::default(),
            bytes: None,
        };
        Span { timeline: self.clone(), record: Some(record) }
    }

    /// Notes a piece of work that is over.
    pub fn record(&self, lane: Lane, label: impl Into<String>, from: At, to: At) {
        self.push(SpanRecord { lane, label: label.into(), from, to, bytes: None });
    }

    /// Notes one range as the network saw it.
    pub fn fetch(&self, fetch: FetchRecord) {
        lock(&self.0.fetches).push(fetch);
    }

    /// Adds `n` to `counter`.
    pub fn count(&self, counter: Counter, n: u64) {
        self.0.counters[counter as usize].fetch_add(n, Ordering::Relaxed);
    }

    /// What `counter` stands at.
    #[must_use]
    pub fn counted(&self, counter: Counter) -> u64 {
        self.0.counters[counter as usize].load(Ordering::Relaxed)
    }

    /// Says what this start was of: `model`, `location`, `device`, `version`. The last word wins.
    pub fn describe(&self, key: &'static str, value: impl Into<String>) {
        lock(&self.0.description).insert(key.to_owned(), value.into());
    }

    /// Sets the link's rate, from which the floor under the time to the first token is computed.
    pub fn set_link(&self, bytes_per_s: u64) {
        self.0.link_bytes_per_s.store(bytes_per_s, Ordering::Relaxed);
    }

    /// A snapshot, with the figures that follow from it.
    #[must_use]
    pub fn report(&self) -> Report {
        let (spans, spans_dropped) = lock(&self.0.spans).snapshot();
        let (fetches, fetches_dropped) = lock(&self.0.fetches).snapshot();
        let marks = Mark::ALL.into_iter().filter_map(|mark| Some((mark, self.marked(mark)?)));
        Report::new(Snapshot {
            started_unix_ms: self.0.started_unix_ms,
            description: lock(&self.0.description).clone(),
            link_bytes_per_s: self.0.link_bytes_per_s.load(Ordering::Relaxed),
            marks: marks.collect(),
            counters: Counter::ALL.map(|counter| (counter, self.counted(counter))).into(),
            spans,
            fetches,
            spans_dropped,
            fetches_dropped,
        })
    }

    fn push(&self, record: SpanRecord) {
        lock(&self.0.spans).push(record);
    }
}

/// A piece of work that is being done. It ends when it is dropped.
#[derive(Debug)]
#[must_use = "a span ends when it is dropped"]
pub struct Span {
    timeline: Timeline,
    /// `None` once it was noted.
    record: Option<SpanRecord>,
}

impl Span {
    /// Says how many bytes the work is about.
    pub fn bytes(mut self, bytes: u64) -> Self {
        if let Some(record) = &mut self.record {
            record.bytes = Some(bytes);
        }
        self
    }

    /// Ends the work.
    pub fn end(self) {}
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(record) = self.record.take() {
            self.timeline.push(SpanRecord { to: self.timeline.now(), ..record });
        }
    }
}

/// A piece of work, as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct SpanRecord {
    pub(crate) lane: Lane,
    pub(crate) label: String,
    pub(crate) from: At,
    pub(crate) to: At,
    pub(crate) bytes: Option<u64>,
}

/// A vector that counts what it has no room for.
#[derive(Debug)]
struct Bounded<T> {
    items: Vec<T>,
    max: usize,
    dropped: u64,
}

impl<T: Clone> Bounded<T> {
    const fn new(max: usize) -> Self {
        Self { items: Vec::new(), max, dropped: 0 }
    }

    fn push(&mut self, item: T) {
        if self.items.len() < self.max {
            self.items.push(item);
        } else {
            self.dropped += 1;
        }
    }

    fn snapshot(&self) -> (Vec<T>, u64) {
        (self.items.clone(), self.dropped)
    }
}

/// Nothing is left half-written under these locks, so that a panic elsewhere does not silence them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unix_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

/// No start lasts 584 years.
const UNSET: u64 = u64::MAX;

/// A start of a large model has about 100 layers and a thousand tokens: 8,192 spans are 1 MB.
const SPANS_MAX: usize = 8_192;

/// 70 GB in ranges of 8 MiB are 8,345 fetches; twice that leaves room for retries: 3 MB.
const FETCHES_MAX: usize = 16_384;

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn the_parents_clock_is_t0_unless_it_lies_in_the_future() {
        let hour_ns = 3_600_000_000_000;
        let now_ns = Timeline::monotonic_ns();
        let told = Timeline::start(Some(now_ns - 7_000_000));
        assert!(told.now() >= At::from_ns(7_000_000));
        let told_wrongly = Timeline::start(Some(now_ns + hour_ns));
        assert!(told_wrongly.now() < At::from_ns(hour_ns));
    }

    #[test]
    fn the_first_time_of_a_mark_wins() {
        let timeline = Timeline::start(None);
        assert_eq!(timeline.marked(Mark::FirstByte), None);
        timeline.mark_at(Mark::FirstByte, At::from_ns(5));
        timeline.mark_at(Mark::FirstByte, At::from_ns(3));
        timeline.mark(Mark::FirstByte);
        assert_eq!(timeline.marked(Mark::FirstByte), Some(At::from_ns(5)));
        assert_eq!(timeline.marked(Mark::FirstToken), None);
    }

    #[test]
    fn counts_of_all_threads_add_up() {
        let timeline = Timeline::start(None);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1_000).for_each(|_| timeline.count(Counter::Requests, 2)));
            }
        });
        assert_eq!(timeline.counted(Counter::Requests), 8_000);
        assert_eq!(timeline.report().counter(Counter::Requests), 8_000);
    }

    #[test]
    fn a_span_is_noted_once_when_it_ends_and_carries_its_bytes() {
        let timeline = Timeline::start(None);
        let dropped = timeline.span(Lane::Boot, "runtime");
        assert!(timeline.report().spans.is_empty());
        drop(dropped);
        timeline.span(Lane::Verify, "headers").bytes(77).end();
        let spans = timeline.report().spans;
        let noted: Vec<_> = spans.iter().map(|span| (&*span.label, span.bytes)).collect();
        assert_eq!(noted, [("runtime", None), ("headers", Some(77))]);
        assert!(spans.iter().all(|span| span.from_ms <= span.to_ms));
    }

    #[test]
    fn what_has_no_room_is_counted() {
        let timeline = Timeline::start(None);
        for _ in 0..SPANS_MAX + 3 {
            timeline.record(Lane::Compute, "layer 0", At::default(), At::default());
        }
        let report = timeline.report();
        assert_eq!((report.spans.len(), report.spans_dropped), (SPANS_MAX, 3));
    }

    #[test]
    fn the_last_description_wins() {
        let timeline = Timeline::start(None);
        timeline.describe("model", "a");
        timeline.clone().describe("model", "b");
        assert_eq!(timeline.report().description["model"], "b");
    }
}
