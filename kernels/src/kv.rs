//! How the keys and values of a layer lie in memory.
//!
//! The cache is a pool of blocks of 64 positions. A sequence has a list of them, in the order of its
//! positions; where in the pool they are does not matter, so that sequences of any lengths share one
//! pool, and what one gives back another takes. A block holds, head after head, the keys
//! *transposed*, `(head_dim, 64)`, and then the values, `(64, width)`, where the width is `head_dim`
//! up to a multiple of 32. So attention reads a head of a block as one stretch (32 KiB for 64
//! columns), computes 64 scores side by side without adding up lanes, and never meets a row that
//! ends in the middle of two vectors. What is not filled is not touched.

/// Positions in a block: four vectors of sixteen; a block of one head and 64 columns is as large as
/// a first-level cache.
pub const KV_BLOCK: usize = 64;

/// Rows of one sequence, among those of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span<'a> {
    /// The position of the first of them in its sequence.
    pub first: usize,
    /// How many there are.
    pub rows: usize,
    /// The blocks of the sequence, by their numbers in the pool: of its positions from 0 on, to the
    /// last of these rows at least.
    pub blocks: &'a [u32],
}

impl Span<'_> {
    /// The position behind the last of these rows.
    #[must_use]
    pub fn end(&self) -> usize {
        self.first + self.rows
    }
}

/// The shape of the keys and of the values of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvLayout {
    /// Heads that have keys and values.
    pub kv_heads: usize,
    /// Columns of a head.
    pub head_dim: usize,
}

/// A pool of keys and values.
#[derive(Clone, Copy, Debug)]
pub struct KvView<'a> {
    /// How they lie.
    pub layout: KvLayout,
    /// Whole blocks.
    pub floats: &'a [f32],
}

impl KvLayout {
    /// Numbers in so many blocks.
    #[must_use]
    pub fn floats(&self, blocks: usize) -> usize {
        blocks.saturating_mul(self.kv_heads * self.head_floats())
    }

    /// Puts rows of `kv_heads * head_dim` keys and values where `span` says.
    pub fn append(&self, pool: &mut [f32], span: Span<'_>, keys: &[f32], values: &[f32]) {
        let columns = self.kv_heads * self.head_dim;
        assert!(columns > 0, "a cache has heads and columns");
        assert_eq!(keys.len(), values.len(), "lengths of keys and values");
        assert_eq!(keys.len(), span.rows * columns, "numbers in {} rows of keys", span.rows);
        for head in 0..self.kv_heads {
            let rows = keys.chunks_exact(columns).zip(values.chunks_exact(columns));
            for (position, (keys, values)) in (span.first..).zip(rows) {
                let block = span.blocks[position / KV_BLOCK] as usize;
                let part = head * self.head_dim..(head + 1) * self.head_dim;
                let start = self.head_start(block, head);
                let to = &mut pool[start..start + self.head_floats()];
                self.put(to, position % KV_BLOCK, &keys[part.clone()], &values[part]);
            }
        }
    }

    /// Into one head of a block.
    fn put(&self, head: &mut [f32], slot: usize, key: &[f32], value: &[f32]) {
        let (keys, values) = head.split_at_mut(self.head_dim * KV_BLOCK);
        for (column, &key) in keys.chunks_exact_mut(KV_BLOCK).zip(key) {
            column[slot] = key;
        }
        values[slot * self.width()..][..self.head_dim].copy_from_slice(value);
    }

    /// Columns of a row of values.
    pub(crate) fn width(&self) -> usize {
        self.head_dim.next_multiple_of(WIDTH_MULTIPLE)
    }

    /// Numbers of one head in one block.
    pub(crate) fn head_floats(&self) -> usize {
        KV_BLOCK * (self.head_dim + self.width())
    }

    /// Where a head of a block begins.
    pub(crate) fn head_start(&self, block: usize, head: usize) -> usize {
        (block * self.kv_heads + head) * self.head_floats()
    }
}

impl<'a> KvView<'a> {
    /// The keys `(head_dim, KV_BLOCK)` and the values `(KV_BLOCK, width)` of one head in one block.
    pub(crate) fn head(&self, block: u32, head: usize) -> (&'a [f32], &'a [f32]) {
        let start = self.layout.head_start(block as usize, head);
        let floats = &self.floats[start..start + self.layout.head_floats()];
        floats.split_at(self.layout.head_dim * KV_BLOCK)
    }
}

/// Two vectors of sixteen, the widest there are.
const WIDTH_MULTIPLE: usize = 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::reference::check::numbers;

    proptest! {
        #[test]
        fn what_was_put_is_there(
            kv_heads in 1_usize..4,
            head_dim in 1_usize..70,
            steps in prop::collection::vec(0_usize..90, 1..4),
            blocks in Just([0, 1, 2, 3, 4]).prop_shuffle(),
        ) {
            let layout = KvLayout { kv_heads, head_dim };
            let positions: usize = steps.iter().sum();
            let columns = kv_heads * head_dim;
            let keys = numbers(positions * columns, 1, 1.0);
            let values = numbers(positions * columns, 2, 1.0);
            let mut floats = vec![0.0; layout.floats(blocks.len())];
            let mut first = 0;
            for rows in steps {
                let part = first * columns..(first + rows) * columns;
                let span = Span { first, rows, blocks: &blocks };
                layout.append(&mut floats, span, &keys[part.clone()], &values[part]);
                first += rows;
            }
            let view = KvView { layout, floats: &floats };
            for index in 0..keys.len() {
                let (position, head) = (index / columns, index % columns / head_dim);
                let (slot, column) = (position % KV_BLOCK, index % head_dim);
                let (k, v) = view.head(blocks[position / KV_BLOCK], head);
                prop_assert_eq!(k[column * KV_BLOCK + slot], keys[index]);
                prop_assert_eq!(v[slot * layout.width() + column], values[index]);
            }
        }
    }
}
