//! Bytes of a mapped file, made resident before the arithmetic reads them.
//!
//! The kernel maps pages that its cache holds many at a time, where the arithmetic would stop at each sixteenth; and what
//! the cache does not hold it reads, far ahead. A page that cannot be read is an error here, where touching it would end
//! the process by SIGBUS.
#![expect(unsafe_code, reason = "the kernel knows memory by its address")]

use std::io;

use rustix::mm;

use crate::mapping::SMALL_PAGE_BYTES;

/// Makes the pages under `bytes` resident for reading, changing none. Says whether the kernel can; where it cannot, they
/// fault in as they are read. Fails where a page cannot be had at all: the file under it was truncated, or the disk
/// failed.
pub fn populate(bytes: &[u8]) -> io::Result<bool> {
    #[cfg(target_os = "linux")]
    {
        let before = bytes.as_ptr().addr() % SMALL_PAGE_BYTES;
        let first = bytes.as_ptr().wrapping_sub(before);
        let length = (before + bytes.len()).next_multiple_of(SMALL_PAGE_BYTES);
        let advice = mm::Advice::LinuxPopulateRead;
        // SAFETY: MADV_POPULATE_READ does what reading a byte of each page would, and no more. All of these pages are
        // mapped, since each holds a byte of `bytes`.
        match unsafe { mm::madvise(first.cast_mut().cast(), length, advice) } {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::FAULT) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(_) => Ok(false),
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = bytes;
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::{env, process, ptr, slice};

    use rustix::mm::{MapFlags, ProtFlags};

    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_file_that_was_truncated_is_an_error_and_does_not_end_the_process() {
        let path = env::temp_dir().join(format!("firstlight-truncated-{}", process::id()));
        fs::write(&path, [7; 3 * SMALL_PAGE_BYTES]).unwrap();
        let file = File::options().write(true).read(true).open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let (protection, length) = (ProtFlags::READ, 3 * SMALL_PAGE_BYTES);
        // SAFETY: the kernel picks addresses that nothing else uses.
        let mapped =
            unsafe { mm::mmap(ptr::null_mut(), length, protection, MapFlags::PRIVATE, &file, 0) };
        // SAFETY: so many bytes were just mapped, and are never unmapped. Those past the new end are not read.
        let bytes = unsafe { slice::from_raw_parts(mapped.unwrap().cast::<u8>(), length) };
        file.set_len(SMALL_PAGE_BYTES as u64).unwrap();
        assert!(populate(&bytes[..100]).is_ok());
        assert_eq!(populate(bytes).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn any_bytes_can_be_made_resident_and_stay_what_they_are() {
        let bytes: Vec<u8> = (0..u8::MAX).cycle().take(3 * SMALL_PAGE_BYTES).collect();
        for range in [0..bytes.len(), 5..6, 4095..8193, 7..7] {
            assert!(populate(&bytes[range]).is_ok());
        }
        assert!((0..u8::MAX).cycle().zip(&bytes).all(|(expected, byte)| expected == *byte));
    }
}
