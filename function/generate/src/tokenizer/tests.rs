//! The demo model's tokenizer against its reference file, and files that are wrong.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::json;
use tokenizers::TruncationParams;

use super::*;

#[derive(Deserialize)]
pub(crate) struct References {
    pub(crate) references: Vec<Reference>,
}

#[derive(Deserialize)]
pub(crate) struct Reference {
    pub(crate) prompt: String,
    pub(crate) ids: Vec<u32>,
    pub(crate) greedy_ids: Vec<u32>,
    pub(crate) greedy_text: String,
}

pub(crate) fn demo_file(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/demo-model");
    std::fs::read(folder.join(name)).unwrap()
}

pub(crate) fn demo_tokenizer() -> Tokenizer {
    Tokenizer::parse(&demo_file("tokenizer.json")).unwrap()
}

pub(crate) fn demo_references() -> Vec<Reference> {
    serde_json::from_slice::<References>(&demo_file("ref.json")).unwrap().references
}

/// A tokenizer as Llama 2's and Mistral's are: `▁` for a space, one put before the text, bytes as
/// `<0xE2>`.
pub(crate) fn sentencepiece_tokenizer() -> Tokenizer {
    let mut vocabulary = vec!["<unk>".to_owned(), "<s>".to_owned(), "</s>".to_owned()];
    vocabulary.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    vocabulary.extend(["▁", "a", "b", "é", "▁a", "ab", "▁ab", "▁▁", "\u{FFFD}"].map(str::to_owned));
    let scores: serde_json::Map<String, Value> =
        vocabulary.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
    let added = |id: u32, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false,
               "rstrip": false, "normalized": false, "special": true})
    };
    let file = json!({
        "version": "1.0",
        "added_tokens": [added(0, "<unk>"), added(1, "<s>"), added(2, "</s>")],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": null,
        "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true,
                  "vocab": scores, "merges": ["▁ a", "a b", "▁a b", "▁ ▁"]}
    });
    Tokenizer::parse(file.to_string().as_bytes()).unwrap()
}

fn broken(edit: impl FnOnce(&mut Value)) -> String {
    let mut file: Value = serde_json::from_slice(&demo_file("tokenizer.json")).unwrap();
    edit(&mut file);
    Tokenizer::parse(file.to_string().as_bytes()).unwrap_err().to_string()
}

#[test]
fn reference_prompts_encode_to_the_reference_ids() {
    let tokenizer = demo_tokenizer();
    for reference in demo_references() {
        assert_eq!(tokenizer.encode(&reference.prompt, true).unwrap(), reference.ids);
        assert_eq!(tokenizer.encode(&reference.prompt, false).unwrap(), reference.ids[1..]);
    }
}

#[test]
fn reference_ids_decode_to_the_reference_text() {
    let tokenizer = demo_tokenizer();
    for reference in demo_references() {
        assert_eq!(tokenizer.decode(&reference.greedy_ids).unwrap(), reference.greedy_text);
        assert_eq!(tokenizer.decode(&reference.ids).unwrap(), reference.prompt);
    }
}

#[test]
fn tokens_are_found_by_spelling_and_by_id() {
    let tokenizer = demo_tokenizer();
    assert_eq!(tokenizer.vocabulary_size(), 2048);
    assert_eq!(tokenizer.token_id("</s>"), Some(1));
    assert_eq!(tokenizer.token_id("no such token"), None);
    assert_eq!(tokenizer.token(1).as_deref(), Some("</s>"));
    assert_eq!(tokenizer.token(2048), None);
    assert_eq!(tokenizer.special_ids(), [0, 1]);
    assert!(tokenizer.is_special(1) && !tokenizer.is_special(2) && !tokenizer.is_special(2048));
}

#[test]
fn special_tokens_in_a_text_become_their_ids() {
    let ids = demo_tokenizer().encode("a</s>", true).unwrap();
    assert_eq!(ids.first(), Some(&0));
    assert_eq!(ids.last(), Some(&1));
}

