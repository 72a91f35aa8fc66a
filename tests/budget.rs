//! What a cold start costs, counted: requests, round trips, bytes fetched twice, copies. No figure depends on a clock,
//! so that a machine of any speed can tell that a start has become slower. The budgets, and their reasons, are in
//! `budget.toml`; system calls and page faults are counted in `boot.rs`.
//!
//! Round trips are counted by a server that holds every answer until the process is idle: what it has asked for by then
//! is all that it can ask for without an answer, and makes one round.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that tells what it found")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use firstlight_bucket::{Bucket, Objects, RequestRecord, Running, Turnstile};
use firstlight_timeline::{Counter, Report};
use serde::Deserialize;
use support::demo_model::demo_model;
use support::process::Firstlight;
use support::random_model::RandomModel;

#[test]
fn the_demo_model_starts_within_its_budget() {
    let model = demo_model();
    budgets().demo.assert_holds_for(&model);
}

#[test]
fn a_model_in_shards_starts_within_its_budget() {
    let cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let model = RandomModel::tiny().shards(3).folder_in(&cache).unwrap();
    budgets().sharded.assert_holds_for(&model);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Budgets {
    demo: Cost,
    sharded: Cost,
}

/// What is counted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cost {
    requests: f64,
    /// The request for the first weights is in this round.
    rounds_before_weights: f64,
    /// Bytes that were asked for more than once.
    refetched_bytes: f64,
    /// How often a byte of weights is copied in this process on its way from the network to its place.
    copies_a_byte: f64,
}

fn budgets() -> Budgets {
    toml::from_str(include_str!("budget.toml")).expect("it is checked by this test")
}

impl Cost {
    /// This is the budget of a start of `model`. Where the server was not given a processor for long, requests of one
    /// round are taken for several, never the other way round: the least of some starts counts.
    fn assert_holds_for(&self, model: &Path) {
        let mut found = Start::of(model).cost();
        for _ in 1..STARTS {
            if found.rounds_before_weights > self.rounds_before_weights {
                found = Start::of(model).cost();
            }
        }
        self.assert_holds(&found);
    }

    fn assert_holds(&self, found: &Self) {
        println!("{found:#?}");
        for ((name, budget), (_, found)) in self.figures().into_iter().zip(found.figures()) {
            assert!(found <= budget, "{name}: {found}, over the budget of {budget}");
            let low = budget * WORTH_NOTING;
            assert!(found >= low, "{name}: {found} of {budget}: lower the budget in budget.toml");
        }
    }

    fn figures(&self) -> [(&'static str, f64); 4] {
        [
            ("requests", self.requests),
            ("rounds before weights", self.rounds_before_weights),
            ("refetched bytes", self.refetched_bytes),
            ("copies a byte", self.copies_a_byte),
        ]
    }
}

/// A cold start whose answers came in rounds.
struct Start {
    server: Running,
    /// The requests of each round.
    rounds: Vec<Vec<RequestRecord>>,
    report: Report,
}

impl Start {
    fn of(model: &Path) -> Self {
        let turnstile = Turnstile::default();
        let objects = Objects::new();
        objects.serve_folder("models", "it/", model).unwrap();
        let server = Bucket::builder().objects(objects).turnstile(&turnstile);
        let server = server.start_on_own_thread("127.0.0.1:0").unwrap();
        let line = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
        let mut process = spawn(&server, line.path());
        let rounds = rounds(&mut process, &server, &turnstile);
        assert!(process.wait().unwrap().success());
        let report = serde_json::from_str(&fs::read_to_string(line.path()).unwrap()).unwrap();
        Self { server, rounds, report }
    }

