//! The project's own small model, which is in the repository, and what it answers.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Its folder.
pub(crate) fn demo_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/demo-model")
}

/// Each prompt of its reference with the greedy continuation of 48 tokens.
pub(crate) fn references() -> Vec<(String, String)> {
    let file = fs::read(demo_model().join("ref.json")).expect("it is committed");
    let json: Value = serde_json::from_slice(&file).expect("it is JSON");
    let text = |item: &Value, key: &str| item[key].as_str().expect("a text").to_owned();
    let items = json["references"].as_array().expect("a list").iter();
    items.map(|item| (text(item, "prompt"), text(item, "greedy_text"))).collect()
}
