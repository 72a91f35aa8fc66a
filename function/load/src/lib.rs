//! A plan to layers resident on the device, in execution order: the cold start itself.
//!
//! The heads of all shards are read at once and become a [`Checkpoint`]; whoever knows the model turns that into a plan;
//! [`Layers::start`] carries it out. Ranges are asked for in execution order and land in the tensors' final memory, which
//! is faulted in ahead of them; for a GPU ([`Layers::through`]) they land in pinned slots, and are copied from there.
//! [`Layers`] is an iterator: the model pulls a layer when it is about to compute it, and waits only for that one. The
//! loader never waits for the model.
//!
//! # Layout
//!
//! - [`checkpoint`]: the shards' heads and the index, read speculatively, to a manifest
//! - [`layers`]: the iterator, and the clock that watches it
//! - `stream`: ranges from the wire, or from local files (`files`), to their places in one arena
//! - `landing`: where they land, as `stream` sees it: `host`, with `places`, where the bytes of one range go, or `cuda`
//! - `mapped`: local files, used where the page cache has them; [`stamps`]: whether they are still what they were

#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod layers;
pub mod stamps;

mod cuda;
mod error;
mod files;
mod host;
mod landing;
mod mapped;
mod places;
mod stream;

pub use checkpoint::Checkpoint;
pub use error::Error;
pub use layers::{Computing, Layer, Layers};
pub use stamps::Stamps;

use firstlight_device::DType;
use firstlight_plan::Dtype;

/// What the device computes with, as plans name it.
pub const SUPPORTED: &[Dtype] = &[Dtype::F32, Dtype::F16, Dtype::BF16];

/// The device's name for a dtype of [`SUPPORTED`].
fn device_dtype(dtype: Dtype) -> DType {
    match dtype {
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        other => panic!("{other} is not among the supported dtypes that a plan is made with"),
    }
}
