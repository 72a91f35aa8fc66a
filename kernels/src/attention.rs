//! Grouped-query attention over a cache, a block of positions at a time.
//!
//! A piece of work is a head with keys and a group of rows of one sequence; each pair of a row and a
//! head that asks is a *query*. The queries of a piece meet the blocks of the sequence in their order,
//! all of them while a block is in the first-level cache. A block gives a score for each of its positions; the
//! softmax is *online* (Milakov and Gimelshein, 2018, <https://arxiv.org/abs/1805.02867>): the sums
//! so far are kept relative to the largest score so far, and scaled down when a larger one comes.
//! So no row of scores is ever longer than a block. Blocks begin at fixed positions, which is why a
//! row's result does not depend on the rows beside it, nor on where in the pool the blocks are.

use std::ops::Range;
use std::{array, mem};

use crate::isa::Isa;
use crate::kv::{KV_BLOCK, KvLayout, KvView, Span};
use crate::simd::{Kernel, Simd};
use crate::threads::Rectangle;
use crate::{softmax, threads, tile};

/// What a query attends to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attend {
    /// Heads that ask: a multiple of those with keys.
    pub heads: usize,
    /// What scores are multiplied with; mostly `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// Which positions a row sees.
    pub mask: Mask,
}

/// Which positions of its sequence a row sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask {
    /// Its own and those before it.
    Causal,
    /// Of those, its own and the last ones before it, so many together.
    Window(usize),
    /// Those of all rows of its sequence in this pass, and those before them.
    Full,
}

impl Mask {
    /// What a position of a sequence sees, whose last position in this pass is before `end`.
    pub(crate) fn visible(self, position: usize, end: usize) -> Range<usize> {
        match self {
            Self::Causal => 0..position + 1,
            Self::Window(window) => (position + 1).saturating_sub(window)..position + 1,
            Self::Full => 0..end,
        }
    }
}

/// `None` is a window without an end.
impl From<Option<usize>> for Mask {
    fn from(window: Option<usize>) -> Self {
        window.map_or(Self::Causal, Self::Window)
    }
}

/// Attention of the rows of some sequences, one sequence after the other: `queries` and `out` are
/// `(rows, heads * head_dim)`. The keys and values of the rows are in the cache already.
pub fn attention(
    isa: Isa,
    queries: &[f32],
    cache: KvView<'_>,
    spans: &[Span<'_>],
    attend: Attend,
    out: &mut [f32],
) {
    let columns = attend.heads * cache.layout.head_dim;
    let rows: usize = spans.iter().map(|span| span.rows).sum();
    let (asked, answered) = (queries.len(), out.len());
    assert!(
        asked == rows * columns && answered == asked,
        "{asked} queries and {answered} results in {rows} rows of {columns}"
    );
    let kv_heads = cache.layout.kv_heads;
    assert!(attend.heads.is_multiple_of(kv_heads), "{} heads on {kv_heads}", attend.heads);
    assert_ne!(attend.mask, Mask::Window(0), "a position sees itself");

    let seen = |span: &Span<'_>| match attend.mask {
        Mask::Window(window) => span.rows * window.min(span.end()),
        Mask::Causal | Mask::Full => span.rows * span.end(),
    };
    let cost = 2 * columns * spans.iter().map(seen).sum::<usize>();
    let mut pieces = Piece::all(queries, cache, spans, attend, out);
    threads::for_each_piece(&mut pieces, 1, cost, |_, piece| isa.run(&mut piece[0]));
}

/// Some rows of a sequence, and the heads that share a head of the cache.
struct Piece<'a, 'out> {
    /// `(rows, heads * head_dim)`, from the first row on.
    queries: &'a [f32],
    attend: Attend,
    cache: KvView<'a>,
    /// Of the sequence.
    blocks: &'a [u32],
    kv_head: usize,
    first_position: usize,
    /// The position behind the last row of the sequence.
    end: usize,
    /// The columns of these heads, row by row.
    out: Rectangle<'out>,
}

impl Kernel for &mut Piece<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let layout = self.cache.layout;
        let rows = self.out.len();
        let queries = self.queries();
        let mut online = Online::new(queries.len(), layout);
        let positions = self.visible(0).start..self.visible(rows - 1).end;
        for block in positions.start / KV_BLOCK..positions.end.div_ceil(KV_BLOCK) {
            let (keys, values) = self.cache.head(self.blocks[block], self.kv_head);
            let ahead = self.ahead(block);
            online.score(simd, &queries, keys, self.attend.scale);
            for (rows, visible) in self.runs(block) {
                let queries = rows.start * self.group()..rows.end * self.group();
                online.normalise(simd, queries.clone(), visible.clone());
                online.accumulate(simd, queries, (values, ahead), visible);
            }
        }
        for (row, out) in self.out.iter_mut().enumerate() {
            online.write(row * out.len() / layout.head_dim, out, layout.head_dim);
        }
    }
}

