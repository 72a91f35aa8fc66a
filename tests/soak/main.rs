//! Sixty-four clients that come and go as they like, against the real binary over HTTP. When they are gone, nothing of
//! them is left: no answer that is computed or waits, no block of the cache, no thread, no open file, no memory that
//! grows; and what is answered is what was answered before.
//!
//! The clients are there before the load: the store holds its answers back until there are as many requests. What each
//! asks for, and when it goes away, is drawn from a seed of its own. A second server, a twin of the first, is asked
//! once and then left alone: what it holds at the end is what the first may hold.
//!
//! `cargo test --test soak` takes twenty seconds, half of them for threads to end that were idle. The full length:
//!
//! ```text
//! FIRSTLIGHT_SOAK_S=60 cargo test --release --test soak -- --nocapture
//! ```
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that tells what it found")]

mod client;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use std::{env, thread};

use client::Client;
use firstlight_bucket::{Bucket, Objects, Running, Turnstile};
use rustix::process::Signal;
use serde_json::{Value, json};
use support::census::{Census, resident_bytes};
use support::demo_model::{demo_model, references};
use support::serving::Serving;

#[test]
fn sixty_four_clients_that_come_and_go_leave_nothing_behind() {
    let turnstile = Turnstile::default();
    let store = store(&turnstile);
    let (mut server, twin) = (serving(&store), serving(&store));
    let soak = Soak::of(&server);
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let client = Client::new(number, &soak);
            scope.spawn(move || client.comes_and_goes());
        }
        soak.until_as_many_have_asked();
        for it in [&server, &twin] {
            it.until(|status| {
                turnstile.release();
                status["state"] == "READY"
            });
        }
    });
    soak.assert_saw_everything();
    assert_is_idle(&server);
    for (prompt, expected) in soak.references() {
        for server in [&server, &twin] {
            assert_eq!(server.post("/v1/completions", &greedy(prompt)).ok().text(), *expected);
        }
    }
    assert_holds_no_more(&server, &twin);
    server.signal(Signal::TERM);
    assert_eq!(server.ended().code(), Some(0));
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

/// What the clients share.
struct Soak<'a> {
    server: &'a Serving,
    references: Vec<(String, String)>,
    end: Instant,
    /// How often what happened.
    tally: Mutex<BTreeMap<&'static str, usize>>,
}

impl<'a> Soak<'a> {
    fn of(server: &'a Serving) -> Self {
        let end = Instant::now() + length();
        Self { server, references: references(), end, tally: Mutex::default() }
    }

    /// Prompts with their greedy continuations.
    fn references(&self) -> &[(String, String)] {
        &self.references
    }

    fn goes_on(&self) -> bool {
        Instant::now() < self.end
    }

    fn note(&self, what: &'static str) {
        *self.tally.lock().unwrap().entry(what).or_default() += 1;
    }

    fn noted(&self, what: &str) -> usize {
        self.tally.lock().unwrap().get(what).copied().unwrap_or(0)
    }

    fn until_as_many_have_asked(&self) {
        let deadline = Instant::now() + LIMIT;
        while self.noted("asked") < CLIENTS {
            assert!(Instant::now() < deadline, "{} have asked", self.noted("asked"));
            thread::sleep(POLL);
        }
        let status = self.server.status();
        assert_eq!(
            (&status["state"], &status["bytes"]["fetched"]),
            (&json!("STARTING"), &json!(0))
        );
    }

    /// Whatever can happen to a client happened to some.
    fn assert_saw_everything(&self) {
        let tally = self.tally.lock().unwrap();
        println!("{} clients for {:?}: {tally:?}", CLIENTS, length());
        for what in client::EVENTS {
            assert!(tally.contains_key(what), "never: {what}");
        }
    }
}

