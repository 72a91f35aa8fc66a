//! GEMV and GEMM with weights as they lie in the checkpoint: `(outputs, inputs)`, row-major, in
//! their own dtype.
//!
//! Both operands run along the inner dimension, so no weight is moved, transposed or kept in
//! another form: a tile of outputs keeps a vector of partial sums each, widens its weights on their
//! way into the registers, and adds the lanes up at the end. One row (decoding) multiplies eight
//! weight rows at a time, at the speed of memory. Up to eight rows share what was widened, which
//! makes it as fast as if the weights had been f32: the additional instructions run beside the
//! multiply-adds. More rows (a prompt) come in such groups, and a block of weights waits in the
//! second-level cache while they pass.
//!
//! The outputs are spread over the threads. Whatever the tile, an output is the same chain of sums
//! (`tile::dot`), then the rest of the row as one more vector with zeros behind it, then the
//! lanes in a fixed order, then the bias.

use std::ops::Range;
use std::{array, slice};

use crate::elements::{Element, Elements, Matrix, with_dtype};
use crate::isa::Isa;
use crate::simd::{Kernel, Simd};
use crate::{threads, tile};

/// `out = x weight^T + bias`: x `(rows, inputs)`, weight `(outputs, inputs)`, bias `(outputs)`, out
/// `(rows, outputs)`.
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
    let mut pieces = threads::rectangles(out, outputs, rows, width);
    threads::for_each_piece(&mut pieces, 1, cost, |index, piece| {
        let first = index * width;
        let out = &mut *piece[0];
        with_dtype!(weight.elements(), elements => {
            isa.run(Product { x, inputs, weight: &elements[first * inputs..], bias, first, out });
        });
    });
}

/// Outputs of one piece of work: several a thread, since a thread may lose its core to one that
/// fetches.
fn piece_width(outputs: usize) -> usize {
    let pieces = threads::count() * PIECES_PER_THREAD;
    outputs.div_ceil(pieces).next_multiple_of(TILE_MULTIPLE)
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
        let max_rows = if S::REGISTERS == 32 { 8 } else { 4 };
        let groups = self.rows().div_ceil(max_rows);
        let group_rows = self.rows().div_ceil(groups);
        let row_bytes = (self.inputs * size_of::<E>()).max(1);
        let block_columns = (BLOCK_BYTES / row_bytes).next_multiple_of(TILE_MULTIPLE);
        for columns in pieces(self.columns(), block_columns) {
            for rows in pieces(self.rows(), group_rows) {
                self.group(simd, rows, columns.clone());
            }
        }
    }
}

impl<E: Element> Product<'_, '_, E> {
    /// Some rows, as many as a tile has, and some columns, in tiles with as many sums as fit the
    /// registers beside a row of `x` and what was widened.
    #[inline(always)]
    fn group<S: Simd>(&mut self, simd: S, rows: Range<usize>, columns: Range<usize>) {
        let row = rows.start;
        match (rows.len(), S::REGISTERS) {
            (1, _) => self.tiles::<S, 1, 8>(simd, row, columns),
            (2, 32) => self.tiles::<S, 2, 6>(simd, row, columns),
            (3, 32) => self.tiles::<S, 3, 6>(simd, row, columns),
            (4, 32) => self.tiles::<S, 4, 6>(simd, row, columns),
            (5, 32) => self.tiles::<S, 5, 4>(simd, row, columns),
            (6, 32) => self.tiles::<S, 6, 4>(simd, row, columns),
            (7, 32) => self.tiles::<S, 7, 3>(simd, row, columns),
            (8, 32) => self.tiles::<S, 8, 3>(simd, row, columns),
            (2, _) => self.tiles::<S, 2, 4>(simd, row, columns),
            (3, _) => self.tiles::<S, 3, 3>(simd, row, columns),
            (4, _) => self.tiles::<S, 4, 3>(simd, row, columns),
            (rows, registers) => unreachable!("{rows} rows in {registers} registers"),
        }
    }

    /// `M` rows, in tiles of `N` columns.
    #[inline(always)]
    fn tiles<S: Simd, const M: usize, const N: usize>(
        &mut self,
        simd: S,
        row: usize,
        columns: Range<usize>,
    ) {
        for column in columns.step_by(N) {
            let mut sums = [[simd.splat(0.0); N]; M];
            let x = array::from_fn(|m| S::chunks(self.x_row(row + m)).0);
            let w = array::from_fn(|n| S::chunks(self.weight_row(column + n)).0);
            let ahead = self.weight.get((column + N) * self.inputs..).unwrap_or(&[]);
            tile::dot(simd, x, w, ahead, &mut sums);
            self.finish(simd, row, column, &mut sums);
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
                &[],
                sums,
            );
        }
        let columns = N.min(self.columns() - column);
        for (m, sums) in sums.iter().enumerate() {
            let out = &mut self.out[row + m][column..][..columns];
            for (n, out) in (0..N).step_by(4).zip(out.chunks_mut(4)) {
                let four = [sums[n], sums[(n + 1) % N], sums[(n + 2) % N], sums[(n + 3) % N]];
                for (out, sum) in out.iter_mut().zip(simd.sums(four)) {
                    *out = sum;
                }
            }
            if let Some(bias) = self.bias {
                for (n, out) in out.iter_mut().enumerate() {
                    *out += bias.get(self.first + column + n);
                }
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

    /// The weights of a column; past the last it is the last again, so that tiles need not be
    /// whole.
    #[inline(always)]
    fn weight_row(&self, column: usize) -> &[E] {
        &self.weight[column.min(self.columns() - 1) * self.inputs..][..self.inputs]
    }
}

/// `0..length` in ranges of `size`; the last may be shorter.
fn pieces(length: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    (0..length).step_by(size).map(move |start| start..length.min(start + size))
}

/// Weights of a block: a quarter of a second-level cache of 1 MiB, since the rows of `x` pass
/// through it as well.
const BLOCK_BYTES: usize = 256 << 10;

/// What the columns of all tiles divide, so that only the last tile of a matrix is not whole.
const TILE_MULTIPLE: usize = 24;

/// Pieces of work a thread. More balance better, and cost more to hand out.
const PIECES_PER_THREAD: usize = 4;

#[cfg(test)]
mod tests;
