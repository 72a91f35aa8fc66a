//! The snapshot of a start and the figures that follow from it; as JSON, one line a start.
//!
//! All times are milliseconds since t0, to the microsecond. A figure that cannot be known (no link
//! rate, no first token) is `None`: no form ever prints a number that was divided by zero.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::timeline::SpanRecord;
use crate::{At, Counter, FetchRecord, Lane, Mark, Outcome};

/// One cold start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Wall clock at t0: milliseconds since 1970.
    pub started_unix_ms: u64,
    /// What was started: model, location, device, version.
    pub description: BTreeMap<String, String>,
    /// From t0 to the first token.
    pub ttft_ms: Option<f64>,
    /// The time that the weights need on the link: no start is faster.
    pub floor_ms: Option<f64>,
    /// `ttft_ms` over `floor_ms`: 1 is perfect.
    pub ttft_over_floor: Option<f64>,
    /// The parts of `ttft_ms`.
    pub split: Option<Split>,
    /// Bytes of weights.
    pub weight_bytes: u64,
    /// The link's rate, where it is known.
    pub link_bytes_per_s: Option<u64>,
    /// Time during which at least one request was open.
    pub network_busy_ms: f64,
    /// Bytes received over `network_busy_ms`, in units of 10⁹ bytes a second.
    pub gb_per_s: Option<f64>,
    /// Tokens a second from the first token to the last.
    pub tokens_per_s: Option<f64>,
    /// When each mark was reached.
    pub marks_ms: BTreeMap<Mark, f64>,
    /// What was counted: every counter, zeros too.
    pub counters: BTreeMap<Counter, u64>,
    /// Spans that were not kept.
    pub spans_dropped: u64,
    /// Fetches that were not kept.
    pub fetches_dropped: u64,
    /// Pieces of work, in the order in which they began.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub spans: Vec<SpanReport>,
    /// Ranges, in the order in which they were requested.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fetches: Vec<FetchReport>,
}

/// How the time to the first token splits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Split {
    /// From t0 to the first byte of a weight.
    pub before_first_weight_byte_ms: f64,
    /// From the first byte of a weight to the last.
    pub streaming_ms: f64,
    /// From the last byte of a weight to the first token.
    pub after_last_weight_byte_ms: f64,
}

/// One piece of work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpanReport {
    /// Who worked.
    pub lane: Lane,
    /// On what.
    pub label: String,
    /// When it began.
    pub from_ms: f64,
    /// When it ended.
    pub to_ms: f64,
    /// How many bytes it was about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// One attempt at one range.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FetchReport {
    /// The object's name.
    pub object: String,
    /// Where the range begins in the object.
    pub start_byte: u64,
    /// Where it ends, exclusive.
    pub end_byte: u64,
    /// What the bytes are for.
    pub stage: String,
    /// When the request was sent.
    pub requested_ms: f64,
    /// When the first byte arrived, if one did.
    pub first_byte_ms: Option<f64>,
    /// When the last byte arrived or the attempt was given up.
    pub done_ms: f64,
    /// Bytes received.
    pub bytes: u64,
    /// 1 for the first attempt at this range.
    pub attempt: u32,
    /// Whether it doubled another attempt that was still open.
    pub hedge: bool,
    /// How it ended.
    pub outcome: Outcome,
}

/// What the recorder holds, before any figure is computed.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) started_unix_ms: u64,
    pub(crate) description: BTreeMap<String, String>,
    /// 0: not known.
    pub(crate) link_bytes_per_s: u64,
    pub(crate) marks: BTreeMap<Mark, At>,
    pub(crate) counters: BTreeMap<Counter, u64>,
    pub(crate) spans: Vec<SpanRecord>,
    pub(crate) fetches: Vec<FetchRecord>,
    pub(crate) spans_dropped: u64,
    pub(crate) fetches_dropped: u64,
}

impl Report {
    pub(crate) fn new(snapshot: Snapshot) -> Self {
        let mut spans: Vec<_> = snapshot.spans.into_iter().map(SpanReport::from).collect();
        spans.extend(spans_between_marks(&snapshot.marks));
        spans.sort_by(|a, b| a.from_ms.total_cmp(&b.from_ms));
        let mut fetches: Vec<_> = snapshot.fetches.into_iter().map(FetchReport::from).collect();
        fetches.sort_by(|a, b| {
            let later = a.requested_ms.total_cmp(&b.requested_ms);
            later.then(a.start_byte.cmp(&b.start_byte))
        });
        let mut report = Self {
            started_unix_ms: snapshot.started_unix_ms,
            description: snapshot.description,
            weight_bytes: snapshot.counters.get(&Counter::WeightBytes).copied().unwrap_or(0),
            link_bytes_per_s: Some(snapshot.link_bytes_per_s).filter(|rate| *rate > 0),
            marks_ms: snapshot.marks.into_iter().map(|(mark, at)| (mark, at.as_ms())).collect(),
            counters: snapshot.counters,
            spans_dropped: snapshot.spans_dropped,
            fetches_dropped: snapshot.fetches_dropped,
            spans,
            fetches,
            ..Self::default()
        };
        report.compute_figures();
        report
    }

