//! The arguments of a kernel, as it reads them.
#![expect(unsafe_code, reason = "arguments are laid out as bytes")]

use std::mem::MaybeUninit;

use firstlight_kernels::cuda::attention::AttentionShape;
use firstlight_kernels::cuda::linear::Product;

use super::memory::Address;

/// Arguments one behind the other, each at its alignment: the layout that the compiler of the kernels gives them, and
/// whose size the driver compares with that of the kernel's.
pub(super) struct Arguments {
    words: [MaybeUninit<u64>; MAX_WORDS],
    bytes: usize,
}

/// What a kernel takes by value.
///
/// # Safety
/// It is laid out as in C, for which a kernel has the same type, and is aligned to 8 bytes at most.
pub(super) unsafe trait Argument: Copy {}

// SAFETY: a number; the kernels call it `unsigned`.
unsafe impl Argument for u32 {}
// SAFETY: a number; the kernels call it `float`.
unsafe impl Argument for f32 {}
// SAFETY: a number; the kernels call it `unsigned long long`, or a pointer.
unsafe impl Argument for Address {}
// SAFETY: `repr(C)`, declared beside the kernels.
unsafe impl Argument for Product {}
// SAFETY: as above.
unsafe impl Argument for AttentionShape {}
// SAFETY: in C a structure of three of them, one behind the other.
unsafe impl Argument for [Product; 3] {}

impl Arguments {
    pub(super) fn new() -> Self {
        Self { words: [MaybeUninit::uninit(); MAX_WORDS], bytes: 0 }
    }

    /// With one more argument behind the others.
    pub(super) fn with<A: Argument>(mut self, argument: A) -> Self {
        let start = self.bytes.next_multiple_of(align_of::<A>());
        let end = start + size_of::<A>();
        assert!(end <= size_of_val(&self.words), "{end} bytes of arguments");
        // SAFETY: the argument ends within the words, as just asserted; they are aligned to 8 bytes, and `start` to the
        // argument's alignment, which is at most that.
        unsafe { self.words.as_mut_ptr().byte_add(start).cast::<A>().write(argument) };
        self.bytes = end;
        self
    }

    /// Where they are, and how many bytes.
    pub(super) fn bytes(&mut self) -> (*mut u64, usize) {
        (self.words.as_mut_ptr().cast(), self.bytes)
    }
}

/// Three products of one launch, and what goes with them, take 128 bytes; a kernel may have 4 KB.
const MAX_WORDS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_argument_starts_at_its_alignment() {
        let mut arguments = Arguments::new().with(7_u32).with(9_u64).with(1.5_f32).with(3_u32);
        let (start, bytes) = arguments.bytes();
        assert_eq!(bytes, 24);
        // SAFETY: the first word is half written: its lower half is read.
        assert_eq!(unsafe { start.cast::<u32>().read() }, 7);
        // SAFETY: both words behind it were written.
        let [second, third] = unsafe { [start.add(1).read(), start.add(2).read()] };
        assert_eq!((second, third), (9, u64::from(1.5_f32.to_bits()) | 3 << 32));
    }
}