impl<'a, 'out> Piece<'a, 'out> {
    fn all(
        queries: &'a [f32],
        cache: KvView<'a>,
        spans: &[Span<'a>],
        attend: Attend,
        out: &'out mut [f32],
    ) -> Vec<Self> {
        let KvLayout { kv_heads, head_dim } = cache.layout;
        let columns = attend.heads * head_dim;
        let piece_rows = (PIECE_QUERIES * kv_heads / attend.heads).max(1);
        let mut pieces = Vec::with_capacity(spans.len() * kv_heads);
        let (mut queries, mut out) = (queries, out);
        for span in spans {
            let (own, behind) = mem::take(&mut out).split_at_mut(span.rows * columns);
            let parts = threads::rectangles(own, columns, piece_rows, columns / kv_heads);
            pieces.extend(parts.into_iter().enumerate().map(|(index, out)| {
                let first_row = index / kv_heads * piece_rows;
                Self {
                    queries: &queries[first_row * columns..],
                    attend,
                    cache,
                    blocks: span.blocks,
                    kv_head: index % kv_heads,
                    first_position: span.first + first_row,
                    end: span.end(),
                    out,
                }
            }));
            queries = &queries[span.rows * columns..];
            out = behind;
        }
        pieces
    }

    /// Heads that share the head of the cache.
    fn group(&self) -> usize {
        self.attend.heads / self.cache.layout.kv_heads
    }

    /// All queries, head by head within row by row.
    fn queries(&self) -> Vec<&[f32]> {
        let head_dim = self.cache.layout.head_dim;
        let group_columns = self.group() * head_dim;
        let rows = self.queries.chunks_exact(self.attend.heads * head_dim).take(self.out.len());
        let start = self.kv_head * group_columns;
        rows.flat_map(|row| row[start..start + group_columns].chunks_exact(head_dim)).collect()
    }

    /// From the values of a block to the keys of the next, in numbers; where there is none, nowhere
    /// in particular. It may go backwards, and wraps.
    fn ahead(&self, block: usize) -> usize {
        let (layout, own) = (self.cache.layout, self.blocks[block]);
        let next = self.blocks.get(block + 1).copied().unwrap_or(own);
        let keys = |block: u32| layout.head_start(block as usize, self.kv_head);
        keys(next).wrapping_sub(keys(own) + layout.head_dim * KV_BLOCK)
    }

    /// The positions that a row sees.
    fn visible(&self, row: usize) -> Range<usize> {
        self.attend.mask.visible(self.first_position + row, self.end)
    }

    /// The rows that see something of a block, in runs that see the same, which is in slots of the
    /// block.
    fn runs(&self, block: usize) -> Vec<(Range<usize>, Range<usize>)> {
        let slots = |row| {
            let Range { start, end } = self.visible(row);
            let first = block * KV_BLOCK;
            start.clamp(first, first + KV_BLOCK) - first..end.clamp(first, first + KV_BLOCK) - first
        };
        let mut runs: Vec<(Range<usize>, Range<usize>)> = Vec::new();
        for row in 0..self.out.len() {
            let visible = slots(row);
            match runs.last_mut() {
                _ if visible.is_empty() => {}
                Some((rows, seen)) if *seen == visible => rows.end = row + 1,
                _ => runs.push((row..row + 1, visible)),
            }
        }
        runs
    }
}

/// A softmax that has seen some blocks. Everything is per query.
struct Online {
    /// The largest score yet.
    maxima: Vec<f32>,
    /// The sum of `e^(score - maximum)`.
    sums: Vec<f32>,
    /// `(queries, KV_BLOCK)`: the scores of the block, then their exponentials.
    scores: Vec<f32>,
    /// `(queries, width)`: the values, weighted with those exponentials.
    values: Vec<f32>,
    /// Columns of a row of values.
    width: usize,
}

/// Runs `$body` for all of `$range` in tiles of four, two and one, with `$m` as that constant and
/// `$first` as the start.
macro_rules! for_each_tile {
    ($range:expr, ($first:ident, $m:ident) => $body:expr) => {{
        let Range { start: mut $first, end } = $range;
        for_each_tile!(@ 4, end, ($first, $m) => $body);
        for_each_tile!(@ 2, end, ($first, $m) => $body);
        for_each_tile!(@ 1, end, ($first, $m) => $body);
    }};
    (@ $count:literal, $end:ident, ($first:ident, $m:ident) => $body:expr) => {{
        const $m: usize = $count;
        while $end - $first >= $m {
            $body;
            $first += $m;
        }
    }};
}

impl Online {
    fn new(queries: usize, layout: KvLayout) -> Self {
        let width = layout.width();
        Self {
            maxima: vec![f32::NEG_INFINITY; queries],
            sums: vec![0.0; queries],
            scores: vec![0.0; queries * KV_BLOCK],
            values: vec![0.0; queries * width],
            width,
        }
    }

