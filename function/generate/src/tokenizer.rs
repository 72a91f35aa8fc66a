//! The model's tokenizer: text to ids, ids to text.
//!
//! `tokenizer.json` describes the whole pipeline: normaliser, pre-tokenizer, model, post-processor,
//! decoder. It is run as the file says with one exception: padding and truncation are switched off,
//! because they are settings of a training or embedding pipeline, and a prompt that is cut in
//! silence is a wrong prompt.
//!
//! Nearly all models have one of a few shapes of it, which run here: see `pipeline`. The others are
//! run by the library `tokenizers`, which is also what exactness means: the same ids, the same text.
//!
//! Special tokens that are written out in a text, such as `<|im_end|>`, become their ids, as in
//! transformers: chat templates rely on it, and the prompt belongs to whoever runs the model.

mod added;
mod bpe;
mod byte_level;
mod classes;
mod decoder;
mod hash;
mod merges;
mod normalizer;
mod pattern;
mod pipeline;
mod post_processor;
mod pre_tokenizer;
mod scan;
mod unknown;
mod vocabulary;
mod wordpiece;

use std::fmt;
use std::sync::Arc;

use serde::de::IgnoredAny;
use serde_json::Value;
use tokenizers::{PostProcessor as _, TruncationDirection};

use self::pipeline::Pipeline;
use crate::{Error, Result};

/// The tokenizer of one model. A clone is another handle of the same one.
#[derive(Clone)]
pub struct Tokenizer {
    runner: Arc<Runner>,
}

/// Who runs it. The answers are the same.
enum Runner {
    /// We do: it is one of the shapes that nearly all models have.
    Pipeline(Box<Pipeline>),
    /// The library does.
    Library(Box<tokenizers::Tokenizer>),
}

impl Tokenizer {
    /// Reads a `tokenizer.json`. This takes milliseconds, by the size of the vocabulary, and up to
    /// a second where the library has to do it.
    pub fn parse(tokenizer_json: &[u8]) -> Result<Self> {
        let runner = match Pipeline::read(tokenizer_json) {
            Ok(pipeline) => Runner::Pipeline(Box::new(pipeline)),
            Err(unknown) => {
                tracing::debug!(%unknown, "`tokenizer.json` is left to the tokenizer library");
                Runner::Library(Box::new(library(tokenizer_json)?))
            }
        };
        Ok(Self { runner: Arc::new(runner) })
    }

    /// The ids of `text`. `add_special` adds the tokens that the model expects around every text
    /// (as `<s>`); a rendered chat template has written them already.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>> {
        check_length(text)?;
        match &*self.runner {
            Runner::Pipeline(pipeline) => Ok(pipeline.encode(text, add_special)),
            Runner::Library(library) => library
                .encode_fast(text, add_special)
                .map(|encoding| encoding.get_ids().to_vec())
                .map_err(|source| Error::Encode { source }),
        }
    }

    /// The ids of `text` with the tokens that the model expects around every text, `limit` of them at
    /// most: of a longer text the beginning, with the same tokens around it.
    pub fn encode_within(&self, text: &str, limit: usize) -> Result<Vec<u32>> {
        check_length(text)?;
        match &*self.runner {
            Runner::Pipeline(pipeline) => Ok(pipeline.encode_within(text, limit)),
            Runner::Library(library) => {
                encode_within(library, text, limit).map_err(|source| Error::Encode { source })
            }
        }
    }

    /// The text of `ids` without special tokens. Bytes that are not UTF-8 become U+FFFD. Ids that
    /// the tokenizer does not have (models pad their vocabulary) have no text.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        match &*self.runner {
            Runner::Pipeline(pipeline) => Ok(pipeline.decode(ids)),
            Runner::Library(library) => {
                library.decode(ids, true).map_err(|source| Error::Decode { source })
            }
        }
    }

    /// What a token adds to a text that it does not begin, where the space before a word is part of
    /// the word. These are bytes, since a character may be spread over several tokens; special
    /// tokens, and ids that the tokenizer does not have, add none.
    pub fn bytes(&self, id: u32) -> Result<Vec<u8>> {
        let (once, twice) = (self.decode(&[id])?, self.decode(&[id, id])?);
        let Some(added) = twice.strip_prefix(&once) else { return Ok(self.spelled_bytes(id)) };
        if added.contains(char::REPLACEMENT_CHARACTER) {
            return Ok(self.spelled_bytes(id));
        }
        Ok(added.as_bytes().to_vec())
    }

    /// Those of a token that is no text by itself, by the ways in which vocabularies spell such.
    fn spelled_bytes(&self, id: u32) -> Vec<u8> {
        let spelling = self.token(id).unwrap_or_default();
        if let Some(byte) = decoder::byte_of(&spelling) {
            return vec![byte];
        }
        let mut bytes = Vec::new();
        byte_level::push_bytes(&spelling, &mut bytes);
        bytes
    }

    /// How many tokens there are, special and added ones included. The model's own vocabulary may
    /// be larger.
    #[must_use]
    pub fn vocabulary_size(&self) -> usize {
        match &*self.runner {
            Runner::Pipeline(pipeline) => pipeline.vocabulary_size(),
            Runner::Library(library) => library.get_vocab_size(true),
        }
    }

    /// The id of a token by its exact spelling in the vocabulary, as `<|im_end|>`.
    #[must_use]
    pub fn token_id(&self, token: &str) -> Option<u32> {
        match &*self.runner {
            Runner::Pipeline(pipeline) => pipeline.token_id(token),
            Runner::Library(library) => library.token_to_id(token),
        }
    }

    /// The spelling of a token in the vocabulary.
    #[must_use]
    pub fn token(&self, id: u32) -> Option<String> {
        match &*self.runner {
            Runner::Pipeline(pipeline) => pipeline.token(id).map(str::to_owned),
            Runner::Library(library) => library.id_to_token(id),
        }
    }

    /// Whether `id` is a special token: one that is never shown.
    #[must_use]
    pub fn is_special(&self, id: u32) -> bool {
        match &*self.runner {
            Runner::Pipeline(pipeline) => pipeline.is_special(id),
            Runner::Library(library) => {
                let added = library.get_added_vocabulary();
                self.token(id).is_some_and(|token| added.is_special_token(&token))
            }
        }
    }

    /// The ids of all special tokens, ascending.
    #[must_use]
    pub fn special_ids(&self) -> Vec<u32> {
        match &*self.runner {
            Runner::Pipeline(pipeline) => pipeline.special_ids().to_vec(),
            Runner::Library(library) => {
                let added = library.get_added_vocabulary().get_added_tokens_decoder();
                let special = added.iter().filter(|(_, token)| token.special);
                let mut ids: Vec<u32> = special.map(|(&id, _)| id).collect();
                ids.sort_unstable();
                ids
            }
        }
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runner = match &*self.runner {
            Runner::Pipeline(_) => "run here",
            Runner::Library(_) => "run by the library",
        };
        write!(f, "Tokenizer({} tokens, {runner})", self.vocabulary_size())
    }
}

