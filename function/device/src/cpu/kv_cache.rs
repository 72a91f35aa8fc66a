//! The keys and values of one layer, on the host.

use firstlight_kernels::{KvLayout, KvView};

use super::{Activations, Positions};
use crate::floats::Floats;
use crate::{Error, shapes};

/// Keys and values in f32, in the blocks in which attention reads them.
///
/// All blocks are reserved and those that were written to are resident, so a large pool costs a short
/// conversation nothing.
#[derive(Debug)]
pub struct KvCache {
    layout: KvLayout,
    floats: Floats,
    blocks: usize,
}

impl KvCache {
    pub(super) fn new(blocks: usize, kv_heads: usize, head_dim: usize) -> Result<Self, Error> {
        assert!(kv_heads > 0 && head_dim > 0, "a cache has heads and columns");
        let layout = KvLayout { kv_heads, head_dim };
        let floats = Floats::zeroed(layout.floats(blocks), "the keys and values of a layer")?;
        Ok(Self { layout, floats, blocks })
    }

    pub(super) fn put(&mut self, keys: &Activations, values: &Activations, positions: &Positions) {
        let KvLayout { kv_heads, head_dim } = self.layout;
        let columns = kv_heads * head_dim;
        assert_eq!(keys.shape(), (positions.rows(), columns), "shape of the keys");
        assert_eq!(values.shape(), keys.shape(), "shape of the values");
        shapes::check_blocks(positions.largest_block(), self.blocks);
        let (mut keys, mut values) = (keys.as_slice(), values.as_slice());
        for span in positions.spans() {
            let (own_keys, own_values);
            (own_keys, keys) = keys.split_at(span.rows * columns);
            (own_values, values) = values.split_at(span.rows * columns);
            self.layout.append(self.floats.as_mut_slice(), span, own_keys, own_values);
        }
    }

    /// All of it, which has the blocks of these positions.
    pub(super) fn view(&self, positions: &Positions) -> KvView<'_> {
        shapes::check_blocks(positions.largest_block(), self.blocks);
        KvView { layout: self.layout, floats: self.floats.as_slice() }
    }
}
