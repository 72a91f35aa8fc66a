//! A block of a product: rows by columns, in tiles that stay in the registers.
//!
//! One row (decoding) multiplies weight rows in the order of memory, at its speed. More rows (a
//! prompt) come in groups that share what was loaded of the weights, and a block of weights waits in
//! the second-level cache while the groups pass.
//!
//! Whatever the tile, an output is the same chain of sums (`tile::dot`), then the rest of the row as
//! one more vector with zeros behind it, then the lanes in a fixed order, then the bias.

use std::ops::Range;
use std::{array, slice};

use half::bf16;

use crate::elements::{Element, Elements};
use crate::elementwise::silu_mul_in;
use crate::form::{Form, Lanes, Pairs, Vector, Widened};
use crate::simd::{Bf16Dot, Bf16Kernel, Kernel, Simd};
use crate::tile::{self, LINE_BYTES};

/// What becomes of a product.
#[derive(Clone, Copy)]
pub(super) enum Then {
    /// `out = product`
    Set,
    /// `out += product`
    Add,
    /// `out = silu(out) * product`
    Gate,
}

/// Some columns of some rows of a product, without its operands.
pub(super) struct Panel<'a, 'out> {
    pub(super) inputs: usize,
    pub(super) bias: Option<Elements<'a>>,
    /// The number of the first column of `out`, for the bias.
    pub(super) first: usize,
    /// Which of the columns of `out` to compute.
    pub(super) columns: Range<usize>,
    pub(super) then: Then,
    /// Some columns, row by row.
    pub(super) out: &'a mut [&'out mut [f32]],
}

/// A [`Panel`] with its operands.
pub(super) struct Multiply<'a, 'out, X, E> {
    panel: Panel<'a, 'out>,
    /// Rows, `stride` apart.
    x: &'a [X],
    stride: usize,
    /// `(outputs, inputs)`, from the first column of `out` on.
    weight: &'a [E],
}

impl<'a, 'out> Panel<'a, 'out> {
    pub(super) fn of<X, E>(
        self,
        x: &'a [X],
        stride: usize,
        weight: &'a [E],
    ) -> Multiply<'a, 'out, X, E> {
        Multiply { panel: self, x, stride, weight }
    }
}

impl<E: Element> Kernel for Multiply<'_, '_, f32, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.by(Widened::new(simd));
    }
}

impl Bf16Kernel for Multiply<'_, '_, [bf16; 2], bf16> {
    type Output = ();

    #[inline(always)]
    fn run<D: Bf16Dot>(self, dot: D) {
        self.by(Pairs(dot));
    }
}

impl<X: Copy + Default, E: Element> Multiply<'_, '_, X, E> {
    #[inline(always)]
    fn by<F: Form<X = X, Element = E>>(mut self, form: F) {
        let rows = self.panel.out.len();
        let mut row = 0;
        while row < rows {
            row += self.group(form, row, rows - row);
        }
    }

    /// Some of the `rows` from `row` on, and how many: in tiles with as many sums as fit the
    /// registers beside a row of `x` and what was loaded of the weights. Powers of two are enough:
    /// every further shape is compiled for each dtype and instruction set.
    #[inline(always)]
    fn group<F: Form<X = X, Element = E>>(&mut self, form: F, row: usize, rows: usize) -> usize {
        match (rows, F::Simd::REGISTERS) {
            (1, _) => self.tiles::<F, 1, 8>(form, row),
            (8.., 32) => self.tiles::<F, 8, 3>(form, row),
            (4.., 32) => self.tiles::<F, 4, 6>(form, row),
            (_, 32) => self.tiles::<F, 2, 6>(form, row),
            (4.., _) => self.tiles::<F, 4, 3>(form, row),
            (_, _) => self.tiles::<F, 2, 4>(form, row),
        }
    }

    /// `M` rows, in tiles of `N` columns. Says `M`.
    #[inline(always)]
    fn tiles<F: Form<X = X, Element = E>, const M: usize, const N: usize>(
        &mut self,
        form: F,
        row: usize,
    ) -> usize {
        for column in self.panel.columns.clone().step_by(N) {
            let mut sums = [[form.simd().splat(0.0); N]; M];
            let w = array::from_fn(|n| F::split(self.weight_row(column + n)).0);
            let x = array::from_fn(|m| F::Simd::chunks(self.x_row::<F>(row + m)).0);
            for out in &self.panel.out[row..row + M] {
                form.simd().prefetch(out, column); // for `finish`
            }
            let behind = |column| self.weight.get(column * self.panel.inputs..).unwrap_or(&[]);
            if M == 1 && size_of::<Lanes<F, F::Weight>>() >= LINE_BYTES {
                tile::dot_in_order(form, x[0], w, behind(column), &mut sums[0]);
            } else {
                tile::dot(form, x, w, behind(column + N), &mut sums);
            }
            self.add_rest(form, row, column, &mut sums);
            self.finish::<F, M, N>(form.simd(), row, column, &sums);
        }
        M
    }

