//! GEMV and GEMM with weights as they lie in the checkpoint: `(outputs, inputs)`, row-major, in their own dtype.
//!
//! Both operands run along the inner dimension, so no weight is moved or transposed: a tile of outputs keeps a vector of
//! partial sums each, and adds the lanes up at the end. What differs with the number of rows of `x` is who widens:
//!
//! - one row (decoding): eight weight rows at a time stream through the registers, from memory and at its speed;
//! - up to four: the same with a tile, since each weight is still widened once;
//! - more (a prompt): a block of weights is widened to f32 in the second-level cache, and used by 64 rows.
//!
//! The outputs are spread over the threads. Whatever the path, an output is the same chain of sums ([`tile::dot`]), then
//! the rest of the row as one more vector with zeros behind it, then the lanes in a fixed order, then the bias.

mod block;

use std::{array, slice};

use crate::elements::{Element, Elements, Matrix, with_dtype};
use crate::isa::Isa;
use crate::simd::{Kernel, Simd, TileOutputs};
use crate::{threads, tile};

/// `out = x weight^T + bias`: x `(rows, inputs)`, weight `(outputs, inputs)`, bias `(outputs)`, out `(rows, outputs)`.
pub fn linear(
    isa: Isa,
    x: &[f32],
    weight: Matrix<'_>,
    bias: Option<Elements<'_>>,
    out: &mut [f32],
) {
    let (outputs, inputs) = (weight.outputs(), weight.inputs());
    if let Some(bias) = bias {
        assert_eq!(bias.len(), outputs, "length of the bias");
    }
    if outputs == 0 || out.is_empty() {
        assert!(out.is_empty() && (x.is_empty() || outputs == 0), "no outputs of no rows");
        return;
    }
    let rows = out.len() / outputs;
    assert_eq!(out.len(), rows * outputs, "length of the product of {rows} rows");
    assert_eq!(x.len(), rows * inputs, "length of the {rows} rows to multiply");

    let cost = rows * outputs * inputs;
    let width = if threads::pays(cost) { piece_width(outputs) } else { outputs };
    let mut pieces = split_columns(out, outputs, width);
    threads::for_each_piece(&mut pieces, 1, cost, |index, piece| {
        let first = index * width;
        let out = &mut *piece[0];
        with_dtype!(weight.elements(), elements => {
            isa.run(Product { x, inputs, weight: &elements[first * inputs..], bias, first, out });
        });
    });
}

/// Outputs of one piece of work: several a thread, since a thread may lose its core to one that fetches.
fn piece_width(outputs: usize) -> usize {
    let pieces = threads::count() * PIECES_PER_THREAD;
    outputs.div_ceil(pieces).next_multiple_of(STREAMS)
}

/// The rows of `width` columns of `out` each.
fn split_columns(out: &mut [f32], columns: usize, width: usize) -> Vec<Vec<&mut [f32]>> {
    let rows = out.len() / columns;
    let mut pieces: Vec<_> =
        (0..columns.div_ceil(width)).map(|_| Vec::with_capacity(rows)).collect();
    for row in out.chunks_exact_mut(columns) {
        for (piece, part) in pieces.iter_mut().zip(row.chunks_mut(width)) {
            piece.push(part);
        }
    }
    pieces
}

/// Some columns of a product.
struct Product<'a, 'out, E> {
    /// `(rows, inputs)`
    x: &'a [f32],
    inputs: usize,
    /// `(outputs, inputs)`, from the first of these columns on.
    weight: &'a [E],
    bias: Option<Elements<'a>>,
    /// The number of the first column, for the bias.
    first: usize,
    /// The columns, row by row.
    out: &'a mut [&'out mut [f32]],
}

impl<E: Element> Kernel for Product<'_, '_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        match (self.rows(), S::TILE_OUTPUTS) {
            (1, _) => self.stream::<S, 1, STREAMS>(simd),
            (2, _) => self.stream::<S, 2, 4>(simd),
            (3, _) => self.stream::<S, 3, 3>(simd),
            (TILE_ROWS, TileOutputs::Three) => self.stream::<S, TILE_ROWS, 3>(simd),
            (TILE_ROWS, TileOutputs::Six) => self.stream::<S, TILE_ROWS, 6>(simd),
            (_, TileOutputs::Three) => self.block::<S, 3>(simd),
            (_, TileOutputs::Six) => self.block::<S, 6>(simd),
        }
    }
}

impl<E: Element> Product<'_, '_, E> {
    /// All `M` rows, with weights widened on their way into the registers.
    #[inline(always)]
    fn stream<S: Simd, const M: usize, const N: usize>(&mut self, simd: S) {
        for column in (0..self.columns()).step_by(N) {
            let mut sums = [[simd.splat(0.0); N]; M];
            let x = array::from_fn(|m| S::chunks(self.x_row(m)).0);
            let w = array::from_fn(|n| S::chunks(self.weight_row(column + n)).0);
            tile::dot(simd, x, w, &mut sums);
            self.finish(simd, 0, column, &mut sums);
        }
    }

    /// Adds what is left of the rows behind the last whole vector, and writes a tile of results.
    #[inline(always)]
    fn finish<S: Simd, const M: usize, const N: usize>(
        &mut self,
        simd: S,
        row: usize,
        column: usize,
        sums: &mut [[S::Vector; N]; M],
    ) {
        if !self.inputs.is_multiple_of(S::LANES) {
            let x: [_; M] = array::from_fn(|m| S::padded(S::chunks(self.x_row(row + m)).1));
            let w: [_; N] = array::from_fn(|n| S::padded(S::chunks(self.weight_row(column + n)).1));
            tile::dot(
                simd,
                x.each_ref().map(slice::from_ref),
                w.each_ref().map(slice::from_ref),
                sums,
            );
        }
        let columns = N.min(self.columns() - column);
        for (m, sums) in sums.iter().enumerate() {
            for (n, &sum) in sums.iter().enumerate().take(columns) {
                let bias = self.bias.map_or(0.0, |bias| bias.get(self.first + column + n));
                self.out[row + m][column + n] = simd.sum(sum) + bias;
            }
        }
    }

    fn rows(&self) -> usize {
        self.out.len()
    }

    fn columns(&self) -> usize {
        self.out[0].len()
    }

    #[inline(always)]
    fn x_row(&self, row: usize) -> &[f32] {
        &self.x[row * self.inputs..][..self.inputs]
    }

    /// The weights of a column; past the last it is the last again, so that tiles need not be whole.
    #[inline(always)]
    fn weight_row(&self, column: usize) -> &[E] {
        &self.weight[column.min(self.columns() - 1) * self.inputs..][..self.inputs]
    }
}

/// Weight rows that one row of `x` is multiplied with at a time: enough chains to hide the latency of a multiply-add,
/// and no more streams than a prefetcher follows.
const STREAMS: usize = 8;

/// Rows of `x` in a tile.
const TILE_ROWS: usize = 4;

/// Pieces of work a thread. More balance better, and cost more to hand out.
const PIECES_PER_THREAD: usize = 4;

#[cfg(test)]
mod tests;
