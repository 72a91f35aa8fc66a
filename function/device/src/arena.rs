//! One reservation for all weights, cut into regions that are filled by whoever owns them.
//!
//! The reservation is made before a byte has arrived. It is carved once, into disjoint regions; a
//! region is *moved* to whoever fills it, so that no two writers can meet, and comes back as the
//! bytes of a tensor. On the host the reservation costs no memory, and another thread may fault
//! pages in, ahead of the writers; on a GPU it is one allocation
//! ([`cuda::Arena`](crate::cuda::Arena)).
#![expect(unsafe_code, reason = "regions of one mapping are written by different threads")]

use std::fmt;
use std::ops::Range;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::Error;
use crate::mapping::Pages;

pub use crate::mapping::Mapping;

/// One contiguous reservation. That of the host is on huge pages where the kernel allows, and its
/// start is aligned to 2 MiB.
#[derive(Debug)]
pub struct Arena<M = Mapping> {
    memory: M,
    carved: AtomicBool,
}

/// Memory that has a size.
pub trait Extent {
    /// How much there is.
    fn bytes(&self) -> u64;
}

impl<M: Extent> Arena<M> {
    pub(crate) fn of(memory: M) -> Arc<Self> {
        Arc::new(Self { memory, carved: AtomicBool::new(false) })
    }

    pub(crate) fn memory(&self) -> &M {
        &self.memory
    }

    /// The size of the reservation.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.memory.bytes()
    }

    /// Cuts the arena into one region a range, in the order given. Bytes between them stay
    /// nobody's. Succeeds once.
    pub fn carve(self: &Arc<Self>, ranges: &[Range<u64>]) -> Result<Vec<Region<M>>, Error> {
        check_disjoint(ranges, self.bytes())?;
        if self.carved.swap(true, Ordering::Relaxed) {
            return Err(Error::AlreadyCarved);
        }
        let region = |range: &Range<u64>| Region { arena: Arc::clone(self), range: range.clone() };
        Ok(ranges.iter().map(region).collect())
    }
}

impl Arena {
    /// Reserves `bytes` of the host without touching them.
    pub fn new(bytes: u64) -> Result<Arc<Self>, Error> {
        let length = usize::try_from(bytes).unwrap_or(usize::MAX);
        Mapping::new(length, Pages::Huge, "the weights").map(Self::of)
    }

    /// Makes the pages of a range resident, changing no byte, and says whether the kernel could;
    /// where it could not, they fault in as they are written. Safe beside threads that write the
    /// regions there.
    ///
    /// # Panics
    /// The range is not within the arena.
    pub fn populate(&self, range: Range<u64>) -> bool {
        assert!(
            range.start <= range.end && range.end <= self.bytes(),
            "range `{range:?}` is not within an arena of {} bytes",
            self.bytes()
        );
        self.memory.populate(offset(range.start)..offset(range.end))
    }
}

/// A part of an arena that only its owner can write or read.
pub struct Region<M = Mapping> {
    arena: Arc<Arena<M>>,
    range: Range<u64>,
}

impl<M> Region<M> {
    pub(crate) fn arena(&self) -> &Arc<Arena<M>> {
        &self.arena
    }

    /// Bytes in the region.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Whether the region holds no byte at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// Where the region lies in its arena.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    /// Makes regions that follow each other in one arena a single one.
    ///
    /// # Panics
    /// There is no region.
    pub fn join(regions: Vec<Self>) -> Result<Self, Error> {
        let mut regions = regions.into_iter();
        let mut joined = regions.next().expect("at least one region is joined");
        for region in regions {
            let follows =
                Arc::ptr_eq(&joined.arena, &region.arena) && joined.range.end == region.range.start;
            if !follows {
                return Err(Error::NotAdjacent { end: joined.range.end, found: region.range });
            }
            joined.range.end = region.range.end;
        }
        Ok(joined)
    }
}

impl AsRef<[u8]> for Region {
    fn as_ref(&self) -> &[u8] {
        let start = self.arena.memory.at(offset(self.range.start));
        // SAFETY: the range is within the mapping, which lives as long as `self.arena` and is zero
        // where it was never written; only this region can write it, and it is borrowed.
        unsafe { slice::from_raw_parts(start.as_ptr(), offset(self.len())) }
    }
}

