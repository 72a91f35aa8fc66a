//! A published encoder, from a package registry: all-MiniLM-L6-v2, as its authors' code has it, by the real binary.

use std::fs;
use std::path::{Path, PathBuf};

use firstlight_bucket::{Bucket, Objects};
use libtest_mimic::{Arguments, run};
use serde_json::{Value, json};

use support::needs::trial;
use support::process::Firstlight;
use support::published::minilm;
use support::serving::Serving;

mod support;

fn main() {
    let trials = vec![
        trial("embeddings_are_the_references", minilm, |folder: PathBuf| agrees(&folder)),
        trial("a_text_is_the_same_alone_and_among_many", minilm, |folder: PathBuf| {
            same_among_many(&folder);
        }),
        trial("every_instruction_set_gives_the_same", minilm, |folder: PathBuf| {
            same_by_all_instructions(&folder);
        }),
        trial("streamed_embeddings_are_those_of_the_folder", minilm, |folder: PathBuf| {
            same_streamed(&folder);
        }),
        trial("a_long_text_is_refused_or_cut", minilm, |folder: PathBuf| long_texts(&folder)),
        trial("served_embeddings_are_those_of_the_command", minilm, |folder: PathBuf| {
            same_served(&folder);
        }),
    ];
    run(&Arguments::from_args(), trials).exit();
}

/// One line of what the binary writes.
#[derive(Debug, PartialEq)]
struct Embedding {
    tokens: u64,
    vector: Vec<f64>,
}

fn embed(model: &str, texts: &[&str], environment: &[(&'static str, String)]) -> Vec<Embedding> {
    let arguments = ["embed", model, "--"].into_iter().chain(texts.iter().copied());
    let run = Firstlight::new(arguments).envs(environment.iter().cloned()).run().success();
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("a JSON object");
        let vector = line["embedding"].as_array().expect("a list");
        let vector = vector.iter().map(|x| x.as_f64().expect("a number")).collect();
        Embedding { tokens: line["tokens"].as_u64().expect("a number"), vector }
    };
    run.stdout.lines().map(line).collect()
}

fn text_of(folder: &Path) -> &str {
    folder.to_str().expect("UTF-8")
}

/// What transformers computes in f32, pooled and normalised, to 1e-5: six decimals are given.
fn agrees(folder: &Path) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/references");
    let file = fs::read(path.join("all-MiniLM-L6-v2.json")).expect("it is committed");
    let references: Value = serde_json::from_slice(&file).expect("JSON");
    let items = references["items"].as_array().expect("a list");
    let texts: Vec<_> = items.iter().map(|item| item["text"].as_str().expect("a text")).collect();
    let found = embed(text_of(folder), &texts, &[]);
    assert_eq!(found.len(), items.len());
    for (item, found) in items.iter().zip(&found) {
        let text = &item["text"];
        let ids = item["input_ids"].as_array().expect("a list");
        assert_eq!(found.tokens, ids.len() as u64, "{text}");
        let expected = item["embedding_first8"].as_array().expect("a list");
        for (expected, found) in expected.iter().zip(&found.vector) {
            let expected = expected.as_f64().expect("a number");
            assert!((expected - found).abs() < 1e-5, "{text}: {found}, not {expected}");
        }
        let length = found.vector.iter().map(|x| x * x).sum::<f64>().sqrt();
        assert!((length - 1.0).abs() < 1e-5 && found.vector.len() == 384, "{text}: {length}");
    }
}

/// Longer than a pass takes together, and of any length.
fn same_among_many(folder: &Path) {
    let words = "the quick brown fox jumps over a lazy dog while it rains in the old harbour town ";
    let text = |length: usize| words.repeat(5).chars().take(length * 7 % 390 + 1).collect();
    let texts: Vec<String> = (0..60).map(text).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let together = embed(text_of(folder), &texts, &[]);
    assert_eq!(together.len(), 60);
    for at in [0, 17, 59] {
        assert_eq!(
            embed(text_of(folder), &texts[at..=at], &[])[0],
            together[at],
            "{:?}",
            texts[at]
        );
    }
}

fn same_by_all_instructions(folder: &Path) {
    let of = |isa: &str| {
        let environment = [("FIRSTLIGHT_ISA", isa.to_owned())];
        embed(text_of(folder), &["A sentence.", "Another one, a little longer."], &environment)
    };
    let expected = of("portable");
    for isa in firstlight_device::Isa::available() {
        for (found, expected) in of(isa.name()).iter().zip(&expected) {
            let far = |(a, b): (&f64, &f64)| (a - b).abs() > 1e-6;
            assert!(!found.vector.iter().zip(&expected.vector).any(far), "{isa}");
        }
    }
}