/// Has the library read the file, without what we leave out. It gets JSON and nothing else: it
/// panics where a text ends inside of some of its parts.
fn library(tokenizer_json: &[u8]) -> Result<tokenizers::Tokenizer> {
    let is_text = std::str::from_utf8(tokenizer_json).is_ok();
    if !is_text || serde_json::from_slice::<IgnoredAny>(tokenizer_json).is_err() {
        serde_json::from_slice::<Value>(tokenizer_json)
            .map_err(|source| Error::Json { file: "tokenizer.json", source })?;
    }
    let mut library = tokenizers::Tokenizer::from_bytes(tokenizer_json)
        .map_err(|source| explain(tokenizer_json, source))?;
    library.with_padding(None);
    library.with_truncation(None).map_err(|source| Error::Tokenizer { source })?;
    Ok(library)
}

fn check_length(text: &str) -> Result<()> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(Error::TextTooLong { bytes: text.len(), limit_bytes: MAX_TEXT_BYTES });
    }
    Ok(())
}

fn encode_within(
    library: &tokenizers::Tokenizer,
    text: &str,
    limit: usize,
) -> tokenizers::Result<Vec<u32>> {
    let added = library.get_post_processor().map_or(0, |around| around.added_tokens(false));
    let mut encoding = library.encode_fast(text, false)?;
    encoding.truncate(limit.saturating_sub(added), 0, TruncationDirection::Right);
    drop(encoding.take_overflowing());
    Ok(library.post_process(encoding, None, true)?.get_ids().to_vec())
}

/// Says what is wrong with a file that the library could not read. Only then is it parsed a second
/// time.
fn explain(tokenizer_json: &[u8], source: tokenizers::Error) -> Error {
    let file: Value = match serde_json::from_slice(tokenizer_json) {
        Ok(file) => file,
        Err(source) => return Error::Json { file: "tokenizer.json", source },
    };
    match file.pointer("/model/type").and_then(Value::as_str) {
        Some(found) if !KNOWN_MODELS.contains(&found) => {
            Error::TokenizerModel { found: found.to_owned(), known: KNOWN_MODELS }
        }
        _ => Error::Tokenizer { source },
    }
}

/// The algorithms that the tokenizer library has.
const KNOWN_MODELS: &[&str] = &["BPE", "WordPiece", "WordLevel", "Unigram"];

/// A context of a million tokens at 16 bytes a token, three times what English needs. Longer text
/// cannot fit any model, and would only keep a processor busy until that is found out.
pub(crate) const MAX_TEXT_BYTES: usize = 16 << 20;

#[cfg(test)]
pub(crate) mod tests;
