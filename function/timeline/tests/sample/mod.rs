//! Starts made up from a link and a model, so that the pictures have something to show.
//!
//! The link is shared evenly by the requests that have had their first byte, a millisecond at a time.

use std::collections::VecDeque;
use std::ops::Range;

use firstlight_timeline::{At, Counter, FetchRecord, Lane, Mark, Outcome, Report, Timeline};

/// A model on a link.
struct Start {
    layers: u64,
    layer_bytes: u64,
    head_bytes: u64,
    range_bytes: u64,
    link_bytes_per_s: u64,
    first_byte_ms: f64,
    /// Requests in flight.
    window: usize,
    /// The range of which the first attempt is cut off half-way.
    retried: Option<usize>,
    /// The range that is slow enough to be hedged.
    hedged: Option<usize>,
    /// Arithmetic for each layer, for the whole prompt.
    layer_ms: f64,
}

/// 24 layers and a tied head of 272 MB, 988 MB in all, on 1 Gbit/s.
pub(crate) fn real() -> Report {
    let start = Start {
        layers: 24,
        layer_bytes: 29_818_624,
        head_bytes: 272_269_312,
        range_bytes: 8 << 20,
        link_bytes_per_s: 125_000_000,
        first_byte_ms: 30.0,
        window: 16,
        retried: Some(40),
        hedged: Some(77),
        layer_ms: 62.0,
    };
    start.report("Qwen2.5-0.5B-Instruct", "s3://models/qwen2.5-0.5b-instruct")
}

/// 5 layers, 4 MB.
pub(crate) fn tiny() -> Report {
    let start = Start {
        layers: 5,
        layer_bytes: 660_000,
        head_bytes: 700_000,
        range_bytes: 512 << 10,
        link_bytes_per_s: 125_000_000,
        first_byte_ms: 12.0,
        window: 8,
        retried: None,
        hedged: None,
        layer_ms: 0.9,
    };
    start.report("stories-4m", "s3://demo/stories")
}

/// A clock that was started and nothing else.
pub(crate) fn empty() -> Report {
    Report::default()
}

/// Three attempts at the configuration, none of which brought a byte.
pub(crate) fn failed() -> Report {
    let timeline = boot("s3://models/forbidden");
    let mut at_ms = 11.0;
    for attempt in 1..=3 {
        let outcome = match attempt {
            3 => Outcome::Failed("403 `AccessDenied`".to_owned()),
            _ => Outcome::Retried("connection reset".to_owned()),
        };
        let done_ms = at_ms + 30.0;
        timeline.fetch(FetchRecord {
            object: "forbidden/config.json".into(),
            range: 0..65_536,
            stage: "config".into(),
            requested: at(at_ms),
            first_byte: None,
            done: at(done_ms),
            bytes: 0,
            attempt,
            hedge: false,
            outcome,
        });
        timeline.count(Counter::Requests, 1);
        timeline.count(Counter::Retries, u64::from(attempt > 1));
        at_ms = done_ms + 50.0;
    }
    stable(timeline.report())
}

