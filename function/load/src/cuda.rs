//! Bytes land in pinned slots, and are copied from there to one arena of a GPU, at once and side by side with its
//! arithmetic.
//!
//! A fetch begins when there is a free slot for it, and lands in it whole, with the bytes between the tensors. When it is
//! complete the copies of its parts are queued, with an event behind them. The arithmetic of a stage is queued when all
//! of its fetches have got so far, behind the last of their events: the device waits for it, no thread does.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use firstlight_device::cuda::port::Port;
use firstlight_device::cuda::ring::{Ring, Sent};
use firstlight_device::cuda::slot::{Filling, Free, Slot};
use firstlight_device::cuda::watch::Watch;
use firstlight_device::{Arena, DType, Error as DeviceError, Region};
use firstlight_plan::{Fetch, Plan};
use firstlight_store::Sink;
use firstlight_timeline::{Lane, Mark, Timeline};

use crate::Error;
use crate::files::{BLOCK_BYTES, Blocks, around};
use crate::landing::{Landed, Landing};
use crate::layers::Queue;

/// The memory of a GPU, by way of a ring.
pub(crate) struct Cuda<P: Port> {
    ring: Arc<Ring<P>>,
    arena: Arc<Arena<P::Memory>>,
    copying: Arc<Copying>,
}

/// What is still to be copied.
struct Copying {
    /// Of each stage, the fetches that are not resident yet.
    stages: Vec<(Arc<str>, AtomicUsize)>,
    fetches: AtomicUsize,
    timeline: Timeline,
}

impl<P: Port> Cuda<P> {
    /// Reserves the arena of `plan`.
    pub(crate) fn new(ring: Arc<Ring<P>>, plan: &Plan, timeline: &Timeline) -> Result<Self, Error> {
        let arena = ring.port().reserve(plan.arena_bytes)?;
        let stages = plan.stages.iter();
        let copying = Copying {
            stages: stages
                .map(|stage| (stage.name.as_str().into(), stage.fetches.len().into()))
                .collect(),
            fetches: plan.fetches.len().into(),
            timeline: timeline.clone(),
        };
        Ok(Self { ring, arena, copying: Arc::new(copying) })
    }
}

impl Copying {
    /// The copies of a fetch of `stage` are done.
    fn resident(&self, stage: usize) {
        if self.stages[stage].1.fetch_sub(1, Relaxed) == 1 && stage == 0 {
            self.timeline.mark(Mark::FirstLayerResident);
        }
        if self.fetches.fetch_sub(1, Relaxed) == 1 {
            self.timeline.mark(Mark::LastLayerResident);
        }
    }
}

/// A slot that a fetch lands in.
pub(crate) struct InSlot<M> {
    slot: Slot<Filling>,
    /// What there is room for: what was asked for, and the rest of its first and last block where they fit the slot.
    room: Range<u64>,
    regions: Vec<Region<M>>,
}

impl<M: Send + Sync + 'static> Sink for InSlot<M> {
    fn memory(&mut self, missing: Range<u64>) -> &mut [u8] {
        let offset = |at: u64| in_slot(at - self.room.start);
        &mut self.slot.memory()[offset(missing.start)..offset(missing.end)]
    }
}

impl<M: Send + Sync + 'static> Blocks for InSlot<M> {
    fn blocks(&mut self, range: &Range<u64>) -> Option<&mut [u8]> {
        let around = around(range);
        if around.start < self.room.start || self.room.end < around.end {
            return None;
        }
        let memory = self.memory(around);
        (memory.as_ptr().addr() as u64).is_multiple_of(BLOCK_BYTES).then_some(memory)
    }
}

impl<P: Port> Landing for Cuda<P> {
    type Memory = P::Memory;
    type Tensor = P::Tensor;
    type Room = Slot<Free>;
    type Sink = InSlot<P::Memory>;
    type Filled = Sent<P::Event>;
    type Gate = Arc<P>;

    const IS_RESIDENT: bool = false;

    fn arena(&self) -> &Arc<Arena<P::Memory>> {
        &self.arena
    }

    async fn room(&self) -> Result<Slot<Free>, Error> {
        Ok(self.ring.take().await?)
    }

    fn sink(
        &self,
        fetch: &Fetch,
        regions: Vec<Region<P::Memory>>,
        slot: Slot<Free>,
    ) -> InSlot<P::Memory> {
        let around = around(&fetch.range);
        let fits = around.end - around.start <= self.ring.slot_bytes() as u64;
        let room = if fits { around } else { fetch.range.clone() };
        InSlot { slot: slot.fill(in_slot(room.end - room.start)), room, regions }
    }

    fn land(
        &self,
        fetch: &Fetch,
        InSlot { slot, room, regions }: Self::Sink,
        failed: impl FnOnce(Error) + Send + 'static,
    ) -> Result<Landed<Self>, Error> {
        let parts = fetch.places.iter().zip(&regions).map(|(place, region)| {
            let (start, end) = (place.source.start - room.start, place.source.end - room.start);
            (in_slot(start)..in_slot(end), region)
        });
        let parts: Vec<_> = parts.collect();
        let (copying, stage) = (Arc::clone(&self.copying), fetch.stage);
        let bytes = regions.iter().map(Region::len).sum();
        let name = self.copying.stages[stage].0.to_string();
        let span = self.copying.timeline.span(Lane::Copy, name).bytes(bytes);
        let filled = self.ring.send(slot.full(), &parts, move |copied| match copied {
            Ok(()) => {
                span.end();
                copying.resident(stage);
            }
            Err(error) => failed(error.into()),
        })?;
        Ok(Landed { regions, filled })
    }

    fn gate(&self) -> Arc<P> {
        Arc::clone(self.ring.port())
    }

    fn admit(port: &Arc<P>, filled: Vec<Sent<P::Event>>) -> Result<(), Error> {
        match filled.iter().max_by_key(|sent| sent.number) {
            Some(last) => Ok(port.follow(&last.event)?),
            None => Ok(()),
        }
    }

    fn tensor(
        region: Region<P::Memory>,
        dtype: DType,
        shape: Vec<usize>,
    ) -> Result<P::Tensor, DeviceError> {
        P::tensor(region, dtype, shape)
    }
}

/// The arithmetic of a GPU, which a thread follows for the timeline.
pub(crate) struct Arithmetic<P: Port> {
    port: Arc<P>,
    watch: Watch<P::Event>,
}

impl<P: Port> Arithmetic<P> {
    pub(crate) fn watched(port: Arc<P>) -> Result<Self, Error> {
        let watch = Watch::start("arithmetic")?;
        Ok(Self { port, watch })
    }
}

impl<P: Port> Queue for Arithmetic<P> {
    fn when_done(&self, due: Box<dyn FnOnce() + Send>) {
        // A device that is lost is told of by whoever waits for a result.
        if let Ok(event) = self.port.computed() {
            self.watch.when(Arc::new(event), |reached| {
                if reached.is_ok() {
                    due();
                }
            });
        }
    }
}

fn in_slot(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a fetch fits a slot")
}
