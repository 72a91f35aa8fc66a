//! How the keys and values of a layer lie in memory.
//!
//! Positions come in blocks of 64, and a block holds, head after head, the keys *transposed*,
//! `(head_dim, 64)`, and then the values, `(64, width)`, where the width is `head_dim` up to a
//! multiple of 32. So attention reads a head of a block as one stretch (32 KiB for 64 columns),
//! computes 64 scores side by side without adding up lanes, and never meets a row that ends in the
//! middle of two vectors. Blocks fill one after the other, and what is not filled is not touched.

use crate::attention::BLOCK;

/// The shape of the keys and of the values of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvLayout {
    /// Heads that have keys and values.
    pub kv_heads: usize,
    /// Columns of a head.
    pub head_dim: usize,
}

/// Keys and values, in blocks, of the positions up to now.
#[derive(Clone, Copy, Debug)]
pub struct KvView<'a> {
    /// How they lie.
    pub layout: KvLayout,
    /// At least [`KvLayout::floats`] of `positions`.
    pub floats: &'a [f32],
    /// How many are filled.
    pub positions: usize,
}

impl KvLayout {
    /// Numbers in a cache with room for `capacity` positions.
    #[must_use]
    pub fn floats(&self, capacity: usize) -> usize {
        capacity.div_ceil(BLOCK) * self.kv_heads * self.head_floats()
    }

    /// Puts rows of `kv_heads * head_dim` keys and values at the positions from `first` on.
    pub fn append(&self, cache: &mut [f32], first: usize, keys: &[f32], values: &[f32]) {
        let columns = self.kv_heads * self.head_dim;
        assert!(columns > 0, "a cache has heads and columns");
        assert_eq!(keys.len(), values.len(), "lengths of keys and values");
        assert!(keys.len().is_multiple_of(columns), "keys are rows of {columns}");
        for head in 0..self.kv_heads {
            let rows = keys.chunks_exact(columns).zip(values.chunks_exact(columns));
            for (position, (keys, values)) in (first..).zip(rows) {
                let part = head * self.head_dim..(head + 1) * self.head_dim;
                self.put(cache, position, head, &keys[part.clone()], &values[part]);
            }
        }
    }

    fn put(&self, cache: &mut [f32], position: usize, head: usize, key: &[f32], value: &[f32]) {
        let start = self.head_start(position / BLOCK, head);
        let (keys, values) =
            cache[start..start + self.head_floats()].split_at_mut(self.head_dim * BLOCK);
        let slot = position % BLOCK;
        for (column, &key) in keys.chunks_exact_mut(BLOCK).zip(key) {
            column[slot] = key;
        }
        values[slot * self.width()..][..self.head_dim].copy_from_slice(value);
    }

    /// Columns of a row of values.
    pub(crate) fn width(&self) -> usize {
        self.head_dim.next_multiple_of(WIDTH_MULTIPLE)
    }

    /// Numbers of one head in one block.
    fn head_floats(&self) -> usize {
        BLOCK * (self.head_dim + self.width())
    }

    fn head_start(&self, block: usize, head: usize) -> usize {
        (block * self.kv_heads + head) * self.head_floats()
    }
}

impl<'a> KvView<'a> {
    /// The keys `(head_dim, BLOCK)` and the values `(BLOCK, width)` of one head in one block.
    pub(crate) fn head(&self, block: usize, head: usize) -> (&'a [f32], &'a [f32]) {
        let start = self.layout.head_start(block, head);
        let floats = &self.floats[start..start + self.layout.head_floats()];
        floats.split_at(self.layout.head_dim * BLOCK)
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
        ) {
            let layout = KvLayout { kv_heads, head_dim };
            let positions: usize = steps.iter().sum();
            let columns = kv_heads * head_dim;
            let keys = numbers(positions * columns, 1, 1.0);
            let values = numbers(positions * columns, 2, 1.0);
            let mut floats = vec![0.0; layout.floats(positions)];
            let mut first = 0;
            for rows in steps {
                let part = first * columns..(first + rows) * columns;
                layout.append(&mut floats, first, &keys[part.clone()], &values[part]);
                first += rows;
            }
            let view = KvView { layout, floats: &floats, positions };
            for index in 0..keys.len() {
                let (position, head) = (index / columns, index % columns / head_dim);
                let (slot, column) = (position % BLOCK, index % head_dim);
                let (k, v) = view.head(position / BLOCK, head);
                prop_assert_eq!(k[column * BLOCK + slot], keys[index]);
                prop_assert_eq!(v[slot * layout.width() + column], values[index]);
            }
        }
    }
}
