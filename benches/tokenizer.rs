//! What a tokenizer adds to a cold start, and to a prompt: ours beside the library `tokenizers`.
//!
//! Parsing is what a start may wait for. The demo model's file is measured, and vocabularies made from a seed in the
//! sizes that families have: 128k tokens as Llama 3, 151k as Qwen 2.5, 262k as Gemma 3. Published files are measured
//! where `FIRSTLIGHT_TOKENIZERS` names a folder with one `NAME/tokenizer.json` each.
//!
//! Expected on one core of 2024: 3 to 5 ns a byte of the file, of which two thirds are look-ups of the halves of merges
//! in a table that no core's own cache holds. Before anything is timed, both have to give the same ids.
#![expect(clippy::expect_used, reason = "a program for developers")]

use std::collections::HashSet;
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;
use std::{env, fs};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use firstlight_generate::Tokenizer;
use serde_json::json;

criterion_group! {
    name = benches;
    // The library takes a second for the largest: ten samples are all that is bearable.
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1));
    targets = demo, made, published
}
criterion_main!(benches);

fn demo(criterion: &mut Criterion) {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/demo-model/tokenizer.json");
    measure(criterion, "demo model", &fs::read(path).expect("it is committed"));
}

fn made(criterion: &mut Criterion) {
    for (name, tokens) in [("128k", 128_000), ("151k", 151_643), ("262k", 262_144)] {
        measure(criterion, &format!("made, {name} tokens"), made_file(tokens).as_bytes());
    }
}

fn published(criterion: &mut Criterion) {
    let Some(folder) = env::var_os("FIRSTLIGHT_TOKENIZERS") else { return };
    let folders = fs::read_dir(folder).expect("`FIRSTLIGHT_TOKENIZERS` is a folder");
    let mut folders: Vec<_> = folders.map(|entry| entry.expect("it is there").path()).collect();
    folders.sort();
    for folder in folders {
        let file = fs::read(folder.join("tokenizer.json")).expect("each folder has one");
        measure(criterion, &folder.file_name().expect("a name").to_string_lossy(), &file);
    }
}

fn measure(criterion: &mut Criterion, name: &str, file: &[u8]) {
    let ours = Tokenizer::parse(file).expect("it parses");
    let mut library = tokenizers::Tokenizer::from_bytes(file).expect("it parses");
    // Prompts are neither cut nor filled up, whatever the file says.
    library.with_padding(None);
    library.with_truncation(None).expect("nothing to cut");
    let prompt = PROMPT.repeat(40);
    let expected = library.encode_fast(&*prompt, false).expect("a text");
    assert_eq!(ours.encode(&prompt, false).expect("a text"), expected.get_ids(), "{name}");

    let mut parse = criterion.benchmark_group(format!("parse {name}"));
    parse.throughput(Throughput::Bytes(file.len() as u64));
    parse.bench_function("ours", |bench| bench.iter(|| Tokenizer::parse(black_box(file))));
    parse.bench_function("tokenizers", |bench| {
        bench.iter(|| tokenizers::Tokenizer::from_bytes(black_box(file)));
    });
    parse.finish();
    let mut encode = criterion.benchmark_group(format!("encode {name}"));
    encode.throughput(Throughput::Bytes(prompt.len() as u64));
    encode.bench_function("ours", |bench| bench.iter(|| ours.encode(black_box(&prompt), false)));
    encode.bench_function("tokenizers", |bench| {
        bench.iter(|| library.encode_fast(black_box(&*prompt), false));
    });
    encode.finish();
}

/// A byte-level vocabulary whose merges join earlier tokens at random, each once.
fn made_file(tokens: usize) -> String {
    let mut spellings: Vec<String> =
        ('!'..='~').map(String::from).chain(["Ġ".into(), "Ċ".into()]).collect();
    let mut known: HashSet<String> = spellings.iter().cloned().collect();
    let mut merges = Vec::new();
    let mut state = 1_u64;
    let mut below = |limit: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((state >> 33) % limit as u64).expect("below a usize")
    };
    while spellings.len() < tokens {
        // Halves are among the first tokens more often than not, as in files that were trained.
        let half = spellings.len().min(1 << (7 + below(10)));
        let (left, right) = (below(half), below(half));
        let joined = spellings[left].clone() + &spellings[right];
        if joined.len() <= 24 && known.insert(joined.clone()) {
            merges.push(format!("{} {}", spellings[left], spellings[right]));
            spellings.push(joined);
        }
    }
    let vocabulary: serde_json::Map<_, _> =
        spellings.into_iter().zip(0..).map(|(spelling, id)| (spelling, json!(id))).collect();
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let model = json!({"type": "BPE", "vocab": vocabulary, "merges": merges});
    json!({"version": "1.0", "added_tokens": [], "pre_tokenizer": bytes, "decoder": bytes, "model": model}).to_string()
}

const PROMPT: &str =
    "Once upon a time, in 1847, there was a fox who didn't like the rain; it ran home.\n";
