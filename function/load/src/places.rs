//! Where the bytes of one range go.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use firstlight_device::Region;
use firstlight_plan::Place;
use firstlight_store::Sink;

use crate::files::Blocks;

/// The regions that one fetch fills. The bytes between them are dropped.
pub(crate) struct Places {
    regions: Vec<(Range<u64>, Region)>,
    /// The first region that is not full yet.
    next: usize,
    /// The first byte that was asked for.
    start: Option<u64>,
    /// Where bytes land that belong nowhere.
    scrap: Vec<u8>,
    /// Set when a byte has landed.
    landing: Arc<AtomicBool>,
}

impl Places {
    pub(crate) fn new(
        places: &[Place],
        regions: impl IntoIterator<Item = Region>,
        landing: Arc<AtomicBool>,
    ) -> Self {
        let sources = places.iter().map(|place| place.source.clone());
        let regions = sources.zip(regions).collect();
        Self { regions, next: 0, start: None, scrap: Vec::new(), landing }
    }

    pub(crate) fn into_regions(self) -> impl Iterator<Item = Region> {
        self.regions.into_iter().map(|(_, region)| region)
    }
}

impl Blocks for Places {
    /// Tensors lie close together: there is no room beside them.
    fn blocks(&mut self, _: &Range<u64>) -> Option<&mut [u8]> {
        None
    }
}

impl Sink for Places {
    fn memory(&mut self, missing: Range<u64>) -> &mut [u8] {
        if *self.start.get_or_insert(missing.start) < missing.start {
            self.landing.store(true, Relaxed);
        }
        let full = |(source, _): &&(Range<u64>, _)| source.end <= missing.start;
        self.next += self.regions[self.next..].iter().take_while(full).count();
        let next = self.regions.get(self.next).map_or(missing.end, |(source, _)| source.start);
        if missing.start < next {
            self.scrap.resize(SCRAP_BYTES, 0);
            let gap = offset(next.min(missing.end) - missing.start);
            return &mut self.scrap[..SCRAP_BYTES.min(gap)];
        }
        let (source, region) = &mut self.regions[self.next];
        let end = missing.end.min(source.end);
        &mut region.as_mut()[offset(missing.start - source.start)..offset(end - source.start)]
    }
}

/// Gaps between tensors are a few bytes, those that a plan merges over up to its limit.
const SCRAP_BYTES: usize = 64 << 10;

fn offset(in_memory: u64) -> usize {
    usize::try_from(in_memory).expect("an offset in memory")
}

#[cfg(test)]
mod tests {
    use firstlight_device::Arena;

    use super::*;

    #[test]
    fn bytes_find_their_regions_however_they_are_cut() {
        let object: Vec<u8> = (0..100).collect();
        for chunk in 1..40 {
            let arena = Arena::new(64).unwrap();
            let regions = arena.carve(&[0..10, 32..33, 40..47]).unwrap();
            let place = |source| Place { source, arena: 0, tensor: 0 };
            let sources = [place(20..30), place(35..36), place(36..43)];
            let mut places = Places::new(&sources, regions, Arc::default());
            let mut at = 20;
            while at < 50 {
                let memory = places.memory(at as u64..50);
                let count = memory.len().min(chunk);
                memory[..count].copy_from_slice(&object[at..at + count]);
                at += count;
            }
            let filled: Vec<_> = places.into_regions().map(|r| r.as_ref().to_vec()).collect();
            assert_eq!(filled, [&object[20..30], &object[35..36], &object[36..43]]);
        }
    }
}
