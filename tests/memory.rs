//! What a server says that it needs of memory, against what it has at most.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::thread;

use firstlight_bucket::{Bucket, Objects, Running};
use serde_json::{Value, json};
use support::census::peak_bytes;
use support::demo_model::demo_model;
use support::serving::Serving;

/// As many answers at once as there may be, each of which fills its context; then prompts that are scored, row by row.
#[test]
fn no_load_takes_more_than_was_announced() {
    let store = store();
    let server =
        Serving::start_with(&["s3://models/demo-model"], |it| it.envs(store.environment()));
    let status = server.until(|status| status["state"] == "READY");
    let announced = &status["memory"];
    let bytes = |name: &str| announced[name].as_u64().unwrap();
    let parts = ["weight_bytes", "cache_bytes", "result_bytes"].map(bytes);
    let all: u64 = parts.iter().sum();
    assert!(server.log().contains(&format!("needs {all} bytes of memory")), "{}", server.log());
    let before = peak_bytes(server.id());
    thread::scope(|scope| {
        for seed in 0..SEQUENCES {
            let server = &server;
            scope.spawn(move || server.post("/v1/completions", &filling(seed)).ok());
        }
    });
    for seed in 0..4 {
        server.post("/v1/completions", &scored(seed)).ok();
    }
    let peak = peak_bytes(server.id());
    println!(
        "announced {all} ({announced}), at most {peak}, {before} of it before the first request"
    );
    assert!(peak <= all + PROGRAM_BYTES, "{peak} bytes, announced were {all}");
    let cache = bytes("cache_bytes");
    assert!(peak - before >= cache - cache / 8, "the cache was to be filled: {before} to {peak}");
}

/// A prompt that leaves room for few tokens. All of them differ, so that nothing could be shared.
fn filling(seed: u64) -> Value {
    json!({
        "model": "demo-model", "prompt": prompt(seed), "max_tokens": 500, "temperature": 1.0,
        "seed": seed, "logit_bias": {"1": -100}, "logprobs": 5,
    })
}

fn scored(seed: u64) -> Value {
    json!({"model": "demo-model", "prompt": prompt(seed), "max_tokens": 0, "echo": true, "logprobs": 5})
}

/// 440 tokens.
fn prompt(seed: u64) -> Vec<u64> {
    (0..440).map(|n| 100 + (n * 7 + seed * 13) % 1900).collect()
}

fn store() -> Running {
    let objects = Objects::new();
    objects.serve_folder("models", "demo-model/", &demo_model()).unwrap();
    Bucket::builder().objects(objects).start_on_own_thread("127.0.0.1:0").unwrap()
}

/// What the server takes at once if nothing else is said.
const SEQUENCES: u64 = 64;

/// What is no part of the announcement: the program itself, its threads' stacks, the tokenizer, and what 64 requests
/// and their answers with probabilities keep.
const PROGRAM_BYTES: u64 = 64 << 20;