fn same_streamed(folder: &Path) {
    let objects = Objects::new();
    objects.serve_folder("models", "minilm/", folder).expect("it is there");
    let bucket = Bucket::builder().objects(objects).start_on_own_thread("127.0.0.1:0");
    let bucket = bucket.expect("a port");
    let texts = ["Each sentence is converted", " ", "na\u{ef}ve caf\u{e9}"];
    let streamed = embed("s3://models/minilm", &texts, &bucket.environment());
    assert_eq!(streamed, embed(text_of(folder), &texts, &[]));
    assert_eq!(streamed[1].tokens, 2, "what stands around every text");
}

/// The model takes 256 tokens, by `sentence_bert_config.json`.
fn long_texts(folder: &Path) {
    let long = "word ".repeat(300);
    let refused = Firstlight::new(["embed", text_of(folder), &long]).run();
    assert!(!refused.status.success());
    assert!(refused.stderr.contains("302 tokens, and the model takes 256"), "{}", refused.stderr);
    let cut = embed(text_of(folder), &[&long], &[("FIRSTLIGHT_TRUNCATE", "true".to_owned())]);
    let short = embed(text_of(folder), &[&"word ".repeat(254)], &[]);
    assert_eq!(cut, short);
    let nothing = Firstlight::new(["embed", text_of(folder), "one", ""]).run().failure();
    assert!(nothing.stderr.contains("the text is empty"), "{}", nothing.stderr);
}

/// A request that rides the load and one behind it; what makes no text says so.
fn same_served(folder: &Path) {
    let texts = ["Each sentence is converted", "na\u{ef}ve caf\u{e9}"];
    let serving = Serving::start(&[text_of(folder)]);
    let status = serving.status();
    let model = status["model"].as_str().expect("a name");
    for _ in 0..2 {
        let asked = json!({"model": model, "input": texts, "encoding_format": "float"});
        let answer = serving.post("/v1/embeddings", &asked).ok().json();
        assert_eq!(answer["data"].as_array().expect("a list").len(), texts.len());
        for (index, expected) in embed(text_of(folder), &texts, &[]).iter().enumerate() {
            let vector = answer["data"][index]["embedding"].as_array().expect("a list");
            let vector: Vec<_> = vector.iter().map(|x| x.as_f64().expect("a number")).collect();
            assert!(vector == expected.vector, "text {index}");
        }
    }
    let long = "word ".repeat(300);
    let ask = |fields: Value| {
        let mut asked = json!({"model": model, "input": ["x", long]});
        asked.as_object_mut().expect("fields").extend(fields.as_object().expect("fields").clone());
        serving.post("/v1/embeddings", &asked)
    };
    let refused = ask(json!({}));
    assert_eq!(refused.status, 400, "{}", refused.body);
    assert!(refused.body.contains("`truncate_prompt_tokens: -1`"), "{}", refused.body);
    for (fields, tokens) in [
        (json!({"truncate": true}), 256),
        (json!({"truncate_prompt_tokens": -1}), 256),
        (json!({"truncate_prompt_tokens": 1000}), 256),
        (json!({"truncate_prompt_tokens": 12}), 12),
        (json!({"truncate": true, "input": ["x", vec![2000; 300]]}), 256),
    ] {
        let answer = ask(fields).ok().json();
        assert_eq!(answer["usage"]["prompt_tokens"], 3 + tokens);
    }
    let nothing = ask(json!({"input": ["x", ""]}));
    assert_eq!(nothing.status, 400, "{}", nothing.body);
    assert_eq!(nothing.json()["error"]["param"], "input");
    let metrics = serving.get("/metrics").body;
    for name in ["request_queue_time_seconds_count", "e2e_request_latency_seconds_count"] {
        let line = metrics.lines().find(|line| line.starts_with(&format!("vllm:{name}")));
        assert!(line.is_some_and(|line| line.ends_with(" 7")), "{name}: {line:?}");
    }
    let done = metrics.lines().find(|line| line.starts_with("vllm:request_success_total"));
    assert!(done.is_some_and(|line| line.ends_with(" 7")), "{done:?}");
    assert!(metrics.contains("# TYPE firstlight_weight_bytes gauge\n"), "{metrics}");

    let asked = json!({"model": model, "messages": [{"role": "user", "content": "Hello"}]});
    let refused = serving.post("/v1/chat/completions", &asked);
    assert_eq!(refused.status, 400, "{}", refused.body);
    assert!(refused.body.contains("embeddings"), "{}", refused.body);
}
