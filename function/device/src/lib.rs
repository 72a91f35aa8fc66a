//! Memory, tensors and operations on one processor.
//!
//! A model is written once, against [`Device`]; a processor implements it. Weights are
//! [`Device::Tensor`]s: immutable, resident, in the dtype of the checkpoint. Everything that is
//! computed is [`Device::Activations`]: a row-major matrix of f32, allocated once and reused.
//!
//! # Layout
//!
//! - [`arena`]: one reservation for all weights, cut into regions that are filled by whoever owns
//!   them
//! - [`resident`]: bytes of a mapped file, made resident before they are read
//! - [`bus_error`]: what is said where that is no longer possible
//! - [`tensor`]: a filled region with a dtype and a shape
//! - `draw`: how a token is to be chosen where its logits are
//! - [`cpu`]: the operations, by `firstlight-kernels`
//! - [`cuda`]: the operations, and memory, streams and events, of a GPU
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]
#![cfg_attr(test, allow(clippy::float_cmp, reason = "what is copied is exact, and tested to be"))]

pub mod arena;
pub mod bus_error;
pub mod cpu;
pub mod cuda;
pub mod resident;
pub mod tensor;

#[cfg(test)]
mod contract;
mod draw;
mod error;
mod floats;
mod mapping;
mod shapes;

use std::ops::Range;

pub use arena::{Arena, Region};
pub use cpu::Cpu;
pub use cuda::Cuda;
pub use draw::Draw;
pub use error::Error;
pub use firstlight_kernels::{Gelu, Isa, KV_BLOCK, Mask, Span, Team};
pub use tensor::{DType, Tensor};

/// `x weight^T + bias`, to be done.
#[derive(Debug)]
pub struct Linear<'a, T> {
    /// `(outputs, inputs)`
    pub weight: &'a T,
    /// `(outputs)`
    pub bias: Option<&'a T>,
}

/// What a layer norm multiplies with, and what it adds.
#[derive(Debug)]
pub struct Norm<'a, T> {
    /// `(columns)`
    pub weight: &'a T,
    /// `(columns)`
    pub bias: &'a T,
}

/// The operations of a decoder, and of an encoder, on one processor, executed in the order in which they are called.
///
/// Shapes are written `(rows, columns)`; a row is one token unless said otherwise. Sizes that do
/// not fit together are a bug of the caller and panic; what the world can do (no memory, a lost
/// device) is an [`Error`].
pub trait Device {
    /// Weights: immutable and resident.
    type Tensor;
    /// A row-major f32 matrix `(rows, columns)`.
    type Activations;
    /// The keys and values of one layer, `(blocks, KV_BLOCK, kv_heads, head_dim)` each: a pool whose
    /// blocks are given to sequences.
    type KvCache;
    /// Which sequences the rows of a pass belong to, where in them they stand, and the angles by
    /// which their heads turn there: the same for all layers.
    type Positions;

    /// Weights of the host, resident: for the few that are not streamed to where they belong.
    fn upload(&self, tensor: &Tensor) -> Result<Self::Tensor, Error>;

    /// Room for `(rows, columns)`; the contents are zero.
    fn activations(&self, rows: usize, columns: usize) -> Result<Self::Activations, Error>;

    /// The cache of one layer: so many blocks of [`KV_BLOCK`] positions. Memory is touched as it is
    /// used.
    fn kv_cache(
        &self,
        blocks: usize,
        kv_heads: usize,
        head_dim: usize,
    ) -> Result<Self::KvCache, Error>;

    /// Room for the positions of `rows` rows, whose sequences have `blocks` blocks at most, all
    /// together. Heads that turn have `2 * inverse_frequencies.len()` columns; for those of a model
    /// without rotary embedding there are none.
    fn positions(
        &self,
        rows: usize,
        blocks: usize,
        inverse_frequencies: &[f32],
    ) -> Result<Self::Positions, Error>;

    /// Sets the number of rows that `x` holds; at most what it was made with. The columns stay.
    fn set_rows(&self, x: &mut Self::Activations, rows: usize);

    /// `out[i] = table[rows[i]]`: table `(n, d)`, out `(rows.len(), d)`. An index past the table
    /// panics.
    fn embed(
        &self,
        table: &Self::Tensor,
        rows: &[u32],
        out: &mut Self::Activations,
    ) -> Result<(), Error>;

    /// `out = x / sqrt(mean(x^2) + eps) * weight` over each run of `weight.len()` columns (Zhang
    /// and Sennrich, 2019): one run a row for a layer norm, one a head for the q/k norms of Qwen3.
    /// `x` and `out` `(rows, n * weight.len())`.
    fn rms_norm(
        &self,
        x: &Self::Activations,
        weight: &Self::Tensor,
        eps: f32,
        out: &mut Self::Activations,
    ) -> Result<(), Error>;

    /// [`Device::rms_norm`] with `x` as its own output.
    fn rms_norm_in_place(
        &self,
        x: &mut Self::Activations,
        weight: &Self::Tensor,
        eps: f32,
    ) -> Result<(), Error>;

