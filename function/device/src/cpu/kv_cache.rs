//! The keys and values of one layer, on the host.

use std::ops::Range;

use firstlight_kernels::{KvLayout, KvView};

use super::Activations;
use crate::Error;
use crate::floats::Floats;

/// Keys and values in f32, in the blocks in which attention reads them.
///
/// The whole capacity is reserved and what positions have reached is resident, so a long context
/// costs a short conversation nothing.
#[derive(Debug)]
pub struct KvCache {
    layout: KvLayout,
    floats: Floats,
    capacity: usize,
}

impl KvCache {
    pub(super) fn new(capacity: usize, kv_heads: usize, head_dim: usize) -> Result<Self, Error> {
        assert!(kv_heads > 0 && head_dim > 0, "a cache has heads and columns");
        let layout = KvLayout { kv_heads, head_dim };
        let floats = Floats::zeroed(layout.floats(capacity), "the keys and values of a layer")?;
        Ok(Self { layout, floats, capacity })
    }

    pub(super) fn put(
        &mut self,
        keys: &Activations,
        values: &Activations,
        positions: Range<usize>,
    ) {
        let (capacity, KvLayout { kv_heads, head_dim }) = (self.capacity, self.layout);
        let shape = (positions.len(), kv_heads * head_dim);
        assert_eq!(keys.shape(), shape, "shape of the keys");
        assert_eq!(values.shape(), shape, "shape of the values");
        assert!(positions.end <= capacity, "positions `{positions:?}` of {capacity}");
        let floats = self.floats.as_mut_slice();
        self.layout.append(floats, positions.start, keys.as_slice(), values.as_slice());
    }

    /// The first `positions`.
    pub(super) fn view(&self, positions: usize) -> KvView<'_> {
        assert!(positions <= self.capacity, "{positions} positions of {}", self.capacity);
        KvView { layout: self.layout, floats: self.floats.as_slice(), positions }
    }
}
