//! Numbers in the dtype in which a checkpoint stores them.

use std::ops::Range;

use half::{bf16, f16};

/// A slice of weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Elements<'a> {
    /// IEEE 754 binary32.
    F32(&'a [f32]),
    /// IEEE 754 binary16.
    F16(&'a [f16]),
    /// The upper half of binary32.
    BF16(&'a [bf16]),
}

impl<'a> Elements<'a> {
    /// How many there are.
    #[must_use]
    pub fn len(self) -> usize {
        match self {
            Self::F32(elements) => elements.len(),
            Self::F16(elements) => elements.len(),
            Self::BF16(elements) => elements.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Those in `range`; past the end panics.
    #[must_use]
    pub fn slice(self, range: Range<usize>) -> Elements<'a> {
        match self {
            Self::F32(elements) => Self::F32(&elements[range]),
            Self::F16(elements) => Self::F16(&elements[range]),
            Self::BF16(elements) => Self::BF16(&elements[range]),
        }
    }
}
