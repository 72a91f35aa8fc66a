//! The start as a trace that <https://ui.perfetto.dev> and `chrome://tracing` open: the JSON object
//! form of Chrome's trace event format.
//!
//! A lane is one or more threads, because slices of one thread must nest and those of a lane may
//! overlap: each lane's pieces are packed into as few threads as that allows. A range is a slice of
//! the network with its wait and its transfer as slices within; bytes in flight are a counter.

use serde_json::{Value, json};

use crate::slot::pack;
use crate::{FetchReport, Lane, Mark, Report, SpanReport};

impl Report {
    /// The start as a trace in Chrome's trace event format, which <https://ui.perfetto.dev> opens.
    #[must_use]
    pub fn perfetto(&self) -> String {
        let mut events = vec![metadata("process_name", 0, &json!({ "name": "firstlight" }))];
        for lane in Lane::ALL {
            self.lane_events(lane, &mut events);
        }
        self.fetch_events(&mut events);
        events.extend(self.marks_ms.iter().map(|(mark, at_ms)| instant(*mark, *at_ms)));
        events.extend(in_flight(&self.fetches));
        json!({
            "displayTimeUnit": "ms",
            "otherData": self.description,
            "traceEvents": events,
        })
        .to_string()
    }

    fn lane_events(&self, lane: Lane, events: &mut Vec<Value>) {
        let spans: Vec<_> = self.spans.iter().filter(|span| span.lane == lane).collect();
        let packing = pack(spans.iter().map(|span| (span.from_ms, span.to_ms)));
        let first_tid = tid(lane);
        for slot in 0..packing.count {
            events.extend(thread(first_tid + slot, lane.name()));
        }
        for (span, slot) in spans.into_iter().zip(packing.slots) {
            events.push(span_slice(span, first_tid + slot));
        }
    }

    fn fetch_events(&self, events: &mut Vec<Value>) {
        let packing = pack(self.fetches.iter().map(|fetch| (fetch.requested_ms, fetch.done_ms)));
        for slot in 0..packing.count {
            events.extend(thread(RANGES_TID + slot, &format!("ranges {slot}")));
        }
        for (fetch, slot) in self.fetches.iter().zip(packing.slots) {
            events.extend(fetch_slices(fetch, RANGES_TID + slot));
        }
    }
}

fn span_slice(span: &SpanReport, tid: usize) -> Value {
    let args = json!({ "bytes": span.bytes });
    slice(span.lane.name(), &span.label, [span.from_ms, span.to_ms], tid, &args)
}

/// The whole attempt, and within it the wait and the transfer.
fn fetch_slices(fetch: &FetchReport, tid: usize) -> Vec<Value> {
    let args = json!({
        "object": fetch.object,
        "start_byte": fetch.start_byte,
        "end_byte": fetch.end_byte,
        "bytes": fetch.bytes,
        "attempt": fetch.attempt,
        "hedge": fetch.hedge,
        "outcome": fetch.outcome,
    });
    let first_ms = fetch.first_byte_ms.unwrap_or(fetch.done_ms);
    let part = |name, ms| slice(Lane::Network.name(), name, ms, tid, &json!({}));
    let whole = [fetch.requested_ms, fetch.done_ms];
    let mut slices = vec![slice(Lane::Network.name(), &fetch.stage, whole, tid, &args)];
    slices.push(part("wait", [fetch.requested_ms, first_ms]));
    if fetch.first_byte_ms.is_some() {
        slices.push(part("receive", [first_ms, fetch.done_ms]));
    }
    slices
}

/// A complete event: a slice with its beginning and its duration.
fn slice(category: &str, name: &str, ms: [f64; 2], tid: usize, args: &Value) -> Value {
    let [from_us, to_us] = ms.map(microseconds);
    json!({
        "ph": "X", "pid": PID, "tid": tid, "cat": category, "name": name,
        "ts": from_us, "dur": to_us.saturating_sub(from_us), "args": args,
    })
}

/// An instant event that is drawn across the process.
fn instant(mark: Mark, at_ms: f64) -> Value {
    json!({
        "ph": "i", "s": "p", "pid": PID, "tid": 0, "cat": "mark", "name": mark.name(),
        "ts": microseconds(at_ms),
    })
}

/// A thread's name, and its place among the others.
fn thread(tid: usize, name: &str) -> [Value; 2] {
    let name = metadata("thread_name", tid, &json!({ "name": name }));
    [name, metadata("thread_sort_index", tid, &json!({ "sort_index": tid }))]
}

fn metadata(what: &str, tid: usize, args: &Value) -> Value {
    json!({ "ph": "M", "pid": PID, "tid": tid, "name": what, "args": args })
}

/// Counter events: the bytes that open requests have asked for.
fn in_flight(fetches: &[FetchReport]) -> Vec<Value> {
    let mut steps: Vec<(f64, i128)> = Vec::new();
    for fetch in fetches {
        let asked = i128::from(fetch.end_byte.saturating_sub(fetch.start_byte));
        steps.push((fetch.requested_ms, asked));
        steps.push((fetch.done_ms, -asked));
    }
    steps.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let open = steps.iter().scan(0, |open, (at_ms, change)| {
        *open += change;
        Some((*at_ms, *open))
    });
    let counter = |(at_ms, bytes): (f64, i128)| {
        json!({
            "ph": "C", "pid": PID, "tid": 0, "name": "bytes in flight",
            "ts": microseconds(at_ms), "args": { "bytes": bytes.max(0) as f64 },
        })
    };
    open.map(counter).collect()
}

/// Reports keep microseconds: a whole number, so that slices that touch do not overlap.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, which is what a damaged report should do"
)]
fn microseconds(ms: f64) -> u64 {
    (ms * 1e3).round() as u64
}

/// Threads are listed by number: a lane's follow one another.
const fn tid(lane: Lane) -> usize {
    (lane as usize + 1) * TIDS_PER_LANE
}

const PID: u32 = 1;
/// More than a lane of `SPANS_MAX` spans can need.
const TIDS_PER_LANE: usize = 10_000;
/// Ranges follow the network's own spans.
const RANGES_TID: usize = tid(Lane::Network) + TIDS_PER_LANE / 2;