    /// Adds what is left of the rows behind the last whole vector.
    #[inline(always)]
    fn add_rest<F: Form<X = X, Element = E>, const M: usize, const N: usize>(
        &self,
        form: F,
        row: usize,
        column: usize,
        sums: &mut [[Vector<F>; N]; M],
    ) {
        let vector = F::Simd::LANES * size_of::<F::Weight>() / size_of::<E>();
        if self.panel.inputs.is_multiple_of(vector) {
            return;
        }
        let whole = self.panel.inputs / vector * F::Simd::LANES;
        let x: [_; M] = array::from_fn(|m| F::Simd::padded(&self.x_row::<F>(row + m)[whole..]));
        let w: [_; N] = array::from_fn(|n| F::split(self.weight_row(column + n)).1);
        let (x, w) = (x.each_ref().map(slice::from_ref), w.each_ref().map(slice::from_ref));
        tile::dot(form, x, w, &[], sums);
    }

    /// Adds up the lanes, and writes a tile of results.
    #[inline(always)]
    fn finish<F: Form<X = X, Element = E>, const M: usize, const N: usize>(
        &mut self,
        simd: F::Simd,
        row: usize,
        column: usize,
        sums: &[[Vector<F>; N]; M],
    ) {
        let Panel { bias, first, ref columns, then, ref mut out, .. } = self.panel;
        let width = N.min(columns.end - column);
        let mut products = totals(simd, sums);
        if let Some(bias) = bias {
            for n in 0..width {
                let bias = bias.get(first + column + n);
                for products in &mut products {
                    products[n] += bias;
                }
            }
        }
        let mut before = [[0.0; N]; M];
        if !matches!(then, Then::Set) {
            for (before, out) in before.iter_mut().zip(&out[row..]) {
                copy::<N>(&out[column..][..width], before);
            }
        }
        match then {
            Then::Set => {}
            Then::Add => {
                let before = before.as_flattened();
                for (product, before) in products.as_flattened_mut().iter_mut().zip(before) {
                    *product += before;
                }
            }
            Then::Gate => {
                silu_mul_in(simd, before.as_flattened_mut(), products.as_flattened());
                products = before;
            }
        }
        for (products, out) in products.iter().zip(&mut out[row..]) {
            copy::<N>(products, &mut out[column..][..width]);
        }
    }

    #[inline(always)]
    fn x_row<F: Form<X = X, Element = E>>(&self, row: usize) -> &[X] {
        let length = self.panel.inputs.div_ceil(size_of::<F::Weight>() / size_of::<E>());
        &self.x[row * self.stride..][..length]
    }

    /// The weights of a column; past the last it is the last again, so that tiles need not be
    /// whole.
    #[inline(always)]
    fn weight_row(&self, column: usize) -> &[E] {
        &self.weight[column.min(self.panel.columns.end - 1) * self.panel.inputs..]
            [..self.panel.inputs]
    }
}

/// The lanes of each sum, added up.
#[inline(always)]
fn totals<S: Simd, const M: usize, const N: usize>(
    simd: S,
    sums: &[[S::Vector; N]; M],
) -> [[f32; N]; M] {
    let mut totals = [[0.0; N]; M];
    let (eights, rest) = sums.as_flattened().as_chunks();
    let (total_eights, total_rest) = totals.as_flattened_mut().as_chunks_mut();
    for (sums, totals) in eights.iter().zip(total_eights) {
        *totals = simd.sums(sums);
    }
    if !rest.is_empty() {
        let mut last = [simd.splat(0.0); 8];
        last[..rest.len()].copy_from_slice(rest);
        total_rest.copy_from_slice(&simd.sums(&last)[..rest.len()]);
    }
    totals
}

/// As many as both have; mostly `N`, which needs no loop.
#[inline(always)]
fn copy<const N: usize>(from: &[f32], to: &mut [f32]) {
    if let (Some(from), Some(to)) = (from.first_chunk::<N>(), to.first_chunk_mut::<N>()) {
        *to = *from;
    } else {
        for (from, to) in from.iter().zip(to) {
            *to = *from;
        }
    }
}
