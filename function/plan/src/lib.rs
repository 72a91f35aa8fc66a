//! Safetensors headers to an ordered fetch plan: pure, no I/O, no clock, no async.
//!
//! The heads of the shards become [`Header`]s, the headers and the index one [`Manifest`], and the
//! manifest with what the model wants, in execution order, a [`Plan`]: which bytes to fetch, in
//! which order, and where each of them goes.
//!
//! # Layout
//!
//! - [`header`]: the first bytes of one shard -> its tensors, checked to tile the object
//! - [`index`]: `model.safetensors.index.json` -> which tensor is in which shard
//! - [`manifest`]: shards and index -> every tensor of the model by name
//! - [`order`]: what the model wants, in execution order
//! - [`plan`]: manifest and order -> fetches, places and the arena

#![forbid(unsafe_code)]

pub mod header;
pub mod index;
pub mod manifest;
pub mod order;
pub mod plan;

mod error;
mod fetch;
mod near;
mod raw;
#[cfg(test)]
mod samples;

pub use error::Error;
pub use fetch::{Fetch, Place};
pub use header::{HEAD_BYTES, HEADER_LIMIT_BYTES, Head, Header, TensorEntry};
pub use index::Index;
pub use manifest::{Manifest, Shard};
pub use near::nearest;
pub use order::{Stage, Want};
pub use plan::{Limits, Placed, Plan, StagePlan};
pub use safetensors::Dtype;