impl AsMut<[u8]> for Region {
    fn as_mut(&mut self) -> &mut [u8] {
        let start = self.arena.memory.at(offset(self.range.start));
        // SAFETY: the range is within the mapping, which lives as long as `self.arena` and is zero
        // where it was never written; regions are disjoint and this one is borrowed mutably, so
        // nobody else reads or writes there.
        unsafe { slice::from_raw_parts_mut(start.as_ptr(), offset(self.len())) }
    }
}

impl<M> fmt::Debug for Region<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Region").field(&self.range).finish()
    }
}

fn check_disjoint(ranges: &[Range<u64>], arena_bytes: u64) -> Result<(), Error> {
    let outside = |range: &&Range<u64>| range.start > range.end || range.end > arena_bytes;
    if let Some(range) = ranges.iter().find(outside) {
        return Err(Error::OutOfArena { range: range.clone(), arena_bytes });
    }
    let mut sorted: Vec<_> = ranges.iter().filter(|range| !range.is_empty()).collect();
    sorted.sort_by_key(|range| range.start);
    match sorted.windows(2).find(|pair| pair[1].start < pair[0].end) {
        Some(pair) => Err(Error::Overlap { first: pair[0].clone(), second: pair[1].clone() }),
        None => Ok(()),
    }
}

/// An offset in a mapping that exists, which is why it fits the address space.
fn offset(bytes: u64) -> usize {
    usize::try_from(bytes).expect("an offset in a mapping fits a usize")
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn regions_are_written_side_by_side_and_read_back() {
        let arena = Arena::new(1 << 20).unwrap();
        let ranges: Vec<_> = (0..4).map(|i| i * 1000..(i + 1) * 1000).collect();
        let regions = arena.carve(&ranges).unwrap();
        let filled: Vec<_> = thread::scope(|scope| {
            scope.spawn(|| arena.populate(0..arena.bytes()));
            let fill = |(value, mut region): (u8, Region)| {
                scope.spawn(move || {
                    region.as_mut().fill(value);
                    region
                })
            };
            let writers: Vec<_> = (1..).zip(regions).map(fill).collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        drop(arena); // the regions keep it alive
        let joined = Region::join(filled).unwrap();
        assert_eq!(joined.range(), 0..4000);
        let expected: Vec<_> = (1..=4).flat_map(|value| [value; 1000]).collect();
        assert_eq!(joined.as_ref(), expected);
    }

    #[test]
    fn carving_refuses_what_is_not_disjoint_or_not_inside() {
        let arena = Arena::new(100).unwrap();
        let error = |ranges: &[Range<u64>]| arena.carve(ranges).unwrap_err();
        assert!(matches!(error(&[50..60, 0..51]), Error::Overlap { .. }));
        assert!(matches!(error(&[0..100, 20..30]), Error::Overlap { .. }));
        assert!(matches!(error(&[0..5, 90..101]), Error::OutOfArena { arena_bytes: 100, .. }));
        let backwards = Range { start: 9, end: 8 };
        assert!(matches!(error(&[0..5, backwards]), Error::OutOfArena { .. }));
        // Empty ranges share no byte with anyone, and a refusal is not a carving.
        assert_eq!(arena.carve(&[0..50, 20..20, 50..100, 100..100]).unwrap().len(), 4);
        assert!(matches!(error(&[]), Error::AlreadyCarved));
    }

    #[test]
    fn joining_refuses_gaps_and_strangers() {
        let regions = || Arena::new(100).unwrap().carve(&[0..10, 10..20, 21..30]).unwrap();
        let mut ours = regions();
        let gap = Region::join(ours.split_off(1)).unwrap_err();
        assert_eq!(
            gap.to_string(),
            "region at `21..30` does not follow the one that ends at 20 in the same arena"
        );
        ours.push(regions().swap_remove(1));
        assert!(matches!(Region::join(ours), Err(Error::NotAdjacent { end: 10, .. })));
    }
}
