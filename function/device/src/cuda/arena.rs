//! One allocation for all weights, cut into regions.

use std::sync::Arc;

use super::context::Context;
use super::memory::{Address, Memory};
use crate::{Error, arena as host};

/// One allocation of the device: carved and joined as [that of the host](host::Arena) is.
pub type Arena = host::Arena<Memory>;

/// A part of an [`Arena`].
pub type Region = host::Region<Memory>;

/// What a tensor starts at a multiple of, so that kernels may read 16 bytes at a time and a row of threads meets whole
/// lines of the memory.
pub const ALIGN_BYTES: u64 = 256;

impl Arena {
    /// Allocates `bytes` on the device.
    pub fn on(context: &Arc<Context>, bytes: u64) -> Result<Arc<Self>, Error> {
        Memory::new(context, bytes, "the weights").map(Self::of)
    }
}

impl Region {
    /// Where it lies in the memory of the device.
    pub(super) fn address(&self) -> Address {
        self.arena().memory().start() + self.range().start
    }
}