fn assert_is_idle(server: &Serving) {
    server.until(|status| status["requests_in_flight"] == 0);
    let figures =
        ["vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"];
    let deadline = Instant::now() + LIMIT;
    loop {
        let metrics = server.get("/metrics").ok().body;
        let found = figures.map(|name| metric(&metrics, name));
        if found.iter().all(|figure| *figure == 0.0) {
            let done = |name| metric(&metrics, name);
            println!(
                "{} answers finished, {} were cancelled, {} lost their place for a while; {} tokens in {} passes",
                done("vllm:request_success_total"),
                done("firstlight_cancelled_total"),
                done("vllm:num_preemptions_total"),
                done("vllm:generation_tokens_total"),
                done("firstlight_engine_steps_total"),
            );
            return;
        }
        assert!(Instant::now() < deadline, "{figures:?} stay {found:?}");
        thread::sleep(POLL);
    }
}

/// The sum over all labels.
fn metric(text: &str, name: &str) -> f64 {
    let lines = text.lines().filter_map(|line| line.strip_prefix(name));
    let values = lines.filter(|rest| rest.starts_with(['{', ' ']));
    values.map(|rest| rest.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// Threads that were started for a moment, and connections to the store that may be used again, end when they were idle
/// for long enough.
fn assert_holds_no_more(server: &Serving, twin: &Serving) {
    let deadline = Instant::now() + LIMIT;
    let (mut found, mut allowed) = (Census::of(server.id()), Census::of(twin.id()));
    while found != allowed {
        assert!(Instant::now() < deadline, "it holds {found:#?}, its twin {allowed:#?}");
        thread::sleep(10 * POLL);
        (found, allowed) = (Census::of(server.id()), Census::of(twin.id()));
    }
    println!("{found:?}");
    let (found, twin) = (resident_bytes(server.id()), resident_bytes(twin.id()));
    println!("{} MiB are resident, of its twin {}", found >> 20, twin >> 20);
    assert!(
        found <= twin + KV_BYTES + LEFT_BYTES,
        "{found} bytes are resident, of its twin {twin}"
    );
}

/// The demo model with a chat template, behind a turnstile.
fn store(turnstile: &Turnstile) -> Running {
    let objects = Objects::new();
    objects.serve_folder("models", "demo-model/", &demo_model()).unwrap();
    let template = "<s>{% for message in messages %}{{ message.content }}{% endfor %}";
    objects.insert("models", "demo-model/chat_template.jinja", template);
    let bucket = Bucket::builder().objects(objects).turnstile(turnstile);
    bucket.start_on_own_thread("127.0.0.1:0").unwrap()
}

/// Room for fewer answers than are asked for, and for fewer positions than those would fill.
fn serving(store: &Running) -> Serving {
    let kv = format!("--kv-cache-memory={KV_BYTES_OPTION}");
    let arguments = [
        "s3://models/demo-model",
        "--max-num-seqs=16",
        "--max-waiting=64",
        "--body-limit=64kB",
        "--max-answer-tokens=400",
        &kv,
    ];
    Serving::start_with(&arguments, |command| command.envs(store.environment()))
}

fn greedy(prompt: &str) -> Value {
    json!({"model": "demo-model", "prompt": prompt, "temperature": 0, "max_tokens": 48})
}

/// For how long clients come.
fn length() -> Duration {
    let asked = env::var("FIRSTLIGHT_SOAK_S").ok();
    asked.map_or(SHORT, |seconds| Duration::from_secs(seconds.parse().expect("it is in seconds")))
}

const CLIENTS: usize = 64;

/// Each client has some rounds, in a debug build on a busy machine.
const SHORT: Duration = Duration::from_secs(8);

/// 3 of 16 answers find room for the whole context of 512, at 2,560 bytes a position.
const KV_BYTES: u64 = 4 << 20;
const KV_BYTES_OPTION: &str = "4MiB";

/// What the allocator keeps of requests and answers that came at once: 12 MiB after eight seconds, and after sixty.
const LEFT_BYTES: u64 = 32 << 20;

/// No answer of a small model takes longer, and no idle thread or connection stays for longer.
const LIMIT: Duration = Duration::from_mins(2);

const POLL: Duration = Duration::from_millis(5);
