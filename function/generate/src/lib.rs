//! Prompt to tokens: everything about text that is not arithmetic on tensors.
//!
//! Nothing here reads a file: raw bytes of a model's small files come in, logits come in, and token
//! ids and text go out. Whoever owns the model drives a [`Generation`] with one row of logits a
//! step. Where many are answered at once, an [`Engine`] does so for all of them.
//!
//! # Layout, in the order of the data
//!
//! - [`chat`]: messages to a prompt, by the model's own template
//! - [`tokenizer`]: the prompt to token ids
//! - [`generation_config`]: what the model's authors recommend
//! - [`settings`]: the user's flags over those recommendations over our defaults
//! - [`sampling`]: checked sampling options
//! - [`sampler`]: logits to one token id
//! - [`stop`]: when to stop; [`stop_strings`]: the search for stop strings in streamed text
//! - [`detokenizer`]: token ids to text, piece by piece, never half a character
//! - [`generation`]: the state machine that joins the last four
//! - [`bias`]: what a user adds to logits; [`logprobs`]: how likely a token was
//! - [`engine`]: many generations at once, on one thread that computes
//! - [`embed`]: embeddings of many texts, on one thread that computes; `serving`: what both have in common
//! - [`error`]: what can be wrong with any of it

#![forbid(unsafe_code)]

pub mod bias;
pub mod chat;
pub mod detokenizer;
pub mod embed;
pub mod engine;
pub mod error;
pub mod generation;
pub mod generation_config;
pub mod logprobs;
pub mod sampler;
pub mod sampling;
mod serving;
pub mod settings;
pub mod stop;
pub mod stop_strings;
pub mod tokenizer;

pub use bias::Bias;
pub use chat::{ChatTemplate, Message};
pub use detokenizer::Detokenizer;
pub use embed::Embedder;
pub use engine::Engine;
pub use error::Error;
pub use generation::{Generation, GenerationRequest, Step};
pub use generation_config::GenerationConfig;
pub use logprobs::{Logprob, Logprobs};
pub use sampler::Sampler;
pub use sampling::{Sampling, SamplingOptions};
pub use settings::{DEFAULT_MAX_TOKENS, Flags, Settings};
pub use stop::{Finish, StopRules};
pub use stop_strings::StopStrings;
pub use tokenizer::Tokenizer;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