    /// When `mark` was reached.
    #[must_use]
    pub fn mark_ms(&self, mark: Mark) -> Option<f64> {
        self.marks_ms.get(&mark).copied()
    }

    /// What was counted of `counter`.
    #[must_use]
    pub fn counter(&self, counter: Counter) -> u64 {
        self.counters.get(&counter).copied().unwrap_or(0)
    }

    /// The start as one line of JSON, without the line's end.
    ///
    /// `detail` adds the spans and the fetches: some 200 bytes a range.
    #[must_use]
    pub fn json_line(&self, detail: bool) -> String {
        let json = if detail {
            serde_json::to_string(self)
        } else {
            serde_json::to_string(&self.without_detail())
        };
        json.expect("a report has string keys and finite numbers only")
    }

    fn without_detail(&self) -> Self {
        Self {
            description: self.description.clone(),
            marks_ms: self.marks_ms.clone(),
            counters: self.counters.clone(),
            spans: Vec::new(),
            fetches: Vec::new(),
            ..*self
        }
    }

    fn compute_figures(&mut self) {
        self.ttft_ms = self.mark_ms(Mark::FirstToken);
        self.floor_ms = self
            .link_bytes_per_s
            .and_then(|rate| quotient(self.weight_bytes as f64 * 1e3, rate as f64))
            .filter(|floor_ms| *floor_ms > 0.0);
        self.ttft_over_floor = self.ttft_ms.zip(self.floor_ms).and_then(|(a, b)| quotient(a, b));
        self.split = self.split_ttft();
        self.network_busy_ms = busy_ms(&self.fetches);
        let bytes = self.fetches.iter().fold(0_u64, |sum, fetch| sum.saturating_add(fetch.bytes));
        self.gb_per_s = quotient(bytes as f64 / 1e6, self.network_busy_ms);
        self.tokens_per_s = self.decode_rate();
    }

    fn split_ttft(&self) -> Option<Split> {
        let ttft_ms = self.ttft_ms?;
        let first_ms = self.mark_ms(Mark::FirstWeightByte)?.min(ttft_ms);
        let last_ms = self.mark_ms(Mark::LastWeightByte)?.clamp(first_ms, ttft_ms);
        Some(Split {
            before_first_weight_byte_ms: first_ms,
            streaming_ms: round3(last_ms - first_ms),
            after_last_weight_byte_ms: round3(ttft_ms - last_ms),
        })
    }

    fn decode_rate(&self) -> Option<f64> {
        let decode_ms = self.mark_ms(Mark::LastToken)? - self.mark_ms(Mark::FirstToken)?;
        let tokens = self.counter(Counter::Tokens).checked_sub(1).filter(|tokens| *tokens > 0)?;
        quotient(tokens as f64 * 1e3, decode_ms)
    }
}

impl From<SpanRecord> for SpanReport {
    fn from(span: SpanRecord) -> Self {
        Self {
            lane: span.lane,
            label: span.label,
            from_ms: span.from.as_ms(),
            to_ms: span.to.max(span.from).as_ms(),
            bytes: span.bytes,
        }
    }
}

impl From<FetchRecord> for FetchReport {
    fn from(fetch: FetchRecord) -> Self {
        let done = fetch.done.max(fetch.requested);
        Self {
            object: fetch.object.to_string(),
            start_byte: fetch.range.start,
            end_byte: fetch.range.end,
            stage: fetch.stage.to_string(),
            requested_ms: fetch.requested.as_ms(),
            first_byte_ms: fetch.first_byte.map(|at| at.clamp(fetch.requested, done).as_ms()),
            done_ms: done.as_ms(),
            bytes: fetch.bytes,
            attempt: fetch.attempt,
            hedge: fetch.hedge,
            outcome: fetch.outcome,
        }
    }
}

/// The work that two marks tell of: the way to `main`, what is set up there, and the tokens after
/// the first.
fn spans_between_marks(marks: &BTreeMap<Mark, At>) -> Vec<SpanReport> {
    let spans = [
        (Lane::Boot, "exec", Some(&At::default()), marks.get(&Mark::Main)),
        (Lane::Boot, "runtime", marks.get(&Mark::Main), marks.get(&Mark::RuntimeUp)),
        (Lane::Compute, "decode", marks.get(&Mark::FirstToken), marks.get(&Mark::LastToken)),
    ];
    let known = spans.into_iter().filter_map(|(lane, label, from, to)| {
        let (from, to) = from.zip(to).filter(|(from, to)| to > from)?;
        Some(SpanRecord { lane, label: label.to_owned(), from: *from, to: *to, bytes: None }.into())
    });
    known.collect()
}