    /// `scores = queries keys * scale`, with keys `(head_dim, KV_BLOCK)`: also those that a query may
    /// not see.
    #[inline(always)]
    fn score<S: Simd>(&mut self, simd: S, queries: &[&[f32]], keys: &[f32], scale: f32) {
        let keys = S::chunks(keys).0;
        let stride = KV_BLOCK / S::LANES;
        for_each_tile!(0..queries.len(), (query, M) => {
            let queries: [_; M] = array::from_fn(|m| queries[query + m]);
            for column in (0..stride).step_by(2) {
                let mut sums = [[simd.splat(0.0); 2]; M];
                // The values lie behind the keys.
                tile::outer(simd, queries, &keys[column..], (stride, keys.len()), &mut sums);
                for (m, sums) in sums.iter().enumerate() {
                    let row = S::chunks_mut(&mut self.scores[(query + m) * KV_BLOCK..][..KV_BLOCK]).0;
                    simd.store(simd.mul(sums[0], simd.splat(scale)), &mut row[column]);
                    simd.store(simd.mul(sums[1], simd.splat(scale)), &mut row[column + 1]);
                }
            }
        });
    }

    /// Takes the visible scores into the softmax: leaves their exponentials, and scales what was
    /// before.
    #[inline(always)]
    fn normalise<S: Simd>(&mut self, simd: S, queries: Range<usize>, visible: Range<usize>) {
        for query in queries {
            let scores = &mut self.scores[query * KV_BLOCK..][visible.clone()];
            let maximum = self.maxima[query];
            let larger = maximum.max(softmax::maximum(simd, scores));
            // While all scores are minus infinity, so that a later block can still begin the sums.
            let shift = if larger == f32::NEG_INFINITY { 0.0 } else { larger };
            let shrink = (maximum - shift).exp();
            let sum = softmax::exp_and_sum(simd, scores, shift);
            self.maxima[query] = larger;
            self.sums[query] = self.sums[query] * shrink + sum;
            for value in &mut self.values[query * self.width..][..self.width] {
                *value *= shrink;
            }
        }
    }

    /// `values += exponentials block`, with exponentials `(queries, visible)` and block `(KV_BLOCK,
    /// width)`, from which to the next keys it is `ahead`.
    #[inline(always)]
    fn accumulate<S: Simd>(
        &mut self,
        simd: S,
        queries: Range<usize>,
        (block, ahead): (&[f32], usize),
        visible: Range<usize>,
    ) {
        let stride = self.width / S::LANES;
        // A whole number of vectors, in either direction.
        let ahead = ahead.cast_signed() / S::LANES.cast_signed();
        let block = &S::chunks(block).0[visible.start * stride..];
        for_each_tile!(queries, (query, M) => {
            let weights: [_; M] =
                array::from_fn(|m| &self.scores[(query + m) * KV_BLOCK..][visible.clone()]);
            let values = &mut self.values[query * self.width..][..M * self.width];
            let values = S::chunks_mut(values).0;
            for column in (0..stride).step_by(2) {
                let mut sums = [[simd.splat(0.0); 2]; M];
                for (sums, row) in sums.iter_mut().zip(values.chunks_exact(stride)) {
                    *sums = [simd.load(&row[column]), simd.load(&row[column + 1])];
                }
                tile::outer(simd, weights, &block[column..], (stride, ahead.cast_unsigned()), &mut sums);
                for (sums, row) in sums.iter().zip(values.chunks_exact_mut(stride)) {
                    simd.store(sums[0], &mut row[column]);
                    simd.store(sums[1], &mut row[column + 1]);
                }
            }
        });
    }

    /// The results of the queries from `first` on, as many as `out` has heads.
    fn write(&self, first: usize, out: &mut [f32], head_dim: usize) {
        let rows = self.values.chunks_exact(self.width).zip(&self.sums).skip(first);
        for (out, (values, sum)) in out.chunks_exact_mut(head_dim).zip(rows) {
            for (out, value) in out.iter_mut().zip(values) {
                *out = value / sum;
            }
        }
    }
}

/// Queries in a piece of work. Their scores and, at 64 columns, their values are 16 KiB each; and a
/// block that comes from the third-level cache is used for long enough (64 queries are 10
/// microseconds) to hide how long it took.
const PIECE_QUERIES: usize = 64;

#[cfg(test)]
mod tests;
