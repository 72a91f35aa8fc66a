//! config.json and layers to logits, or to embeddings: one file a family.
//!
//! [`Spec::parse`] turns a config.json into the checked shape of a decoder, before any weight is
//! fetched. [`Spec::stages`] says what its forward pass needs, in the order in which it needs it.
//! [`Decoder`] takes those stages from an iterator, each when it is about to compute it, so that
//! **the first forward pass is the load loop**: layer k is computed while layers k+1.. arrive.
//!
//! # Layout
//!
//! - `fields`: config.json, field by field, each checked where it is read
//! - `spec`: the checked shape of a decoder, whatever its family
//! - `family`: which families there are, and how config.json names them
//! - `llama`, `mistral`, `qwen2`, `qwen3`: what a family does in its own way
//! - `rope`: the frequencies of the rotary embedding, and how a longer context scales them
//! - `stage`: what the forward pass needs, in order, by the names of the checkpoint
//! - `unused`: what a checkpoint holds beside that
//! - `weights`: the stages that are resident, and the iterator that brings the others
//! - `layer`: one layer, its tensors and its arithmetic
//! - `rows`: what a pass is to run; `decoder`: token ids to logits; `sequence`: one that has a decoder
//!   for itself; `passes`: what of a decoder needs no device to be spoken of; `footprint`: what it
//!   keeps besides the weights
//! - `bert`: what an encoder is made of, its tensors and its arithmetic
//! - `encoder`: texts of token ids to embeddings, with the checked shape of an encoder
//! - `sentence`: what becomes of the rows of a text, as the files of sentence-transformers say
//! - `kind`: which of the two a config.json describes

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod bert;
mod decoder;
mod encoder;
mod error;
mod family;
mod fields;
mod footprint;
mod kind;
mod layer;
mod llama;
mod mistral;
mod passes;
mod qwen2;
mod qwen3;
mod rope;
mod rows;
mod sentence;
mod sequence;
mod spec;
mod stage;
mod unused;
mod weights;

pub use decoder::{DEFAULT_CHUNK_ROWS, Decoder, Settings};
pub use encoder::{Embeds, Encoder, EncoderSettings, EncoderSpec, Names, SUPPORTED_ENCODERS};
pub use error::Error;
pub use family::SUPPORTED;
pub use firstlight_device::Draw;
pub use footprint::{Extent, Footprint};
pub use kind::Kind;
pub use passes::Passes;
pub use rope::{Rope, Scaling};
pub use rows::Rows;
pub use sentence::{Pooling, Sentence, SentenceFiles};
pub use sequence::Sequence;
pub use spec::{Biases, MAX_CONFIG_BYTES, Spec};
pub use stage::{Stage, StageOrder, TensorSpec};
pub use weights::{Group, PromptRows};
