//! The arguments of a kernel, as it reads them.
#![expect(unsafe_code, reason = "arguments are laid out as bytes")]

use std::fmt;

use firstlight_kernels::cuda::attention::AttentionShape;
use firstlight_kernels::cuda::linear::Product;

use super::memory::Address;

/// Arguments one behind the other, each at its alignment: the layout that the compiler of the kernels gives them, and
/// whose size the driver compares with that of the kernel's. Between them are zeros.
#[derive(Clone, Copy)]
pub(super) struct Arguments {
    words: [u64; MAX_WORDS],
    bytes: usize,
}

/// What a kernel takes by value.
///
/// # Safety
/// It is laid out as in C, for which a kernel has the same type, is aligned to 8 bytes at most, and has no padding.
pub(super) unsafe trait Argument: Copy {}

// SAFETY: a number; the kernels call it `unsigned`.
unsafe impl Argument for u32 {}
// SAFETY: a number; the kernels call it `float`.
unsafe impl Argument for f32 {}
// SAFETY: a number; the kernels call it `unsigned long long`, or a pointer.
unsafe impl Argument for Address {}
// SAFETY: `repr(C)`, declared beside the kernels, with a field for its padding.
unsafe impl Argument for Product {}
// SAFETY: `repr(C)`, declared beside the kernels: words of four bytes.
unsafe impl Argument for AttentionShape {}
// SAFETY: in C a structure of three of them, one behind the other.
unsafe impl Argument for [Product; 3] {}

impl Arguments {
    pub(super) fn new() -> Self {
        Self { words: [0; MAX_WORDS], bytes: 0 }
    }

    /// With one more argument behind the others.
    pub(super) fn with<A: Argument>(mut self, argument: A) -> Self {
        let start = self.bytes.next_multiple_of(align_of::<A>());
        let end = start + size_of::<A>();
        assert!(end <= size_of_val(&self.words), "{end} bytes of arguments");
        // SAFETY: the argument ends within the words, as just asserted; they are aligned to 8 bytes, and `start` to the
        // argument's alignment, which is at most that. All its bytes are values, so that the words stay numbers.
        unsafe { self.words.as_mut_ptr().byte_add(start).cast::<A>().write(argument) };
        self.bytes = end;
        self
    }

    /// How many bytes they are.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// As many words as hold them.
    pub(super) fn words(&self) -> &[u64] {
        &self.words[..self.bytes.div_ceil(size_of::<u64>())]
    }
}

impl PartialEq for Arguments {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes && self.words() == other.words()
    }
}

impl fmt::Debug for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes: {:x?}", self.bytes, self.words())
    }
}

/// Three products of one launch, and what goes with them, take 128 bytes; a kernel may have 4 KB.
const MAX_WORDS: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_argument_starts_at_its_alignment() {
        let arguments = Arguments::new().with(7_u32).with(9_u64).with(1.5_f32).with(3_u32);
        let last = u64::from(1.5_f32.to_bits()) | 3 << 32;
        assert_eq!((arguments.bytes(), arguments.words()), (24, &[7, 9, last][..]));
    }

    #[test]
    fn arguments_are_equal_by_their_bytes() {
        let arguments = |last: u32| Arguments::new().with(7_u64).with(last);
        assert_eq!(arguments(1), arguments(1));
        assert_ne!(arguments(1), arguments(2));
        assert_ne!(arguments(0), Arguments::new().with(7_u64), "one more, of zeros");
    }
}
