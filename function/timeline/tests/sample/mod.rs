//! Starts made up from a link and a model, so that the pictures have something to show.
//!
//! The link is shared evenly by the requests that have had their first byte, a millisecond at a time.

use std::ops::Range;

use firstlight_timeline::{At, Counter, FetchRecord, Lane, Mark, Outcome, Report, Timeline};

/// A model on a link.
struct Start {
    layers: u64,
    layer_bytes: u64,
    head_bytes: u64,
    range_bytes: u64,
    link_bytes_per_s: u64,
    first_byte_us: u64,
    /// Requests in flight.
    window: usize,
    /// The range of which the first attempt is cut off half-way.
    retried: Option<usize>,
    /// The range that is slow enough to be hedged.
    hedged: Option<usize>,
    /// Arithmetic for each layer, for the whole prompt.
    layer_us: u64,
}

/// 24 layers and a tied head of 272 MB, 988 MB in all, on 1 Gbit/s.
pub(crate) fn real() -> Report {
    let start = Start {
        layers: 24,
        layer_bytes: 29_818_624,
        head_bytes: 272_269_312,
        range_bytes: 8 << 20,
        link_bytes_per_s: 125_000_000,
        first_byte_us: 30_000,
        window: 16,
        retried: Some(40),
        hedged: Some(77),
        layer_us: 62_000,
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
        first_byte_us: 12_000,
        window: 8,
        retried: None,
        hedged: None,
        layer_us: 900,
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
    let mut at_us = 11_000;
    for attempt in 1..=3 {
        let outcome = match attempt {
            3 => Outcome::Failed("403 `AccessDenied`".to_owned()),
            _ => Outcome::Retried("connection reset".to_owned()),
        };
        let done_us = at_us + 30_000;
        timeline.fetch(FetchRecord {
            object: "forbidden/config.json".into(),
            range: 0..65_536,
            stage: "config".into(),
            requested: at(at_us),
            first_byte: None,
            done: at(done_us),
            bytes: 0,
            attempt,
            hedge: false,
            outcome,
        });
        timeline.count(Counter::Requests, 1);
        timeline.count(Counter::Retries, u64::from(attempt > 1));
        at_us = done_us + 50_000;
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
        let planned_us = self.metadata(&timeline);
        let resident = self.stream(&timeline, planned_us);
        self.compute(&timeline, planned_us, &resident);
        stable(timeline.report())
    }

    /// Configuration, tokenizer and headers at once. Gives the moment at which the plan is ready.
    fn metadata(&self, timeline: &Timeline) -> u64 {
        let asked_us = 11_000;
        let first_us = asked_us + self.first_byte_us;
        timeline.mark_at(Mark::FirstRequest, at(asked_us));
        timeline.mark_at(Mark::FirstByte, at(first_us));
        for (stage, object, bytes, took_us) in [
            ("config", "config.json", 659, 100),
            ("tokenizer", "tokenizer.json", 2_031_645, 17_000),
            ("headers", "model.safetensors", 65_536, 600),
        ] {
            fetched(timeline, stage, object, bytes, [asked_us, first_us, first_us + took_us]);
        }
        let parsed_us = first_us + 17_000 + self.first_byte_us * 2;
        for (label, from_us, to_us, mark) in [
            ("config", first_us + 100, first_us + 300, Mark::ConfigRead),
            ("tokenizer", first_us + 17_000, parsed_us, Mark::TokenizerReady),
            ("headers", first_us + 600, first_us + 1_200, Mark::HeadersRead),
            ("plan", first_us + 1_200, first_us + 1_500, Mark::Planned),
        ] {
            timeline.record(Lane::Verify, label, at(from_us), at(to_us));
            timeline.mark_at(mark, at(to_us));
        }
        timeline.mark_at(Mark::PromptEncoded, at(parsed_us + 400));
        first_us + 1_500
    }

    /// All weights. Gives the moment at which each stage is resident.
    fn stream(&self, timeline: &Timeline, planned_us: u64) -> Vec<(String, u64)> {
        let mut waiting = self.ranges();
        let mut open: Vec<Open> = Vec::new();
        let mut resident: Vec<(String, u64)> = Vec::new();
        let mut now_us = planned_us;
        while !(waiting.is_empty() && open.is_empty()) {
            let room = self.window.saturating_sub(open.len()).min(waiting.len());
            open.extend(waiting.drain(..room).map(|wanted| Open::new(wanted, now_us)));
            self.hedge(timeline, &mut open, now_us);
            self.receive(&mut open, now_us);
            now_us += 1_000;
            let (over, still): (Vec<_>, Vec<_>) = open.drain(..).partition(|o| self.is_over(o));
            open = still;
            for range in over {
                if self.is_cut(&range.wanted) {
                    let why = Outcome::Retried("connection reset by peer".to_owned());
                    self.note(timeline, &range, now_us, why);
                    timeline.count(Counter::Retries, 1);
                    open.push(range.resumed(now_us));
                    continue;
                }
                self.note(timeline, &range, now_us, Outcome::Complete);
                resident.retain(|(stage, _)| *stage != range.wanted.stage);
                for twin in open.extract_if(.., |o| o.wanted.number == range.wanted.number) {
                    self.note(timeline, &twin, now_us, Outcome::Lost);
                    timeline.count(Counter::HedgesWon, 1);
                    timeline.count(Counter::BytesTwice, twin.bytes);
                }
                resident.push((range.wanted.stage, now_us));
            }
        }
        timeline.mark_at(Mark::FirstWeightByte, at(planned_us + self.first_byte_us));
        timeline.mark_at(Mark::LastWeightByte, at(now_us));
        timeline.mark_at(Mark::LastLayerResident, at(now_us));
        resident
    }

    /// Doubles the slow range once it has been open for long.
    fn hedge(&self, timeline: &Timeline, open: &mut Vec<Open>, now_us: u64) {
        let mut doubles = open.iter().filter(|o| self.hedged == Some(o.wanted.number));
        let (Some(slow), None) = (doubles.next(), doubles.next()) else { return };
        if now_us - slow.requested_us > 700_000 {
            let hedge = Wanted { attempt: 2, hedge: true, ..slow.wanted.clone() };
            open.push(Open::new(hedge, now_us));
            timeline.count(Counter::Hedges, 1);
        }
    }

    /// Shares a millisecond of the link among those that have had their first byte.
    fn receive(&self, open: &mut [Open], now_us: u64) {
        let first_us = |range: &Open| self.first_us(range);
        let ready: Vec<_> = open.iter_mut().filter(|o| now_us >= first_us(o)).collect();
        let share = self.link_bytes_per_s / 1_000 / (ready.len() as u64).max(1);
        for range in ready {
            let is_slow = self.hedged == Some(range.wanted.number) && !range.wanted.hedge;
            range.bytes =
                range.wanted.bytes().min(range.bytes + share / if is_slow { 8 } else { 1 });
        }
    }

    fn first_us(&self, range: &Open) -> u64 {
        let jitter_us = range.wanted.number as u64 * 7 % 11 * 1_000;
        range.requested_us + self.first_byte_us + jitter_us
    }

    fn is_cut(&self, wanted: &Wanted) -> bool {
        self.retried == Some(wanted.number) && wanted.attempt == 1
    }

    fn is_over(&self, range: &Open) -> bool {
        let bytes = range.wanted.bytes();
        range.bytes >= if self.is_cut(&range.wanted) { bytes / 2 } else { bytes }
    }

    fn note(&self, timeline: &Timeline, range: &Open, now_us: u64, outcome: Outcome) {
        timeline.fetch(FetchRecord {
            object: "model.safetensors".into(),
            range: range.wanted.range.clone(),
            stage: range.wanted.stage.as_str().into(),
            requested: at(range.requested_us),
            first_byte: Some(at(self.first_us(range))),
            done: at(now_us),
            bytes: range.bytes,
            attempt: range.wanted.attempt,
            hedge: range.wanted.hedge,
            outcome,
        });
        timeline.count(Counter::Requests, 1);
        timeline.count(Counter::BytesFetched, range.bytes);
    }

    fn ranges(&self) -> Vec<Wanted> {
        let mut wanted = Vec::new();
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
                wanted.push(Wanted { number, range, stage, attempt: 1, hedge: false });
            }
        }
        wanted
    }

    fn compute(&self, timeline: &Timeline, planned_us: u64, resident: &[(String, u64)]) {
        let resident_us = |stage: &str| {
            resident.iter().find(|(name, _)| name == stage).map_or(planned_us, |(_, us)| *us)
        };
        let mut free_us = resident_us("embedding rows");
        for k in 0..self.layers {
            let stage = format!("layer {k}");
            let from_us = free_us.max(resident_us(&stage));
            free_us = from_us + self.layer_us;
            timeline.record(Lane::Compute, &stage, at(from_us), at(free_us));
            timeline.mark_at(Mark::FirstLayerResident, at(resident_us(&stage)));
            timeline.mark_at(Mark::FirstLayerComputed, at(free_us));
        }
        let from_us = free_us.max(resident_us("head"));
        let first_token_us = from_us + self.layer_us / 3;
        timeline.record(Lane::Compute, "head", at(from_us), at(first_token_us));
        timeline.mark_at(Mark::FirstToken, at(first_token_us));
        timeline.mark_at(Mark::LastToken, at(first_token_us + self.layer_us * 60));
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

impl Wanted {
    fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }
}

