//! What the authors' code answers: `tests/fixtures/references/`, made with transformers on float32 weights.

use std::fs;
use std::path::Path;

use serde::Deserialize;

/// The answers of one model.
#[derive(Debug, Deserialize)]
pub(crate) struct References {
    pub(crate) items: Vec<Reference>,
    pub(crate) tokenizer_cases: Vec<TokenizerCase>,
}

/// One prompt and what follows.
#[derive(Debug, Deserialize)]
pub(crate) struct Reference {
    /// As text; where `chat` is set, the template is already applied.
    pub(crate) prompt: String,
    pub(crate) input_ids: Vec<u32>,
    pub(crate) chat: bool,
    /// 32 tokens of greedy decoding, and as text.
    pub(crate) greedy32: Vec<u32>,
    pub(crate) greedy32_text: String,
    /// The largest logits of the prompt's last position, in falling order.
    pub(crate) top8_ids: Vec<u32>,
    pub(crate) top8_logits: Vec<f32>,
}

/// A text and its ids without special tokens.
#[derive(Debug, Deserialize)]
pub(crate) struct TokenizerCase {
    pub(crate) text: String,
    pub(crate) ids: Vec<u32>,
}

impl References {
    pub(crate) fn read(model: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/references");
        let text =
            fs::read_to_string(folder.join(format!("{model}.json"))).expect("it is committed");
        serde_json::from_str(&text).expect("it has this form")
    }
}
