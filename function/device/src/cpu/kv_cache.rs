//! The keys and values of one layer, on the host.

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
    positions: usize,
}

impl KvCache {
    pub(super) fn new(capacity: usize, kv_heads: usize, head_dim: usize) -> Result<Self, Error> {
        assert!(kv_heads > 0 && head_dim > 0, "a cache has heads and columns");
        let layout = KvLayout { kv_heads, head_dim };
        let floats = Floats::zeroed(layout.floats(capacity), "the keys and values of a layer")?;
        Ok(Self { layout, floats, capacity, positions: 0 })
    }

    pub(super) fn append(&mut self, keys: &Activations, values: &Activations) {
        let (rows, columns) = keys.shape();
        let KvLayout { kv_heads, head_dim } = self.layout;
        assert_eq!(columns, kv_heads * head_dim, "columns of the keys");
        assert_eq!(values.shape(), (rows, columns), "shape of the values");
        let (capacity, positions) = (self.capacity, self.positions);
        assert!(rows <= capacity - positions, "{rows} rows behind {positions} of {capacity}");
        let floats = self.floats.as_mut_slice();
        self.layout.append(floats, positions, keys.as_slice(), values.as_slice());
        self.positions += rows;
    }

    pub(super) fn view(&self) -> KvView<'_> {
        KvView { layout: self.layout, floats: self.floats.as_slice(), positions: self.positions }
    }
}
