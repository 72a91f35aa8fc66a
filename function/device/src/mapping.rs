//! Anonymous memory straight from the kernel: zero, and resident only where it was touched.
//!
//! `malloc` would serve a buffer of this size from the same call, but says nothing of page size:
//! weights want huge pages (a gigabyte is 512 faults instead of 262,144), a cache that fills slowly
//! wants small ones (its resident size follows what it holds, where a huge page would cost 2 MiB at
//! the first position).
#![expect(unsafe_code, reason = "memory that is mapped is known by its address")]

use std::io;
use std::ops::Range;
use std::ptr::{self, NonNull};

use rustix::mm::{self, MapFlags, ProtFlags};

use crate::Error;
use crate::arena::Extent;

/// An anonymous, private, zeroed mapping. Unmapped on drop.
#[derive(Debug)]
pub struct Mapping {
    reserved: NonNull<u8>,
    reserved_bytes: usize,
    base: NonNull<u8>,
    bytes: usize,
}

/// The page size to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pages {
    /// 2 MiB where the kernel allows: for memory that will be used as a whole.
    Huge,
    /// The kernel's smallest: for memory that fills slowly.
    Small,
}

// SAFETY: a mapping is plain memory, which any thread may use and unmap; `Mapping` itself never
// reads or writes it.
unsafe impl Send for Mapping {}
// SAFETY: as above; a shared reference gives addresses only.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Reserves `bytes`, touching none.
    pub(crate) fn new(bytes: usize, pages: Pages, purpose: &'static str) -> Result<Self, Error> {
        let refused = |source| Error::OutOfMemory { purpose, bytes: bytes as u64, source };
        let align = pages.align();
        let reserved_bytes = bytes
            .max(1)
            .checked_add(align)
            .ok_or_else(|| refused(io::ErrorKind::OutOfMemory.into()))?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: with a null hint and without MAP_FIXED the kernel picks addresses that nothing
        // else uses.
        let reserved = unsafe {
            mm::mmap_anonymous(ptr::null_mut(), reserved_bytes, protection, MapFlags::PRIVATE)
        }
        .map_err(|errno| refused(errno.into()))?
        .cast::<u8>();
        // SAFETY: less than `align` is skipped, and `align` more than `bytes` were reserved.
        let base = unsafe { reserved.add(reserved.align_offset(align)) };
        let non_null = |address| NonNull::new(address).expect("the kernel never maps address zero");
        let mapping =
            Self { reserved: non_null(reserved), reserved_bytes, base: non_null(base), bytes };
        mapping.advise(pages);
        Ok(mapping)
    }

    /// The usable size.
    pub(crate) fn length(&self) -> usize {
        self.bytes
    }

    /// The address of byte `offset`, which may be the end.
    pub(crate) fn at(&self, offset: usize) -> NonNull<u8> {
        assert!(offset <= self.bytes, "offset {offset} is past a mapping of {} bytes", self.bytes);
        // SAFETY: the offset is within the mapping or one past it, as just asserted.
        unsafe { self.base.add(offset) }
    }

    /// Makes the pages of a range resident and writable, changing no byte of them. Says whether the
    /// kernel did.
    pub(crate) fn populate(&self, range: Range<usize>) -> bool {
        let first = range.start / SMALL_PAGE_BYTES * SMALL_PAGE_BYTES;
        let last = range.end.next_multiple_of(SMALL_PAGE_BYTES);
        assert!(range.start <= range.end && range.end <= self.bytes, "range is in the mapping");
        #[cfg(target_os = "linux")]
        {
            let advice = mm::Advice::LinuxPopulateWrite;
            // SAFETY: the pages are of this mapping (its reservation is longer than its last page),
            // and MADV_POPULATE_WRITE faults pages in without changing what they hold, so it may
            // run beside their owners.
            unsafe { mm::madvise(self.at(first).as_ptr().cast(), last - first, advice).is_ok() }
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = (first, last);
            false
        }
    }

    /// A hint: where the kernel declines, the mapping is slower or larger, and as correct.
    fn advise(&self, pages: Pages) {
        #[cfg(target_os = "linux")]
        {
            let advice = match pages {
                Pages::Huge => mm::Advice::LinuxHugepage,
                Pages::Small => mm::Advice::LinuxNoHugepage,
            };
            // SAFETY: the range lies in this mapping, and page size is invisible to whoever reads
            // and writes it.
            let _ = unsafe { mm::madvise(self.base.as_ptr().cast(), self.bytes, advice) };
        }
        #[cfg(not(target_os = "linux"))]
        let _ = pages;
    }
}

impl Extent for Mapping {
    fn bytes(&self) -> u64 {
        self.bytes as u64
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is the reservation that `new` made, and whoever used it borrowed or owned
        // this value.
        let unmapped = unsafe { mm::munmap(self.reserved.as_ptr().cast(), self.reserved_bytes) };
        debug_assert!(unmapped.is_ok(), "a mapping of our own can be unmapped");
    }
}

impl Pages {
    fn align(self) -> usize {
        match self {
            Self::Huge => HUGE_PAGE_BYTES,
            Self::Small => SMALL_PAGE_BYTES,
        }
    }
}

/// Huge pages of `x86_64`, and of aarch64 with 4 KiB pages.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// The smallest page of the processors at hand. Where the kernel's are larger it refuses to
/// populate, and pages fault in one by one.
pub(crate) const SMALL_PAGE_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases_are_aligned_and_memory_is_zero() {
        for (pages, align) in [(Pages::Huge, HUGE_PAGE_BYTES), (Pages::Small, SMALL_PAGE_BYTES)] {
            let mapping = Mapping::new(10_000, pages, "a test").unwrap();
            assert_eq!(mapping.at(0).as_ptr() as usize % align, 0);
            // SAFETY: byte 9,999 is within the 10,000 that were mapped.
            assert_eq!(unsafe { mapping.at(9_999).read() }, 0);
        }
    }

    #[test]
    fn a_reservation_that_cannot_be_had_names_its_size() {
        let error = Mapping::new(1 << 60, Pages::Small, "the weights").unwrap_err();
        assert!(error.to_string().contains("1152921504606846976 bytes of memory for the weights"));
    }

    #[test]
    fn populating_keeps_what_was_written() {
        let mapping = Mapping::new(3 * SMALL_PAGE_BYTES, Pages::Small, "a test").unwrap();
        // SAFETY: byte 5,000 is within the mapping, and nobody else knows it.
        unsafe { mapping.at(5_000).write(7) };
        mapping.populate(4_999..3 * SMALL_PAGE_BYTES);
        // SAFETY: as above.
        assert_eq!(unsafe { mapping.at(5_000).read() }, 7);
    }
}