    fn cost(&self) -> Cost {
        let counted = |counter| self.report.counter(counter) as f64;
        let requests = self.server.counters().requests;
        assert_eq!(self.report.counter(Counter::Requests), requests, "as both sides count");
        assert_eq!(self.report.counter(Counter::Retries), 0, "nothing goes wrong");
        assert_eq!(self.report.counter(Counter::BytesTwice), 0, "nothing goes wrong");
        Cost {
            requests: requests as f64,
            rounds_before_weights: self.rounds_before_weights() as f64,
            refetched_bytes: refetched_bytes(&self.server.requests()) as f64,
            // What comes with the head of an answer is copied, which differs by packets: in whole tenths.
            copies_a_byte: (counted(Counter::BytesCopied) / counted(Counter::WeightBytes) * 10.0)
                .ceil()
                / 10.0,
        }
    }

    fn rounds_before_weights(&self) -> usize {
        let weights = |request: &RequestRecord| {
            request.key.ends_with(".safetensors")
                && request.range.as_ref().is_some_and(|range| range.start > 0)
        };
        1 + self.rounds.iter().position(|round| round.iter().any(weights)).unwrap()
    }
}

fn spawn(server: &Running, line: &Path) -> Child {
    let run = ["run", "s3://models/it", "Once upon a time", "--temperature=0", "--max-tokens=2"];
    // Held answers are no faults.
    let patient = ["--stall-ms=600000", "--hedge-percent=0", "--timeline"];
    let run = Firstlight::new(run.iter().chain(&patient).copied().chain([line.to_str().unwrap()]));
    let mut command = run.envs(server.environment()).into_command();
    command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
}

/// Lets the requests of `process` go whenever it can do nothing without an answer, until it ends.
fn rounds(process: &mut Child, server: &Running, turnstile: &Turnstile) -> Vec<Vec<RequestRecord>> {
    let (mut rounds, mut before) = (Vec::new(), 0);
    while process.try_wait().unwrap().is_none() {
        let stuck = turnstile.waiting() > 0 && turnstile.answering() == 0 && is_idle(process.id());
        if stuck {
            let requests = server.requests();
            rounds.push(requests[before..].to_vec());
            before = requests.len();
            turnstile.release();
        }
        thread::sleep(GLANCE);
    }
    rounds
}

/// Whether no thread of a process has run for a while, or wants to.
fn is_idle(process: u32) -> bool {
    let first = switches(process);
    first.is_some()
        && (0..GLANCES).all(|_| {
            thread::sleep(GLANCE);
            switches(process) == first
        })
}

/// How often each thread has been switched to and from; `None` if one of them runs, or has ended meanwhile.
fn switches(process: u32) -> Option<BTreeMap<PathBuf, String>> {
    let mut switches = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{process}/task")).ok()? {
        let status = task.ok()?.path().join("status");
        let text = fs::read_to_string(&status).ok()?;
        let sleeps = text.lines().any(|line| line.starts_with("State:\tS"));
        let counts = text.lines().filter(|line| line.contains("_switches:"));
        switches.insert(status, counts.collect());
        if !sleeps {
            return None;
        }
    }
    Some(switches)
}

/// Bytes that were asked for again, of all objects.
fn refetched_bytes(requests: &[RequestRecord]) -> u64 {
    let mut ranges = BTreeMap::<&str, Vec<Range<u64>>>::new();
    for request in requests {
        let sent =
            request.range.as_ref().map(|range| range.start..range.start + request.bytes_sent);
        ranges.entry(&request.key).or_default().extend(sent);
    }
    ranges.into_values().map(overlap_bytes).sum()
}

/// The bytes of `ranges` beyond those of their union.
fn overlap_bytes(mut ranges: Vec<Range<u64>>) -> u64 {
    ranges.sort_by_key(|range| range.start);
    let (mut covered_to, mut overlap) = (0, 0);
    for range in ranges {
        overlap += covered_to.min(range.end).saturating_sub(range.start);
        covered_to = covered_to.max(range.end);
    }
    overlap
}

/// Starts that may be tried.
const STARTS: usize = 3;

/// A budget of which less than this is used can be lowered.
const WORTH_NOTING: f64 = 0.9;

/// So many looks at a process, so far apart, find it asleep before it counts as idle: a byte that lies in a socket wakes
/// it within microseconds.
const GLANCES: u32 = 5;
const GLANCE: Duration = Duration::from_millis(3);
