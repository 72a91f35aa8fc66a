//! Causal grouped-query attention over a cache, a block of positions at a time.
//!
//! For each row and each head with keys, its group of queries meets the blocks of the cache in their order. A block gives
//! a score for each of its positions; the softmax is *online* (Milakov and Gimelshein, 2018,
//! <https://arxiv.org/abs/1805.02867>): the sums so far are kept relative to the largest score so far, and scaled down
//! when a larger one comes. So no row of scores is ever longer than a block. Blocks begin at fixed positions, which is why
//! a row's result does not depend on the rows beside it.

use std::array;
use std::ops::Range;

use crate::isa::Isa;
use crate::kv::KvView;
use crate::simd::{Kernel, Simd};
use crate::{softmax, threads, tile};

/// What a query attends to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attend {
    /// Heads that ask: a multiple of those with keys.
    pub heads: usize,
    /// What scores are multiplied with; mostly `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// A position sees itself and the `window - 1` before it.
    pub window: Option<usize>,
}

/// Attention of the last rows of the cache: `queries` and `out` are `(rows, heads * head_dim)`, and the rows are the last
/// ones of `cache.positions`.
pub fn attention(isa: Isa, queries: &[f32], cache: KvView<'_>, attend: Attend, out: &mut [f32]) {
    let kv_heads = cache.layout.kv_heads;
    let columns = attend.heads * cache.layout.head_dim;
    if out.is_empty() && queries.is_empty() {
        return;
    }
    let rows = queries.len() / columns;
    assert!(
        queries.len() == rows * columns && out.len() == queries.len(),
        "{} queries and {} results in rows of {columns}",
        queries.len(),
        out.len()
    );
    assert!(rows <= cache.positions, "{rows} rows of {} positions", cache.positions);
    assert!(attend.heads.is_multiple_of(kv_heads), "{} heads on {kv_heads}", attend.heads);
    assert_ne!(attend.window, Some(0), "a position sees itself");

    let group_columns = columns / kv_heads;
    let cost = 2 * out.len() * attend.window.unwrap_or(usize::MAX).min(cache.positions);
    threads::for_each_piece(out, group_columns, cost, |index, out| {
        let (row, kv_head) = (index / kv_heads, index % kv_heads);
        let end = cache.positions - rows + row + 1;
        let visible = end.saturating_sub(attend.window.unwrap_or(end))..end;
        let queries = &queries[index * group_columns..][..group_columns];
        isa.run(Group { queries, cache, kv_head, visible, scale: attend.scale, out });
    });
}

/// The heads of one row that share keys and values.
struct Group<'a> {
    /// `(heads of the group, head_dim)`, like `out`.
    queries: &'a [f32],
    cache: KvView<'a>,
    kv_head: usize,
    visible: Range<usize>,
    scale: f32,
    out: &'a mut [f32],
}

/// A softmax that has seen some blocks. Everything is per head of the group.
struct Online {
    /// The largest score yet.
    maxima: Vec<f32>,
    /// The sum of `e^(score - maximum)`.
    sums: Vec<f32>,
    /// `(heads, BLOCK)`: the scores of the block, then their exponentials.
    scores: Vec<f32>,
    /// `(heads, width)`: the values, weighted with those exponentials.
    values: Vec<f32>,
}

/// Runs `$body` for all of `$heads` in tiles of four, two and one, with `$m` as that constant and `$head` as the first.
macro_rules! for_each_tile {
    ($heads:expr, ($head:ident, $m:ident) => $body:expr) => {{
        let mut $head = 0;
        for_each_tile!(@ 4, $heads, ($head, $m) => $body);
        for_each_tile!(@ 2, $heads, ($head, $m) => $body);
        for_each_tile!(@ 1, $heads, ($head, $m) => $body);
    }};
    (@ $count:literal, $heads:expr, ($head:ident, $m:ident) => $body:expr) => {{
        const $m: usize = $count;
        while $heads - $head >= $m {
            $body;
            $head += $m;
        }
    }};
}

impl Kernel for Group<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let layout = self.cache.layout;
        let heads = self.queries.len() / layout.head_dim;
        let mut online = Online::new(heads, layout.width());
        for block in self.visible.start / BLOCK..self.visible.end.div_ceil(BLOCK) {
            let (keys, values) = self.cache.head(block, self.kv_head);
            let first = block * BLOCK;
            let visible =
                self.visible.start.max(first) - first..self.visible.end.min(first + BLOCK) - first;
            online.score(simd, self.queries, keys, self.scale);
            online.normalise(simd, visible.clone());
            online.accumulate(simd, values, visible);
        }
        online.write(self.out, layout.head_dim);
    }
}

