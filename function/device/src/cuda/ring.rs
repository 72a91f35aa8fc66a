//! A fixed ring of equal pinned slots, through which all weights pass on their way to a device.
//!
//! Pinned memory is what a device reads by itself, at the speed of the bus; it is slow to make (others report 0.1 s a GiB
//! of huge pages that were touched before, and 0.5 s where the driver allocates it), so there is a ring and never the
//! whole model. [`RingMemory`] is mapped on huge pages and touched by several threads while the driver opens the device; then
//! it is registered and cut: [`Ring::new`].
//!
//! A slot that is full is copied to the places of its parts at once, by [`Ring::send`], and is free again when the
//! event behind those copies has happened, which a thread of the ring waits for. Nobody else does: whoever fetches waits
//! for a free slot, and whoever computes has the device wait for the event.
#![expect(unsafe_code, reason = "memory is registered and copied from by its address")]

use std::future::poll_fn;
use std::mem;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::thread;

use super::port::Port;
use super::slot::{Free, Full, Slot, Slots};
use super::watch::Watch;
use crate::Error;
use crate::arena::Region;
use crate::mapping::{Mapping, Pages};

/// Memory for a ring, which is not pinned yet.
#[derive(Debug)]
pub struct RingMemory {
    mapping: Mapping,
}

impl RingMemory {
    /// Maps `bytes` and touches all of them, by as many threads as clear pages faster than one.
    pub fn touched(bytes: usize) -> Result<Self, Error> {
        let mapping = Mapping::new(bytes, Pages::Huge, "the pinned ring")?;
        thread::scope(|scope| {
            for part in parts(bytes) {
                let mapping = &mapping;
                // Where the kernel does not populate, the driver faults the pages in as it registers them.
                scope.spawn(move || mapping.populate(part));
            }
        });
        Ok(Self { mapping })
    }
}

/// `bytes` in a part for each of [`TOUCHING_THREADS`], on the bounds of huge pages.
fn parts(bytes: usize) -> impl Iterator<Item = Range<usize>> {
    let part_bytes = bytes.div_ceil(TOUCHING_THREADS).next_multiple_of(HUGE_PAGE_BYTES);
    (0..bytes).step_by(part_bytes).map(move |at| at..bytes.min(at + part_bytes))
}

/// Copies that were queued.
#[derive(Clone, Debug)]
pub struct Sent<E> {
    /// Of those of one ring, the last event is the one with the highest number.
    pub number: u64,
    /// When they are done, and all that were sent before.
    pub event: Arc<E>,
}

/// Pinned slots, and the copies out of them. Dropping it waits for the copies in flight.
pub struct Ring<P: Port> {
    port: Arc<P>,
    slots: Arc<Slots>,
    /// One sends at a time: the events are watched in the order in which they are due.
    sending: Mutex<Sending<P::Event>>,
}

struct Sending<E> {
    number: u64,
    watch: Watch<E>,
}

impl<P: Port> Ring<P> {
    /// Pins `memory` for `port` and cuts it into slots of `slot_bytes`; what is left over at its end is not used.
    ///
    /// # Panics
    /// There is no room for a slot.
    pub fn new(port: Arc<P>, memory: RingMemory, slot_bytes: usize) -> Result<Self, Error> {
        let mapping = memory.mapping;
        let bytes = mapping.length();
        assert!((1..=bytes).contains(&slot_bytes), "slots of {slot_bytes} bytes in {bytes}");
        // SAFETY: the memory is this mapping's, which is unmapped after the registration is dropped: see `Slots`.
        let registration = unsafe { port.register(mapping.at(0), bytes)? };
        let slots = Slots::new(mapping, slot_bytes, registration);
        let watch = Watch::start("ring")?;
        Ok(Self { port, slots, sending: Mutex::new(Sending { number: 0, watch }) })
    }

    /// The device that it leads to.
    #[must_use]
    pub fn port(&self) -> &Arc<P> {
        &self.port
    }

    /// The bytes that fit a slot.
    #[must_use]
    pub fn slot_bytes(&self) -> usize {
        self.slots.slot_bytes()
    }

    /// How many slots there are.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots.count()
    }

    /// A free slot, as soon as there is one. Fails when a copy has failed before.
    pub async fn take(&self) -> Result<Slot<Free>, Error> {
        poll_fn(|context| self.slots.poll_take(context)).await
    }

    /// Puts copies of parts of the slot to their regions behind all copies before, and says when they are done: by an
    /// event, for the device, and by `told`, on the ring's thread, when the slot is free again.
    ///
    /// # Panics
    /// A part is not as long as its region, or reaches past what the slot was filled with.
    pub fn send(
        &self,
        slot: Slot<Full>,
        parts: &[(Range<usize>, &Region<P::Memory>)],
        told: impl FnOnce(Result<(), Error>) + Send + 'static,
    ) -> Result<Sent<P::Event>, Error> {
        let start = |(part, region): &(Range<usize>, &Region<P::Memory>)| {
            assert_eq!(part.len() as u64, region.len(), "bytes of a part and of its region");
            slot.part(part)
        };
        let starts: Vec<_> = parts.iter().map(start).collect();
        let arenas: Vec<_> = parts.iter().map(|(_, region)| Arc::clone(region.arena())).collect();
        let mut sending = self.sending.lock().expect("no holder panics");
        // From here on the device may read it. Where a copy or the event fails it is dropped in flight, and stays.
        let slot = slot.depart();
        let queue = || {
            for ((_, region), start) in parts.iter().zip(starts) {
                // SAFETY: the memory is the registered slot's. It is in flight, and `arrive` is called when the event
                // has happened that is recorded behind this copy, or never; until then the arenas are held.
                unsafe { self.port.copy(start, region)? };
            }
            self.port.copied()
        };
        let event = Arc::new(queue().map_err(|error| self.slots.break_off(error))?);
        let slots = Arc::clone(&self.slots);
        sending.watch.when(Arc::clone(&event), move |happened| match happened {
            Ok(()) => {
                drop((slot.arrive(), arenas));
                told(Ok(()));
            }
            Err(error) => {
                mem::forget(arenas);
                told(Err(slots.break_off(error)));
            }
        });
        sending.number += 1;
        Ok(Sent { number: sending.number, event })
    }
}

/// On a machine of two cores (EPYC, Zen 4) one thread clears 256 MiB of huge pages in 24 ms at best, and two in 16 ms;
/// four cost nothing there (15 ms), and eight do (21 ms). A machine with a GPU has more cores, and memory that takes more
/// than two of them to saturate; how many was not measured.
const TOUCHING_THREADS: usize = 4;
const HUGE_PAGE_BYTES: usize = 2 << 20;

#[cfg(test)]
mod tests;
