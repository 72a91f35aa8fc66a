//! The caller's memory, as seen by whoever reads into it.

use std::ops::Range;

/// Where the bytes of one range go, each exactly once, in ascending order.
pub trait Sink: Send + 'static {
    /// The memory of the first bytes of `missing` (not empty, a range of the object), as many of them as lie together.
    /// Everything before `missing` has landed; what is given here is overwritten, perhaps only in part.
    fn memory(&mut self, missing: Range<u64>) -> &mut [u8];
}

/// A small object, gathered.
#[derive(Debug, Default)]
pub struct Gather {
    start: u64,
    bytes: Vec<u8>,
}

impl Gather {
    /// Goes on after `bytes`, which are those of the object before `at`.
    #[must_use]
    pub fn after(bytes: Vec<u8>, at: u64) -> Self {
        Self { start: at - bytes.len() as u64, bytes }
    }

    /// The bytes before, and all that landed.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl Sink for Gather {
    fn memory(&mut self, missing: Range<u64>) -> &mut [u8] {
        let offset = |at: u64| usize::try_from(at - self.start).expect("a small object");
        let missing = offset(missing.start)..offset(missing.end);
        if self.bytes.len() < missing.end {
            self.bytes.resize(missing.end, 0);
        }
        &mut self.bytes[missing]
    }
}