impl Online {
    fn new(heads: usize, width: usize) -> Self {
        Self {
            maxima: vec![f32::NEG_INFINITY; heads],
            sums: vec![0.0; heads],
            scores: vec![0.0; heads * BLOCK],
            values: vec![0.0; heads * width],
        }
    }

    /// `scores = queries keys * scale`: queries `(heads, head_dim)`, keys `(head_dim, BLOCK)`.
    #[inline(always)]
    fn score<S: Simd>(&mut self, simd: S, queries: &[f32], keys: &[f32], scale: f32) {
        let head_dim = keys.len() / BLOCK;
        let keys = S::chunks(keys).0;
        let stride = BLOCK / S::LANES;
        for_each_tile!(self.sums.len(), (head, M) => {
            let queries: [_; M] = array::from_fn(|m| &queries[(head + m) * head_dim..][..head_dim]);
            for column in (0..stride).step_by(2) {
                let mut sums = [[simd.splat(0.0); 2]; M];
                tile::outer(simd, queries, &keys[column..], stride, &mut sums);
                for (m, sums) in sums.iter().enumerate() {
                    let row = S::chunks_mut(&mut self.scores[(head + m) * BLOCK..][..BLOCK]).0;
                    simd.store(simd.mul(sums[0], simd.splat(scale)), &mut row[column]);
                    simd.store(simd.mul(sums[1], simd.splat(scale)), &mut row[column + 1]);
                }
            }
        });
    }

    /// Takes the visible scores into the softmax: leaves their exponentials, and scales what was before.
    #[inline(always)]
    fn normalise<S: Simd>(&mut self, simd: S, visible: Range<usize>) {
        let width = self.values.len() / self.sums.len();
        let rows = self.scores.chunks_exact_mut(BLOCK).zip(self.values.chunks_exact_mut(width));
        let state = self.maxima.iter_mut().zip(&mut self.sums);
        for ((scores, values), (maximum, sum)) in rows.zip(state) {
            let scores = &mut scores[visible.clone()];
            let larger = maximum.max(softmax::maximum(simd, scores));
            // While all scores are minus infinity, so that a later block can still begin the sums.
            let shift = if larger == f32::NEG_INFINITY { 0.0 } else { larger };
            let shrink = (*maximum - shift).exp();
            *maximum = larger;
            *sum = *sum * shrink + softmax::exp_and_sum(simd, scores, shift);
            for value in values {
                *value *= shrink;
            }
        }
    }

    /// `values += exponentials block`: exponentials `(heads, visible)`, block `(BLOCK, width)`.
    #[inline(always)]
    fn accumulate<S: Simd>(&mut self, simd: S, block: &[f32], visible: Range<usize>) {
        let width = block.len() / BLOCK;
        let stride = width / S::LANES;
        let block = &S::chunks(block).0[visible.start * stride..];
        for_each_tile!(self.sums.len(), (head, M) => {
            let weights: [_; M] =
                array::from_fn(|m| &self.scores[(head + m) * BLOCK..][visible.clone()]);
            for column in (0..stride).step_by(2) {
                let mut sums = [[simd.splat(0.0); 2]; M];
                for (m, sums) in sums.iter_mut().enumerate() {
                    let row = S::chunks(&self.values[(head + m) * width..][..width]).0;
                    *sums = [simd.load(&row[column]), simd.load(&row[column + 1])];
                }
                tile::outer(simd, weights, &block[column..], stride, &mut sums);
                for (m, sums) in sums.iter().enumerate() {
                    let row = S::chunks_mut(&mut self.values[(head + m) * width..][..width]).0;
                    simd.store(sums[0], &mut row[column]);
                    simd.store(sums[1], &mut row[column + 1]);
                }
            }
        });
    }

    fn write(&self, out: &mut [f32], head_dim: usize) {
        let width = self.values.len() / self.sums.len();
        let rows = out.chunks_exact_mut(head_dim).zip(self.values.chunks_exact(width));
        for ((out, values), sum) in rows.zip(&self.sums) {
            for (out, value) in out.iter_mut().zip(values) {
                *out = value / sum;
            }
        }
    }
}

/// Positions in a block: four vectors of sixteen; a block of one head and 64 columns is as large as a first-level cache.
pub(crate) const BLOCK: usize = 64;

#[cfg(test)]
mod tests;
