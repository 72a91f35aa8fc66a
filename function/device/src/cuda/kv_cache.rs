//! The keys and values of one layer, on the device.

use std::sync::Arc;

use firstlight_kernels::cuda::attention::MOST_HEAD_DIM;

use super::arena::ALIGN_BYTES;
use super::context::Context;
use super::memory::{Address, Memory};
use super::positions::Positions;
use crate::{DType, Error, KV_BLOCK, shapes};

/// Keys, then values, `(blocks, kv_heads, KV_BLOCK, head_dim)` each.
#[derive(Debug)]
pub struct KvCache {
    memory: Memory,
    pub(super) dtype: DType,
    pub(super) blocks: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
}

impl KvCache {
    pub(super) fn new(
        context: &Arc<Context>,
        dtype: DType,
        [blocks, kv_heads, head_dim]: [usize; 3],
    ) -> Result<Self, Error> {
        assert!(kv_heads > 0 && head_dim > 0, "a cache has heads and columns");
        if !head_dim.is_multiple_of(8) || head_dim > MOST_HEAD_DIM as usize {
            return Err(Error::HeadDim { head_dim });
        }
        let row = (KV_BLOCK * kv_heads).saturating_mul(head_dim);
        let half = half_bytes(blocks.saturating_mul(row), dtype);
        let memory =
            Memory::new(context, half.saturating_mul(2), "the keys and values of a layer")?;
        Ok(Self { memory, dtype, blocks, kv_heads, head_dim })
    }

    /// Panics where it does not have the blocks of these positions.
    pub(super) fn check(&self, positions: &Positions) {
        shapes::check_blocks(positions.largest_block(), self.blocks);
        let tiles = positions.tile_count();
        assert!(tiles == 0 || self.dtype != DType::F32, "{tiles} tiles of a cache of f32");
    }

    pub(super) fn keys(&self) -> Address {
        self.memory.start()
    }

    pub(super) fn values(&self) -> Address {
        let numbers = self.blocks * KV_BLOCK * self.kv_heads * self.head_dim;
        self.memory.start() + half_bytes(numbers, self.dtype)
    }
}

/// The bytes of the keys, up to where the values begin.
fn half_bytes(numbers: usize, dtype: DType) -> u64 {
    let bytes = numbers.saturating_mul(dtype.bytes()) as u64;
    bytes.checked_next_multiple_of(ALIGN_BYTES).unwrap_or(u64::MAX)
}