#[test]
fn padding_and_truncation_of_the_file_are_ignored() {
    let mut file: Value = serde_json::from_slice(&demo_file("tokenizer.json")).unwrap();
    file["truncation"] = json!({"direction": "Right", "max_length": 3,
                                "strategy": "LongestFirst", "stride": 0});
    file["padding"] = json!({"strategy": {"Fixed": 16}, "direction": "Right",
                             "pad_to_multiple_of": null, "pad_id": 1, "pad_type_id": 0,
                             "pad_token": "</s>"});
    let tokenizer = Tokenizer::parse(file.to_string().as_bytes()).unwrap();
    let plain = demo_tokenizer();
    let text = "Once upon a time there was a fox.";
    assert_eq!(tokenizer.encode(text, true).unwrap(), plain.encode(text, true).unwrap());
    assert_eq!(tokenizer.encode("a", true).unwrap(), plain.encode("a", true).unwrap());
}

#[test]
fn a_text_is_cut_as_the_library_cuts_it() {
    let mut file: Value = serde_json::from_slice(&demo_file("tokenizer.json")).unwrap();
    let around = |name: &str, id| json!({"id": name, "ids": [id], "tokens": [name]});
    let token = |name: &str| json!({"SpecialToken": {"id": name, "type_id": 0}});
    let text = |name: &str| json!({"Sequence": {"id": name, "type_id": 0}});
    file["post_processor"] = json!({
        "type": "TemplateProcessing",
        "single": [token("<s>"), text("A"), token("</s>")],
        "pair": [text("A"), text("B")],
        "special_tokens": {"<s>": around("<s>", 0), "</s>": around("</s>", 1)},
    });
    let mut other = file.clone();
    other["pre_tokenizer"] = json!({"type": "Whitespace"});
    for (file, runner) in [(&file, "run here"), (&other, "run by the library")] {
        let file = file.to_string();
        let ours = Tokenizer::parse(file.as_bytes()).unwrap();
        assert!(format!("{ours:?}").contains(runner), "{ours:?}");
        for limit in 2..20 {
            let mut library = tokenizers::Tokenizer::from_bytes(file.as_bytes()).unwrap();
            let truncation = TruncationParams { max_length: limit, ..Default::default() };
            library.with_truncation(Some(truncation)).unwrap();
            for text in ["", "a", "Once upon a time there was a fox who </s> ran and ran and ran."]
            {
                let expected = library.encode(text, true).unwrap();
                assert_eq!(ours.encode_within(text, limit).unwrap(), expected.get_ids(), "{limit}");
            }
        }
    }
}

#[test]
fn a_file_that_is_wrong_is_named_with_the_reason() {
    let not_json = Tokenizer::parse(b"{\"version\": ").unwrap_err().to_string();
    assert!(not_json.contains("`tokenizer.json` does not parse"), "{not_json}");
    let unknown = broken(|file| file["model"]["type"] = json!("Tiktoken"));
    assert!(unknown.contains("`Tiktoken`") && unknown.contains("BPE, WordPiece"), "{unknown}");
    let no_model = broken(|file| file["model"] = json!(null));
    assert!(no_model.contains("does not describe a tokenizer"), "{no_model}");
}

#[test]
fn a_text_beyond_the_limit_is_refused_with_both_numbers() {
    let long = "a".repeat(MAX_TEXT_BYTES + 1);
    let error = demo_tokenizer().encode(&long, false).unwrap_err().to_string();
    assert_eq!(error, "the text is 16777217 bytes long, the limit is 16777216");
}

#[test]
fn bytes_that_are_not_in_a_vocabulary_go_there_and_back() {
    let tokenizer = sentencepiece_tokenizer();
    let ids = tokenizer.encode("ab €é", false).unwrap();
    assert_eq!(tokenizer.decode(&ids).unwrap(), "ab €é");
    assert!(ids.contains(&(3 + 0xE2)));
}