/// All of them, by name.
pub(crate) fn all() -> [(&'static str, Report); 4] {
    [("real", real()), ("tiny", tiny()), ("empty", empty()), ("failed", failed())]
}

impl Start {
    fn report(&self, model: &str, location: &str) -> Report {
        let timeline = boot(location);
        timeline.describe("model", model);
        timeline.set_link(self.link_bytes_per_s);
        timeline.count(Counter::WeightBytes, self.layers * self.layer_bytes + self.head_bytes);
        let planned_ms = self.metadata(&timeline);
        let resident = self.stream(&timeline, planned_ms);
        self.compute(&timeline, planned_ms, &resident);
        stable(timeline.report())
    }

    /// Configuration, tokenizer and headers at once. Gives the moment at which the plan is ready.
    fn metadata(&self, timeline: &Timeline) -> f64 {
        let asked_ms = 11.0;
        let first_ms = asked_ms + self.first_byte_ms;
        timeline.mark_at(Mark::FirstRequest, at(asked_ms));
        timeline.mark_at(Mark::FirstByte, at(first_ms));
        for (stage, object, bytes, took_ms) in [
            ("config", "config.json", 659, 0.1),
            ("tokenizer", "tokenizer.json", 2_031_645, 17.0),
            ("headers", "model.safetensors", 65_536, 0.6),
        ] {
            let done_ms = first_ms + took_ms;
            fetched(timeline, stage, object, 0..bytes, [asked_ms, first_ms, done_ms]);
        }
        timeline.record(Lane::Verify, "config", at(first_ms + 0.1), at(first_ms + 0.3));
        timeline.mark_at(Mark::ConfigRead, at(first_ms + 0.3));
        let parsed_ms = first_ms + 17.0 + self.first_byte_ms * 2.0;
        timeline.record(Lane::Verify, "tokenizer", at(first_ms + 17.0), at(parsed_ms));
        timeline.mark_at(Mark::TokenizerReady, at(parsed_ms));
        timeline.mark_at(Mark::PromptEncoded, at(parsed_ms + 0.4));
        timeline.record(Lane::Verify, "headers", at(first_ms + 0.6), at(first_ms + 1.2));
        timeline.mark_at(Mark::HeadersRead, at(first_ms + 1.2));
        timeline.record(Lane::Verify, "plan", at(first_ms + 1.2), at(first_ms + 1.5));
        timeline.mark_at(Mark::Planned, at(first_ms + 1.5));
        first_ms + 1.5
    }

    /// All weights. Gives the moment at which each stage is resident.
    fn stream(&self, timeline: &Timeline, planned_ms: f64) -> Vec<(String, f64)> {
        let mut waiting = self.ranges();
        let mut open: Vec<Open> = Vec::new();
        let mut resident: Vec<(String, f64)> = Vec::new();
        let mut now_ms = planned_ms;
        while !(waiting.is_empty() && open.is_empty()) {
            while open.len() < self.window
                && let Some(wanted) = waiting.pop_front()
            {
                let jitter_ms = (wanted.number * 7 % 11) as f64;
                open.push(Open { wanted, requested_ms: now_ms, jitter_ms, bytes: 0.0 });
            }
            let from_ms = now_ms;
            let receives = |o: &Open| from_ms >= o.requested_ms + self.first_byte_ms + o.jitter_ms;
            let receivers = open.iter().filter(|open| receives(open)).count().max(1);
            let share = self.link_bytes_per_s as f64 / 1e3 / receivers as f64;
            now_ms += 1.0;
            for receiver in open.iter_mut().filter(|open| receives(open)) {
                let slow = self.hedged == Some(receiver.wanted.number) && !receiver.wanted.hedge;
                receiver.bytes += if slow { share / 8.0 } else { share };
            }
            for number in (0..open.len()).rev() {
                let Some(again) = self.finish(timeline, &open[number], now_ms) else { continue };
                let finished = open.remove(number);
                if let Some(again) = again {
                    open.push(again);
                    continue;
                }
                open.retain(|other| other.wanted.number != finished.wanted.number);
                let stage = finished.wanted.stage;
                match resident.iter_mut().find(|(name, _)| *name == stage) {
                    Some((_, resident_ms)) => *resident_ms = now_ms,
                    None => resident.push((stage, now_ms)),
                }
            }
        }
        timeline.mark_at(Mark::FirstWeightByte, at(planned_ms + self.first_byte_ms));
        timeline.mark_at(Mark::LastWeightByte, at(now_ms));
        timeline.mark_at(Mark::LastLayerResident, at(now_ms));
        resident
    }

    /// `None`: not finished; otherwise the request that follows from it, if one does.
    fn finish(&self, timeline: &Timeline, open: &Open, now_ms: f64) -> Option<Option<Open>> {
        let wanted = &open.wanted;
        let length = (wanted.range.end - wanted.range.start) as f64;
        let cut = self.retried == Some(wanted.number) && wanted.attempt == 1;
        let slow = self.hedged == Some(wanted.number) && !wanted.hedge;
        let enough = if cut { length / 2.0 } else { length };
        let given_up = slow && now_ms - open.requested_ms > 900.0;
        if open.bytes < enough && !given_up {
            return None;
        }
        let outcome = match (cut, slow) {
            (true, _) => Outcome::Retried("connection reset by peer".to_owned()),
            (_, true) => Outcome::Lost,
            _ => Outcome::Complete,
        };
        let first_ms = open.requested_ms + self.first_byte_ms + open.jitter_ms;
        timeline.fetch(FetchRecord {
            object: "model.safetensors".into(),
            range: wanted.range.clone(),
            stage: wanted.stage.as_str().into(),
            requested: at(open.requested_ms),
            first_byte: Some(at(first_ms)),
            done: at(now_ms),
            bytes: enough.min(open.bytes).round() as u64,
            attempt: wanted.attempt,
            hedge: wanted.hedge,
            outcome: outcome.clone(),
        });
        timeline.count(Counter::Requests, 1);
        timeline.count(Counter::BytesFetched, enough.min(open.bytes).round() as u64);
        timeline.count(Counter::Retries, u64::from(cut));
        timeline.count(Counter::Hedges, u64::from(slow));
        timeline.count(Counter::HedgesWon, u64::from(slow));
        if slow {
            timeline.count(Counter::BytesTwice, open.bytes.round() as u64);
        }
        let resumed = if cut { wanted.range.start + enough as u64 } else { wanted.range.start };
        let again =
            Wanted { attempt: 2, hedge: slow, range: resumed..wanted.range.end, ..wanted.clone() };
        let requested_ms = if slow { open.requested_ms + 700.0 } else { now_ms };
        let again = Open { wanted: again, requested_ms, jitter_ms: 3.0, bytes: 0.0 };
        Some((cut || slow).then_some(again))
    }

    fn ranges(&self) -> VecDeque<Wanted> {
        let mut wanted = VecDeque::new();
        let mut start = 65_536;
        let rows = [("embedding rows".to_owned(), 57_344)];
        let layers = (0..self.layers).map(|k| (format!("layer {k}"), self.layer_bytes));
        let head = [("head".to_owned(), self.head_bytes)];
        for (stage, bytes) in rows.into_iter().chain(layers).chain(head) {
            let end = start + bytes;
            while start < end {
                let range = start..end.min(start + self.range_bytes);
                start = range.end;
                let number = wanted.len();
                let stage = stage.clone();
                wanted.push_back(Wanted { number, range, stage, attempt: 1, hedge: false });
            }
        }
        wanted
    }

    fn compute(&self, timeline: &Timeline, planned_ms: f64, resident: &[(String, f64)]) {
        let resident_ms = |stage: &str| {
            resident.iter().find(|(name, _)| name == stage).map_or(planned_ms, |(_, ms)| *ms)
        };
        let mut free_ms = resident_ms("embedding rows");
        for k in 0..self.layers {
            let stage = format!("layer {k}");
            let from_ms = free_ms.max(resident_ms(&stage));
            free_ms = from_ms + self.layer_ms;
            timeline.record(Lane::Compute, &stage, at(from_ms), at(free_ms));
            timeline.mark_at(Mark::FirstLayerResident, at(resident_ms(&stage)));
            timeline.mark_at(Mark::FirstLayerComputed, at(free_ms));
        }
        let from_ms = free_ms.max(resident_ms("head"));
        let first_token_ms = from_ms + self.layer_ms / 3.0;
        timeline.record(Lane::Compute, "head", at(from_ms), at(first_token_ms));
        timeline.mark_at(Mark::FirstToken, at(first_token_ms));
        timeline.mark_at(Mark::LastToken, at(first_token_ms + self.layer_ms * 60.0));
        timeline.count(Counter::Tokens, 64);
        timeline.count(Counter::PromptTokens, 32);
    }
}

#[derive(Clone)]
struct Wanted {
    number: usize,
    range: Range<u64>,
    stage: String,
    attempt: u32,
    hedge: bool,
}

struct Open {
    wanted: Wanted,
    requested_ms: f64,
    jitter_ms: f64,
    bytes: f64,
}

fn boot(location: &str) -> Timeline {
    let timeline = Timeline::start(None);
    timeline.describe("location", location);
    timeline.describe("device", "cpu");
    timeline.mark_at(Mark::Main, at(1.9));
    timeline.record(Lane::Boot, "runtime", at(1.9), at(2.4));
    timeline.mark_at(Mark::RuntimeUp, at(2.4));
    timeline.record(Lane::Boot, "credentials", at(2.4), at(3.1));
    timeline.mark_at(Mark::CredentialsResolved, at(3.1));
    timeline.record(Lane::Boot, "connect", at(3.1), at(11.0));
    timeline.count(Counter::Connections, 16);
    timeline
}

fn fetched(timeline: &Timeline, stage: &str, object: &str, range: Range<u64>, ms: [f64; 3]) {
    let bytes = range.end - range.start;
    let [requested, first_byte, done] = ms.map(at);
    timeline.fetch(FetchRecord {
        object: object.into(),
        range,
        stage: stage.into(),
        requested,
        first_byte: Some(first_byte),
        done,
        bytes,
        attempt: 1,
        hedge: false,
        outcome: Outcome::Complete,
    });
    timeline.count(Counter::Requests, 1);
    timeline.count(Counter::BytesFetched, bytes);
}

fn at(ms: f64) -> At {
    At::from_ns((ms * 1e6).round() as u64)
}

/// The wall clock is the one thing that differs from run to run.
fn stable(report: Report) -> Report {
    Report { started_unix_ms: 1_767_225_600_000, ..report }
}
