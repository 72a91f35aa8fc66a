//! The product of more rows than fit the registers.
//!
//! A block is 64 rows by a few panels of outputs. It walks the inner dimension in steps that are small enough for a panel
//! of widened weights and a tile of rows to stay in the first-level cache; between the steps the tiles' sums wait in the
//! second-level cache, as vectors, so that a sum is the same chain as if it had never waited.

use std::array;
use std::ops::Range;

use super::{Product, TILE_ROWS};
use crate::elements::Element;
use crate::simd::Simd;
use crate::tile;

impl<E: Element> Product<'_, '_, E> {
    /// Any number of rows, in tiles with `N` outputs.
    #[inline(always)]
    pub(super) fn block<S: Simd, const N: usize>(&mut self, simd: S) {
        let mut block = Block::<S, N>::new(simd);
        for rows in pieces(self.rows(), BLOCK_ROWS) {
            for columns in pieces(self.columns(), BLOCK_PANELS * N) {
                block.clear(simd);
                for steps in pieces(self.inputs / S::LANES, BLOCK_STEPS) {
                    block.widen(simd, self, columns.clone(), steps.clone());
                    block.add(simd, self, rows.clone(), columns.len(), steps);
                }
                block.finish(simd, self, rows.clone(), columns);
            }
        }
    }
}

struct Block<S: Simd, const N: usize> {
    /// `(outputs, BLOCK_STEPS)` vectors.
    weights: Vec<S::Array<f32>>,
    /// `(panels, PANEL_TILES)`
    tiles: Vec<Tile<S, N>>,
}

/// Sums of `TILE_ROWS` rows and `N` outputs, a vector each.
type Tile<S, const N: usize> = [[<S as Simd>::Vector; N]; TILE_ROWS];

/// Runs `$body` with `$m` as the constant number of rows in a tile at `$row` of rows that end at `$end`.
macro_rules! with_tile_rows {
    ($row:expr, $end:expr, $m:ident => $body:expr) => {
        match $end - $row {
            1 => with_tile_rows!(@ 1, $m => $body),
            2 => with_tile_rows!(@ 2, $m => $body),
            3 => with_tile_rows!(@ 3, $m => $body),
            _ => with_tile_rows!(@ TILE_ROWS, $m => $body),
        }
    };
    (@ $count:expr, $m:ident => $body:expr) => {{
        const $m: usize = $count;
        $body
    }};
}

impl<S: Simd, const N: usize> Block<S, N> {
    #[inline(always)]
    fn new(simd: S) -> Self {
        let tile = [[simd.splat(0.0); N]; TILE_ROWS];
        Self {
            weights: vec![S::padded(&[]); BLOCK_PANELS * N * BLOCK_STEPS],
            tiles: vec![tile; BLOCK_PANELS * PANEL_TILES],
        }
    }

    #[inline(always)]
    fn clear(&mut self, simd: S) {
        self.tiles.fill([[simd.splat(0.0); N]; TILE_ROWS]);
    }

    /// Makes f32 of some steps of the weights of `columns`.
    #[inline(always)]
    fn widen<E: Element>(
        &mut self,
        simd: S,
        product: &Product<'_, '_, E>,
        columns: Range<usize>,
        steps: Range<usize>,
    ) {
        for (column, widened) in columns.zip(self.weights.chunks_exact_mut(BLOCK_STEPS)) {
            let weights = &S::chunks(product.weight_row(column)).0[steps.clone()];
            for (from, to) in weights.iter().zip(widened) {
                simd.store(E::load(simd, from), to);
            }
        }
    }

    /// Adds the products of those steps to the tiles.
    #[inline(always)]
    fn add<E: Element>(
        &mut self,
        simd: S,
        product: &Product<'_, '_, E>,
        rows: Range<usize>,
        columns: usize,
        steps: Range<usize>,
    ) {
        let Self { weights, tiles } = self;
        for (panel, column) in (0..columns).step_by(N).enumerate() {
            // Past the last column it is the last again.
            let row_of_weights = |n: usize| (column + n).min(columns - 1) * BLOCK_STEPS;
            let w: [_; N] = array::from_fn(|n| &weights[row_of_weights(n)..][..steps.len()]);
            for (tile, row) in rows.clone().step_by(TILE_ROWS).enumerate() {
                let x = |m| &S::chunks(product.x_row(row + m)).0[steps.clone()];
                let tile = &mut tiles[panel * PANEL_TILES + tile];
                with_tile_rows!(row, rows.end, M => {
                    let sums = tile.first_chunk_mut::<M>().expect("M is at most TILE_ROWS");
                    tile::dot::<S, f32, M, N>(simd, array::from_fn(x), w, sums);
                });
            }
        }
    }

    /// Writes the results of the block.
    #[inline(always)]
    fn finish<E: Element>(
        &mut self,
        simd: S,
        product: &mut Product<'_, '_, E>,
        rows: Range<usize>,
        columns: Range<usize>,
    ) {
        for (panel, column) in columns.step_by(N).enumerate() {
            for (tile, row) in rows.clone().step_by(TILE_ROWS).enumerate() {
                let tile = &mut self.tiles[panel * PANEL_TILES + tile];
                with_tile_rows!(row, rows.end, M => {
                    let sums = tile.first_chunk_mut::<M>().expect("M is at most TILE_ROWS");
                    product.finish(simd, row, column, sums);
                });
            }
        }
    }
}

/// `0..length` in ranges of `size`; the last may be shorter.
fn pieces(length: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    (0..length).step_by(size).map(move |start| start..length.min(start + size))
}

/// A multiple of `TILE_ROWS`. Each weight is widened once for so many rows, which costs them three per cent.
const BLOCK_ROWS: usize = 64;

/// Tiles of a panel in a block.
const PANEL_TILES: usize = BLOCK_ROWS / TILE_ROWS;

/// Panels that share 64 rows of `x` while these are in the second-level cache.
const BLOCK_PANELS: usize = 4;

/// Vectors of the inner dimension: with AVX-512 a panel of weights is 12 KiB and a tile of rows 8 KiB.
const BLOCK_STEPS: usize = 32;
