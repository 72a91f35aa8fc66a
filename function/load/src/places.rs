//! Where the bytes of one range go.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use firstlight_device::Region;
use firstlight_plan::Place;
use firstlight_store::Sink;

/// The regions that one fetch fills. The bytes between them are dropped.
pub(crate) struct Places {
    regions: Vec<(Range<u64>, Region)>,
    /// The first region that is not full yet.
    next: usize,
    /// Set when a byte lands.
    landing: Arc<AtomicBool>,
}

impl Places {
    pub(crate) fn new(
        places: &[Place],
        regions: impl IntoIterator<Item = Region>,
        landing: Arc<AtomicBool>,
    ) -> Self {
        let sources = places.iter().map(|place| place.source.clone());
        Self { regions: sources.zip(regions).collect(), next: 0, landing }
    }

    pub(crate) fn into_regions(self) -> impl Iterator<Item = Region> {
        self.regions.into_iter().map(|(_, region)| region)
    }
}

impl Sink for Places {
    fn write(&mut self, at: u64, bytes: &[u8]) {
        self.landing.store(true, Relaxed);
        let end = at + bytes.len() as u64;
        while let Some((source, region)) = self.regions.get_mut(self.next) {
            let (from, to) = (source.start.max(at), source.end.min(end));
            if from < to {
                region.write(from - source.start, &bytes[offset(from - at)..offset(to - at)]);
            }
            if source.end > end {
                break;
            }
            self.next += 1;
        }
    }
}

fn offset(within_chunk: u64) -> usize {
    usize::try_from(within_chunk).expect("an offset within a chunk in memory")
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
            for (i, bytes) in object[20..50].chunks(chunk).enumerate() {
                places.write((20 + i * chunk) as u64, bytes);
            }
            let filled: Vec<_> = places.into_regions().map(|r| r.as_ref().to_vec()).collect();
            assert_eq!(filled, [&object[20..30], &object[35..36], &object[36..43]]);
        }
    }
}
