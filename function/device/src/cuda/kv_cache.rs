//! The keys and values of one layer, on the device.

use std::ops::Range;
use std::sync::Arc;

use firstlight_kernels::cuda::attention::MOST_HEAD_DIM;

use super::arena::ALIGN_BYTES;
use super::context::Context;
use super::memory::{Address, Memory};
use crate::{DType, Error};

/// Keys, then values, `(kv_heads, capacity, head_dim)` each.
#[derive(Debug)]
pub struct KvCache {
    memory: Memory,
    pub(super) dtype: DType,
    pub(super) capacity: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
}

impl KvCache {
    pub(super) fn new(
        context: &Arc<Context>,
        dtype: DType,
        [capacity, kv_heads, head_dim]: [usize; 3],
    ) -> Result<Self, Error> {
        assert!(kv_heads > 0 && head_dim > 0, "a cache has heads and columns");
        if !head_dim.is_multiple_of(8) || head_dim > MOST_HEAD_DIM as usize {
            return Err(Error::HeadDim { head_dim });
        }
        let numbers = capacity.saturating_mul(kv_heads).saturating_mul(head_dim);
        let half = half_bytes(numbers, dtype);
        let memory =
            Memory::new(context, half.saturating_mul(2), "the keys and values of a layer")?;
        Ok(Self { memory, dtype, capacity, kv_heads, head_dim })
    }

    /// Panics where these positions are not within the capacity.
    pub(super) fn check(&self, positions: &Range<usize>) {
        assert!(positions.end <= self.capacity, "positions `{positions:?}` of {}", self.capacity);
    }

    pub(super) fn keys(&self) -> Address {
        self.memory.start()
    }

    pub(super) fn values(&self) -> Address {
        let numbers = self.capacity * self.kv_heads * self.head_dim;
        self.memory.start() + half_bytes(numbers, self.dtype)
    }
}

/// The bytes of the keys, up to where the values begin.
fn half_bytes(numbers: usize, dtype: DType) -> u64 {
    let bytes = numbers.saturating_mul(dtype.bytes()) as u64;
    bytes.checked_next_multiple_of(ALIGN_BYTES).unwrap_or(u64::MAX)
}
