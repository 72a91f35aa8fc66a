//! Zeroed f32 that cost nothing until they are touched.
#![expect(unsafe_code, reason = "mapped memory is read as numbers")]

use std::slice;

use crate::Error;
use crate::mapping::{Mapping, Pages};

/// A buffer of its own pages, aligned to one: whatever fills it, from the front, decides how much
/// is resident.
///
/// `vec![0.0; length]` would come from the same place at this size, but aborts where memory is
/// short, is aligned to 16 bytes, and lies on huge pages on some systems, which a cache of a few
/// positions would pay for in each layer.
#[derive(Debug)]
pub(crate) struct Floats {
    mapping: Mapping,
    length: usize,
}

impl Floats {
    pub(crate) fn zeroed(length: usize, purpose: &'static str) -> Result<Self, Error> {
        let bytes = length.saturating_mul(size_of::<f32>());
        Ok(Self { mapping: Mapping::new(bytes, Pages::Small, purpose)?, length })
    }

    pub(crate) fn as_slice(&self) -> &[f32] {
        let start = self.mapping.at(0).cast();
        // SAFETY: the mapping is page-aligned, `length` floats long, zero or written as f32, and
        // only this value knows it, which is borrowed.
        unsafe { slice::from_raw_parts(start.as_ptr(), self.length) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        let start = self.mapping.at(0).cast();
        // SAFETY: as above, and this value is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(start.as_ptr(), self.length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_zero_and_keep_what_is_written() {
        let mut floats = Floats::zeroed(5000, "a test").unwrap();
        assert!(floats.as_slice().iter().all(|x| x.to_bits() == 0));
        floats.as_mut_slice()[4999] = 2.5;
        assert_eq!(floats.as_slice()[4998..], [0.0, 2.5]);
        assert!(Floats::zeroed(0, "a test").unwrap().as_slice().is_empty());
        assert!(matches!(Floats::zeroed(usize::MAX / 2, "a test"), Err(Error::OutOfMemory { .. })));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_is_not_touched_is_not_resident() {
        let resident_pages = || -> usize {
            let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
            statm.split(' ').nth(1).unwrap().parse().unwrap()
        };
        let before = resident_pages();
        let mut floats = Floats::zeroed(1 << 28, "a test").unwrap();
        floats.as_mut_slice()[0] = 1.0;
        // A quarter of the gibibyte, since other tests run beside this one.
        assert!(resident_pages() < before + (1 << 16));
    }
}
