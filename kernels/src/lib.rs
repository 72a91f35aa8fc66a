//! The arithmetic: dot products, GEMV, GEMM, norms, attention, by SIMD chosen at run time.
//!
//! Plain slices in, plain slices out: no tensors, no models. Weights stay in the dtype of the
//! checkpoint ([`Elements`]) and are widened on their way into the registers; activations and sums
//! are f32. An [`Isa`] with products of bf16 rounds the activations that meet bf16 weights, as the
//! peers of this project do, instead of widening the weights. Every operation takes the [`Isa`] it
//! shall use and spreads itself over the threads of the current [`Team`] where that pays. Sizes that
//! do not fit together panic.
//!
//! # Every result is the same, every time
//!
//! The bits of a result depend on the numbers, on the [`Isa`], and on nothing else: not on the
//! number of threads, and not on the rows that are computed beside a row. A token's activations are
//! the same whether it comes alone or in a prompt of 512, because each output of [`linear()`] is
//! one chain of sums in one order, whatever the blocking, and each row of [`attention()`] takes its
//! keys in blocks that begin at fixed positions.
//!
//! # Layout
//!
//! - [`elements`]: weights in their dtype, and as a matrix
//! - [`isa`]: the instruction sets of this machine; `simd` is what an operation may use of one
//! - [`mod@linear`]: GEMV and GEMM, on the tiles of `tile`, which multiply in one of the ways of
//!   `form`
//! - [`attention`](mod@attention): over the keys and values that [`kv`] lays out
//! - [`norm`], [`mod@rope`], [`elementwise`], [`mod@softmax`]: the rest of a decoder
//! - [`mod@argmax`]: the greedy choice of a token
//! - [`mod@layer_norm`], [`mod@gelu`]: what an encoder has in place of some of them
//! - `threads`: the [`Team`] that an operation spreads itself over, and when
//! - [`limits`]: what the machine can do at most, for the benches
//! - [`cuda`]: the kernels for GPUs, as machine code, and how they are launched
//! - [`mod@reference`]: all of them once more, slowly and in f64, for the tests
#![expect(clippy::missing_panics_doc, reason = "as said above: sizes that do not fit panic")]
#![expect(
    clippy::inline_always,
    reason = "vector code must be inlined into the function that enables its instruction set"
)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]
#![cfg_attr(test, allow(clippy::float_cmp, reason = "many results are exact, and tested to be"))]

pub mod argmax;
pub mod attention;
pub mod cuda;
pub mod elements;
pub mod elementwise;
pub mod gelu;
pub mod isa;
pub mod kv;
pub mod layer_norm;
#[doc(hidden)]
pub mod limits;
pub mod linear;
pub mod norm;
#[doc(hidden)]
pub mod reference;
pub mod rope;
pub mod softmax;

mod form;
mod simd;
mod threads;
mod tile;

pub use argmax::argmax;
pub use attention::{Attend, Mask, attention};
pub use elements::{Elements, Matrix};
pub use elementwise::{add, silu_mul, widen};
pub use gelu::{Gelu, gelu};
pub use isa::Isa;
pub use kv::{KV_BLOCK, KvLayout, KvView, Span};
pub use layer_norm::layer_norm;
pub use linear::{Product, gated, linear, linear_add, linear_all};
pub use norm::{rms_norm, rms_norm_in_place};
pub use rope::{rope, turns};
pub use softmax::softmax;
pub use threads::team::Team;