struct Open {
    wanted: Wanted,
    requested_us: u64,
    bytes: u64,
}

impl Open {
    fn new(wanted: Wanted, requested_us: u64) -> Self {
        Self { wanted, requested_us, bytes: 0 }
    }

    fn resumed(self, now_us: u64) -> Self {
        let range = self.wanted.range.start + self.bytes..self.wanted.range.end;
        Self::new(Wanted { attempt: self.wanted.attempt + 1, range, ..self.wanted }, now_us)
    }
}

fn boot(location: &str) -> Timeline {
    let timeline = Timeline::start(None);
    timeline.describe("location", location);
    timeline.describe("device", "cpu");
    timeline.mark_at(Mark::Main, at(1_900));
    timeline.mark_at(Mark::RuntimeUp, at(2_400));
    timeline.record(Lane::Boot, "credentials", at(2_400), at(3_100));
    timeline.record(Lane::Boot, "connect", at(3_100), at(11_000));
    timeline
}

fn fetched(timeline: &Timeline, stage: &str, object: &str, bytes: u64, us: [u64; 3]) {
    let [requested, first_byte, done] = us.map(at);
    timeline.fetch(FetchRecord {
        object: object.into(),
        range: 0..bytes,
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

fn at(us: u64) -> At {
    At::from_ns(us * 1_000)
}

/// The wall clock is the one thing that differs from run to run.
fn stable(report: Report) -> Report {
    Report { started_unix_ms: 1_767_225_600_000, ..report }
}