    /// `x = (x - mean(x)) / sqrt(variance(x) + eps) * weight + bias` over each row (Ba et al., 2016): x
    /// `(rows, columns)`.
    fn layer_norm(
        &self,
        x: &mut Self::Activations,
        by: Norm<'_, Self::Tensor>,
        eps: f32,
    ) -> Result<(), Error>;

    /// `x += y`, of the same shape.
    fn add(&self, x: &mut Self::Activations, y: &Self::Activations) -> Result<(), Error>;

    /// `out = x weight^T + bias`: x `(rows, inputs)`, out `(rows, outputs)`.
    fn linear(
        &self,
        x: &Self::Activations,
        by: Linear<'_, Self::Tensor>,
        out: &mut Self::Activations,
    ) -> Result<(), Error>;

    /// Each pair's [`Device::linear`] of the same rows: the queries, keys and values of a layer in
    /// one launch.
    fn linear_all(
        &self,
        x: &Self::Activations,
        products: &mut [(Linear<'_, Self::Tensor>, &mut Self::Activations)],
    ) -> Result<(), Error>;

    /// `out += x weight^T + bias`: what a branch adds to the residual stream. x `(rows, inputs)`,
    /// out `(rows, outputs)`.
    fn linear_add(
        &self,
        x: &Self::Activations,
        by: Linear<'_, Self::Tensor>,
        out: &mut Self::Activations,
    ) -> Result<(), Error>;

    /// `SwiGLU` (Shazeer, 2020): `out = silu(gate(x)) * up(x)`, with both weights `(outputs, inputs)`,
    /// x `(rows, inputs)`, out `(rows, outputs)`.
    fn gated(
        &self,
        x: &Self::Activations,
        gate: Linear<'_, Self::Tensor>,
        up: Linear<'_, Self::Tensor>,
        out: &mut Self::Activations,
    ) -> Result<(), Error>;

    /// `out = gelu(x weight^T + bias)` (Hendrycks and Gimpel, 2016): x `(rows, inputs)`, out `(rows,
    /// outputs)`.
    fn linear_gelu(
        &self,
        x: &Self::Activations,
        by: Linear<'_, Self::Tensor>,
        form: Gelu,
        out: &mut Self::Activations,
    ) -> Result<(), Error>;

    /// The rows of a pass are those of `spans`, one behind the other; each is of a sequence of its
    /// own. A span whose blocks end before its rows do panics.
    fn set_positions(
        &self,
        positions: &mut Self::Positions,
        spans: &[Span<'_>],
    ) -> Result<(), Error>;

    /// Rotary embedding (Su et al., 2021) in the half-split layout of the checkpoints: in each head,
    /// columns `i` and `i + head_dim / 2` turn by `position * inverse_frequencies[i]`. x `(rows, n *
    /// head_dim)`.
    fn rope(&self, x: &mut Self::Activations, positions: &Self::Positions) -> Result<(), Error>;

    /// Puts keys and values `(rows, kv_heads * head_dim)` into the cache at the positions of their
    /// rows. A block that the cache does not have panics.
    fn append(
        &self,
        keys: &Self::Activations,
        values: &Self::Activations,
        positions: &Self::Positions,
        cache: &mut Self::KvCache,
    ) -> Result<(), Error>;

    /// Grouped-query attention: each row sees what `mask` lets it see of its sequence; queries and
    /// out `(rows, heads * head_dim)`, scores scaled by `scale`.
    fn attention(
        &self,
        queries: &Self::Activations,
        cache: &Self::KvCache,
        positions: &Self::Positions,
        scale: f32,
        mask: Mask,
        out: &mut Self::Activations,
    ) -> Result<(), Error>;

    /// Copies `rows` of `x` to as many rows of `out` from row `to` on.
    fn copy_rows(
        &self,
        x: &Self::Activations,
        rows: Range<usize>,
        out: &mut Self::Activations,
        to: usize,
    ) -> Result<(), Error>;

    /// A token of each row of logits that has a draw, chosen where they are. `None` leaves the choice to the host, which
    /// reads the logits: where there is no draw, where no token can be chosen (a logit is NaN or plus infinity, or all
    /// are minus infinity), and on a device whose memory is the host's where the choice is not a greedy one.
    fn draw(
        &self,
        logits: &Self::Activations,
        draws: &[Option<Draw>],
    ) -> Result<Vec<Option<u32>>, Error>;

    /// Has the operations done that `issue` issues; if it fails, none of them needs to be. A device may begin only when
    /// all are known, and recognise those that it has done before: a step that recurs costs one launch.
    ///
    /// Within it nothing is made, dropped, sent ([`upload`](Self::upload), [`embed`](Self::embed),
    /// [`set_positions`](Self::set_positions)) or brought back ([`draw`](Self::draw), [`read`](Self::read)), and nothing
    /// waits for a load.
    fn as_one<E: From<Error>>(&self, issue: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        issue()
    }

    /// Copies `(rows, columns)` to the host, row-major. Waits for everything issued before it.
    fn read(&self, x: &Self::Activations) -> Result<Vec<f32>, Error>;
}
