//! Bytes land where the arithmetic reads them: in one arena of this machine's memory.
//!
//! Until the first byte lands, a thread faults the arena's pages in, in the order in which they will be written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use firstlight_device::{Arena, DType, Error as DeviceError, Region, Tensor, arena::Mapping};
use firstlight_plan::Fetch;

use crate::Error;
use crate::landing::{Landed, Landing};
use crate::places::Places;

/// A huge page.
const POPULATE_BYTES: u64 = 2 << 20;

/// The memory of this machine.
pub(crate) struct Host {
    arena: Arc<Arena>,
    /// Set when the first byte of all lands.
    landing: Arc<AtomicBool>,
}

impl Host {
    /// Reserves `bytes`, and begins to make them resident.
    pub(crate) fn new(bytes: u64) -> Result<Self, Error> {
        let arena = Arena::new(bytes)?;
        let landing = Arc::new(AtomicBool::new(false));
        populate_ahead(&arena, Arc::clone(&landing));
        Ok(Self { arena, landing })
    }
}

impl Landing for Host {
    type Memory = Mapping;
    type Tensor = Tensor;
    type Room = ();
    type Sink = Places;
    type Filled = ();
    type Gate = ();

    const IS_RESIDENT: bool = true;

    fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    async fn room(&self) -> Result<(), Error> {
        Ok(())
    }

    fn sink(&self, fetch: &Fetch, regions: Vec<Region>, (): ()) -> Places {
        Places::new(&fetch.places, regions, Arc::clone(&self.landing))
    }

    fn land(
        &self,
        _: &Fetch,
        sink: Places,
        _: impl FnOnce(Error) + Send + 'static,
    ) -> Result<Landed<Self>, Error> {
        Ok(Landed { regions: sink.into_regions().collect(), filled: () })
    }

    fn gate(&self) {}

    fn admit((): &(), _: Vec<()>) -> Result<(), Error> {
        Ok(())
    }

    fn tensor(region: Region, dtype: DType, shape: Vec<usize>) -> Result<Tensor, DeviceError> {
        Tensor::from_region(region, dtype, shape)
    }
}

/// Faults the arena's pages in, in the order in which they will be written, while the network is still connecting: until
/// that is done, or the first byte has landed, or nobody needs the arena any more. Once bytes flow, the threads that
/// write them fault in the rest: on loopback, where bytes come as fast as pages are cleared, a thread that clears beside
/// them costs a third more CPU time, for pages that are cleared twice and caches that are not hot.
fn populate_ahead(arena: &Arc<Arena>, landing: Arc<AtomicBool>) {
    let bytes = arena.bytes();
    let arena = Arc::downgrade(arena);
    let populate = move || {
        let mut at = 0;
        while at < bytes && !landing.load(Relaxed) {
            let end = bytes.min(at + POPULATE_BYTES);
            if !arena.upgrade().is_some_and(|arena| arena.populate(at..end)) {
                return;
            }
            at = end;
        }
    };
    // Without the thread, all pages fault in as they are written.
    drop(thread::Builder::new().name("populate".into()).spawn(populate));
}