/// The time that the union of all fetches covers; they are sorted by their beginning.
fn busy_ms(fetches: &[FetchReport]) -> f64 {
    let mut busy_ms = 0.0;
    let mut covered_to_ms = f64::NEG_INFINITY;
    for fetch in fetches {
        let from_ms = fetch.requested_ms.max(covered_to_ms);
        busy_ms += (fetch.done_ms - from_ms).max(0.0);
        covered_to_ms = covered_to_ms.max(fetch.done_ms);
    }
    round3(busy_ms)
}

/// `a / b` to six decimals, if that is a number.
fn quotient(a: f64, b: f64) -> Option<f64> {
    let quotient = (a / b * 1e6).round() / 1e6;
    (b > 0.0 && quotient.is_finite()).then_some(quotient)
}

/// Milliseconds to the microsecond.
fn round3(ms: f64) -> f64 {
    (ms * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timeline;

    const fn at(ms: u64) -> At {
        At::from_ns(ms * 1_000_000)
    }

    fn fetch(requested: At, done: At, bytes: u64) -> FetchRecord {
        FetchRecord {
            object: "model.safetensors".into(),
            range: 0..bytes,
            stage: "layer 0".into(),
            requested,
            first_byte: Some(requested),
            done,
            bytes,
            attempt: 1,
            hedge: false,
            outcome: Outcome::Complete,
        }
    }

    #[test]
    fn the_figures_follow_from_marks_and_counts() {
        let timeline = Timeline::start(None);
        timeline.set_link(1_000_000);
        timeline.count(Counter::WeightBytes, 800_000);
        timeline.count(Counter::Tokens, 11);
        for (mark, ms) in [
            (Mark::FirstWeightByte, 150),
            (Mark::LastWeightByte, 980),
            (Mark::FirstToken, 1_000),
            (Mark::LastToken, 1_500),
        ] {
            timeline.mark_at(mark, at(ms));
        }
        let report = timeline.report();
        assert_eq!(report.ttft_ms, Some(1_000.0));
        assert_eq!(report.floor_ms, Some(800.0));
        assert_eq!(report.ttft_over_floor, Some(1.25));
        assert_eq!(report.tokens_per_s, Some(20.0));
        let split = Split {
            before_first_weight_byte_ms: 150.0,
            streaming_ms: 830.0,
            after_last_weight_byte_ms: 20.0,
        };
        assert_eq!(report.split, Some(split));
    }

    #[test]
    fn the_network_is_busy_while_any_request_is_open() {
        let timeline = Timeline::start(None);
        timeline.fetch(fetch(at(50), at(60), 1_000_000));
        timeline.fetch(fetch(at(10), at(20), 500_000));
        timeline.fetch(fetch(at(12), at(15), 0));
        timeline.fetch(fetch(at(15), at(30), 1_500_000));
        let report = timeline.report();
        assert!((report.network_busy_ms - 30.0).abs() < 1e-9);
        assert_eq!(report.gb_per_s, Some(0.1));
        let requested: Vec<_> = report.fetches.iter().map(|fetch| fetch.requested_ms).collect();
        assert_eq!(requested, [10.0, 12.0, 15.0, 50.0]);
    }

    #[test]
    fn what_cannot_be_known_is_not_said() {
        let timeline = Timeline::start(None);
        timeline.set_link(1_000_000);
        timeline.mark_at(Mark::FirstToken, at(0));
        timeline.mark_at(Mark::LastToken, at(0));
        timeline.count(Counter::Tokens, 1);
        let report = timeline.report();
        assert_eq!((report.floor_ms, report.ttft_over_floor), (None, None));
        assert_eq!((report.gb_per_s, report.tokens_per_s), (None, None));
        assert_eq!(report.split, None);
    }

    #[test]
    fn what_two_marks_tell_of_is_a_span() {
        let timeline = Timeline::start(None);
        timeline.mark_at(Mark::Main, at(2));
        timeline.mark_at(Mark::RuntimeUp, at(3));
        timeline.mark_at(Mark::FirstToken, at(9));
        timeline.mark_at(Mark::LastToken, at(12));
        let spans = timeline.report().spans;
        let spans: Vec<_> = spans.iter().map(|s| (&*s.label, s.from_ms, s.to_ms)).collect();
        assert_eq!(spans, [("exec", 0.0, 2.0), ("runtime", 2.0, 3.0), ("decode", 9.0, 12.0)]);
    }
}
