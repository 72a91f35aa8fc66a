//! GEMV and GEMM with weights as they lie in the checkpoint: `(outputs, inputs)`, row-major, in
//! their own dtype.
//!
//! Both operands run along the inner dimension, so no weight is moved, transposed or kept in
//! another form: a tile of outputs keeps a vector of partial sums each, and adds the lanes up at
//! the end. What the weights meet is said by `form`: where the processor multiplies bf16, the
//! activations of bf16 weights are rounded to bf16 first, as those who trained them do; otherwise
//! the weights are widened on their way into the registers.
//!
//! One region of work may hold several products of the same rows ([`linear_all`]) or two that
//! become one ([`gated`]). `region` cuts it into pieces for the threads, `panel` multiplies a piece,
//! tile by tile, and says what becomes of the results while they are in registers.

mod panel;
mod region;
mod rounded;

use self::panel::Then;
use self::region::{Pass, Target};
use crate::elements::{Elements, Matrix};
use crate::isa::Isa;

/// One of several products of the same rows.
#[derive(Debug)]
pub struct Product<'a> {
    /// `(outputs, inputs)`
    pub weight: Matrix<'a>,
    /// `(outputs)`
    pub bias: Option<Elements<'a>>,
    /// `(rows, outputs)`
    pub out: &'a mut [f32],
}

/// `out = x weight^T + bias`: x `(rows, inputs)`, weight `(outputs, inputs)`, bias `(outputs)`, out
/// `(rows, outputs)`.
pub fn linear(
    isa: Isa,
    x: &[f32],
    weight: Matrix<'_>,
    bias: Option<Elements<'_>>,
    out: &mut [f32],
) {
    let passes = [Pass::new(weight, bias, Then::Set)];
    region::run(isa, x, &mut [Target::new(&passes, out)]);
}

/// Each product's [`linear`], at once.
pub fn linear_all(isa: Isa, x: &[f32], products: &mut [Product<'_>]) {
    let passes: Vec<_> = products
        .iter()
        .map(|product| [Pass::new(product.weight, product.bias, Then::Set)])
        .collect();
    let outs = products.iter_mut().map(|product| &mut *product.out);
    let mut targets: Vec<_> =
        passes.iter().zip(outs).map(|(passes, out)| Target::new(passes, out)).collect();
    region::run(isa, x, &mut targets);
}

/// `out += x weight^T + bias`.
pub fn linear_add(
    isa: Isa,
    x: &[f32],
    weight: Matrix<'_>,
    bias: Option<Elements<'_>>,
    out: &mut [f32],
) {
    let passes = [Pass::new(weight, bias, Then::Add)];
    region::run(isa, x, &mut [Target::new(&passes, out)]);
}

/// `out = silu(x gate^T + bias) * (x up^T + bias)`, as [`silu_mul`](crate::silu_mul) of the two,
/// which must have the same shape.
pub fn gated(
    isa: Isa,
    x: &[f32],
    gate: (Matrix<'_>, Option<Elements<'_>>),
    up: (Matrix<'_>, Option<Elements<'_>>),
    out: &mut [f32],
) {
    let passes = [Pass::new(gate.0, gate.1, Then::Set), Pass::new(up.0, up.1, Then::Gate)];
    region::run(isa, x, &mut [Target::new(&passes, out)]);
}

#[cfg(test)]
mod tests;
