//! Our tokenizer against the library `tokenizers`: the same ids and the same text, for every shape that is run here.
//!
//! Small tokenizers are made here; published ones come from package registries. `FIRSTLIGHT_TOKENIZER_TEXTS` asks for
//! more texts a tokenizer than a usual run has time for.

use std::env;

use firstlight_generate::Tokenizer;
use libtest_mimic::{Arguments, Trial, run};
use serde_json::{Value, json};

use support::needs::trial;
use support::texts::{self, Random};
use support::twins::Twins;
use support::{published, small};

mod support;

fn main() {
    let mut trials = vec![
        test("what_is_not_known_exactly_is_left_to_the_library", left_to_the_library),
        test("what_the_library_refuses_is_refused", refused),
        test("any_combination_of_parts_agrees", any_combination),
        test("a_long_run_agrees", long_runs),
    ];
    trials.extend(small::all().into_iter().map(|(name, file)| {
        test(&format!("small_{name}_agrees"), move || agrees(file.to_string().as_bytes(), 300))
    }));
    trials.extend(published::ALL.iter().map(|published| {
        let name = format!("published_{}_agrees", published.name);
        trial(&name, || published.fetch(), |file: Vec<u8>| agrees(&file, 150))
    }));
    run(&Arguments::from_args(), trials).exit();
}

fn test(name: &str, body: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, || {
        body();
        Ok(())
    })
}

fn agrees(file: &[u8], usual_texts: usize) {
    let twins = Twins::parse(file);
    twins.assert_run_here();
    twins.agree_on_vocabulary();
    for text in texts::all_characters() {
        twins.agree_on(&text);
    }
    let count = env::var("FIRSTLIGHT_TOKENIZER_TEXTS").map(|texts| texts.parse());
    let count = count.map_or(usual_texts, |count| count.expect("a number of texts"));
    twins.agree_on_many(1, count);
    twins.streams(2, count / 10);
}

/// Normalisers, pre-tokenizers, decoders, flags and added tokens as no model has them.
fn any_combination() {
    for seed in 0..150 {
        let twins = Twins::parse(small::any(&mut Random::new(seed)).to_string().as_bytes());
        twins.assert_run_here();
        twins.agree_on_vocabulary();
        twins.agree_on_many(seed, 60);
    }
}

/// A word of many thousand characters, of which merges make few tokens or none.
fn long_runs() {
    for (name, file) in small::all() {
        let twins = Twins::parse(file.to_string().as_bytes());
        for unit in ["a", " ", "\n", "7", "😀", "é", "the", "Ab", "\r\n ", "中", "'s"] {
            twins.agree_on(&unit.repeat(5000));
        }
        assert!(!name.is_empty());
    }
}

/// Each of these files is fine, and in one thing unlike those that are run here.
fn left_to_the_library() {
    let edits: &[(&str, Value)] = &[
        ("/model/dropout", json!(0.0)),
        ("/model/end_of_word_suffix", json!("</w>")),
        ("/model/vocab/far", json!(3_000_000)),
        (
            "/pre_tokenizer",
            json!({"type": "Split", "pattern": {"Regex": "\\w+"}, "behavior": "Isolated", "invert": false}),
        ),
        ("/pre_tokenizer", json!({"type": "Whitespace"})),
        ("/normalizer", json!({"type": "NFKC"})),
        ("/normalizer", json!({"type": "Replace", "pattern": {"Regex": " +"}, "content": "▁"})),
        (
            "/decoder",
            json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}),
        ),
    ];
    let (_, file) = small::all().swap_remove(0);
    Twins::parse(file.to_string().as_bytes()).assert_run_here();
    for (place, value) in edits {
        let mut file = file.clone();
        set(&mut file, place, value);
        let twins = Twins::parse(file.to_string().as_bytes());
        let description = format!("{:?}", twins.ours);
        assert!(description.ends_with("run by the library)"), "{place}: {description}");
        twins.agree_on_many(1, 20);
    }
}

/// Whatever is wrong with a file, we say so if and only if the library does.
fn refused() {
    let edits: &[(&str, Value)] = &[
        ("/version", json!("2.0")),
        ("/model/merges", json!(["a b c"])),
        ("/model/merges", json!(["ab"])),
        ("/model/merges", json!([["a", "no such token"]])),
        ("/model/merges", json!([["a", "!", "b"]])),
        ("/model/merges", json!([["z", "q"], ["a"]])),
        ("/model/merges", json!(["z \u{1F600}"])),
        ("/model/merges", json!(7)),
        ("/model/vocab", json!([])),
        ("/model/vocab/a", json!(-1)),
        ("/model/vocab/a", json!(4_294_967_296_u64)),
        ("/model/vocab/a", json!(1.5)),
        ("/model/vocab/a", json!("1")),
        ("/model/type", json!("Tiktoken")),
        ("/model/byte_fallback", json!("yes")),
        ("/model/unk_token", json!(3)),
        ("/added_tokens", json!([{"id": 1}])),
        ("/truncation", json!({"max_length": "8"})),
        ("/normalizer", json!({"type": "Unheard"})),
        ("/post_processor", json!({"type": "ByteLevel"})),
        ("/model", json!(null)),
        ("/comment", json!("who knows")),
        ("", json!([])),
    ];
    let (_, file) = small::all().swap_remove(0);
    for (place, value) in edits {
        let mut file = file.clone();
        set(&mut file, place, value);
        let file = file.to_string();
        assert!(tokenizers::Tokenizer::from_bytes(&file).is_err(), "{place} {value}");
        assert!(Tokenizer::parse(file.as_bytes()).is_err(), "{place} {value}");
    }
    let file = file.to_string();
    for cut in (0..file.len()).step_by(97) {
        assert!(Tokenizer::parse(&file.as_bytes()[..cut]).is_err(), "the first {cut} bytes");
    }
    for wrong in [b"\xFF".as_slice(), b"\\q", b"\""] {
        let (before, after) = file.as_bytes().split_at(file.len() / 2);
        let bytes = [before, wrong, after].concat();
        assert!(Tokenizer::parse(&bytes).is_err(), "{wrong:?}");
    }
}

/// Sets the value at a JSON pointer, whose last step may be new.
fn set(file: &mut Value, place: &str, value: &Value) {
    let Some((parent, name)) = place.rsplit_once('/') else {
        *file = value.clone();
        return;
    };
    file.pointer_mut(parent).expect("a place in the file")[name] = value.clone();
}
