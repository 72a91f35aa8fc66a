//! A piece of pinned memory, whose state is its type.
//!
//! ```text
//! Free ──fill──► Filling ──full──► Full ──depart──► InFlight ──arrive──► Free
//! ```
//!
//! Only a slot that is filling can be written, only one that is full can be sent, and one that is in flight is *moved* to
//! whoever knows when the device has read it: nobody can touch it before. A slot that is dropped in any other state is
//! free again, which wakes whoever waits for one; one that is dropped in flight is lost, since nobody knows when its
//! memory may be written again.
#![expect(unsafe_code, reason = "slots of one mapping are written by different threads")]

use std::any::Any;
use std::mem;
use std::ops::Range;
use std::ptr::NonNull;
use std::slice;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use crate::Error;
use crate::mapping::Mapping;

/// One of the equal pieces of a ring.
#[derive(Debug)]
pub struct Slot<S> {
    seat: Seat,
    state: S,
}

/// Nobody uses the slot.
#[derive(Debug)]
pub struct Free(());

/// Bytes arrive.
#[derive(Debug)]
pub struct Filling {
    bytes: usize,
}

/// All bytes are there.
#[derive(Debug)]
pub struct Full {
    bytes: usize,
}

/// The device reads the slot.
#[derive(Debug)]
pub struct InFlight(());

impl Slot<Free> {
    /// Begins to fill the first `bytes` of the slot.
    ///
    /// # Panics
    /// The slot is smaller.
    #[must_use]
    pub fn fill(self, bytes: usize) -> Slot<Filling> {
        let slot_bytes = self.seat.slots.slot_bytes;
        assert!(bytes <= slot_bytes, "{bytes} bytes in a slot of {slot_bytes}");
        Slot { seat: self.seat, state: Filling { bytes } }
    }
}

impl Slot<Filling> {
    /// What is to be filled. It holds what the slot was last used for.
    pub fn memory(&mut self) -> &mut [u8] {
        let start = self.seat.start();
        // SAFETY: `fill` checked that the bytes are within the slot, which lies in a mapping that lives as long as the
        // seat, and is initialised (zero where it was never written). A seat is held once, and the device reads it in
        // flight only: this borrow is the only access.
        unsafe { slice::from_raw_parts_mut(start.as_ptr(), self.state.bytes) }
    }

    /// All of it is filled.
    #[must_use]
    pub fn full(self) -> Slot<Full> {
        Slot { seat: self.seat, state: Full { bytes: self.state.bytes } }
    }
}

impl Slot<Full> {
    /// The address of a part, for a device.
    pub(super) fn part(&self, part: &Range<usize>) -> NonNull<u8> {
        let bytes = self.state.bytes;
        assert!(part.start <= part.end && part.end <= bytes, "`{part:?}` of {bytes} bytes");
        // SAFETY: the part lies within the slot, as just asserted.
        unsafe { self.seat.start().add(part.start) }
    }

    /// The device begins to read.
    pub(super) fn depart(mut self) -> Slot<InFlight> {
        self.seat.in_flight = true;
        Slot { seat: self.seat, state: InFlight(()) }
    }
}

impl Slot<InFlight> {
    /// The device has read all of it.
    pub(super) fn arrive(mut self) -> Slot<Free> {
        self.seat.in_flight = false;
        Slot { seat: self.seat, state: Free(()) }
    }
}

/// The right to one slot.
#[derive(Debug)]
struct Seat {
    slots: Arc<Slots>,
    number: usize,
    in_flight: bool,
}

impl Seat {
    fn start(&self) -> NonNull<u8> {
        self.slots.mapping.at(self.number * self.slots.slot_bytes)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.in_flight {
            // The device may still read it: the memory stays for good.
            mem::forget(Arc::clone(&self.slots));
        } else {
            self.slots.give_back(self.number);
        }
    }
}

/// All slots of a ring, and who waits for one.
pub(super) struct Slots {
    /// Ends before the mapping does: fields are dropped in their order.
    _registration: Box<dyn Any + Send + Sync>,
    mapping: Mapping,
    slot_bytes: usize,
    idle: Mutex<Idle>,
}

struct Idle {
    /// What was freed last is used first: its pages are in the cache.
    free: Vec<usize>,
    /// All are woken by a slot that is given back, and one of them gets it: those that have given up waiting then keep
    /// nobody from it. They are as many as ranges may be in flight.
    waiting: Vec<Waker>,
    /// Why no slot is given any more.
    broken: Option<Arc<Error>>,
}

impl Slots {
    /// Cuts `mapping`, which the device reads as long as it is registered.
    pub(super) fn new(
        mapping: Mapping,
        slot_bytes: usize,
        registration: impl Any + Send + Sync,
    ) -> Arc<Self> {
        let free = (0..mapping.length() / slot_bytes).rev().collect();
        let idle = Mutex::new(Idle { free, waiting: Vec::new(), broken: None });
        Arc::new(Self { _registration: Box::new(registration), mapping, slot_bytes, idle })
    }

    pub(super) fn slot_bytes(&self) -> usize {
        self.slot_bytes
    }

    pub(super) fn count(&self) -> usize {
        self.mapping.length() / self.slot_bytes
    }

    pub(super) fn poll_take(
        self: &Arc<Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<Slot<Free>, Error>> {
        let mut idle = self.idle();
        if let Some(cause) = &idle.broken {
            return Poll::Ready(Err(Error::RingBroken { cause: Arc::clone(cause) }));
        }
        let Some(number) = idle.free.pop() else {
            idle.waiting.push(context.waker().clone());
            return Poll::Pending;
        };
        let seat = Seat { slots: Arc::clone(self), number, in_flight: false };
        Poll::Ready(Ok(Slot { seat, state: Free(()) }))
    }

    /// From now on nobody gets a slot, but this error. The first cause is the one that counts.
    pub(super) fn break_off(&self, cause: Error) -> Error {
        let cause = Arc::clone(self.idle().broken.get_or_insert_with(|| Arc::new(cause)));
        self.wake();
        Error::RingBroken { cause }
    }

    fn give_back(&self, number: usize) {
        self.idle().free.push(number);
        self.wake();
    }

    fn wake(&self) {
        let waiting = mem::take(&mut self.idle().waiting);
        waiting.into_iter().for_each(Waker::wake);
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().expect("no holder panics")
    }
}

impl std::fmt::Debug for Slots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} slots of {} bytes", self.count(), self.slot_bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::task::Wake;

    use super::*;
    use crate::mapping::Pages;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    struct Registration(Arc<AtomicUsize>);

    impl Drop for Registration {
        fn drop(&mut self) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    fn slots(count: usize) -> (Arc<Slots>, Arc<AtomicUsize>) {
        let mapping = Mapping::new(count * 64, Pages::Small, "a test").unwrap();
        let ended = Arc::new(AtomicUsize::new(0));
        (Slots::new(mapping, 64, Registration(Arc::clone(&ended))), ended)
    }

    fn take(slots: &Arc<Slots>, woken: &Arc<Woken>) -> Option<Slot<Free>> {
        let waker = Arc::clone(woken).into();
        match slots.poll_take(&mut Context::from_waker(&waker)) {
            Poll::Ready(slot) => Some(slot.unwrap()),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_slot_is_given_to_one_at_a_time_and_wakes_who_waits() {
        let ((slots, _), woken) = (slots(2), Arc::default());
        let (a, b) = (take(&slots, &woken).unwrap(), take(&slots, &woken).unwrap());
        assert_ne!(a.seat.number, b.seat.number);
        assert!(take(&slots, &woken).is_none());
        assert_eq!(woken.0.load(Relaxed), 0);
        drop(b.fill(3));
        assert_eq!(woken.0.load(Relaxed), 1);
        assert!(take(&slots, &woken).is_some());
    }

    #[test]
    fn slots_are_written_side_by_side_and_keep_what_was_written() {
        let ((slots, _), woken) = (slots(3), Arc::default());
        let full: Vec<_> = (1..=3_u8)
            .map(|value| {
                let mut filling = take(&slots, &woken).unwrap().fill(64);
                filling.memory().fill(value);
                filling.full()
            })
            .collect();
        for (slot, value) in full.iter().zip(1_u8..) {
            // SAFETY: the byte is the slot's, which is held.
            let last = unsafe { slot.part(&(63..64)).read() };
            assert_eq!(last, value);
        }
    }

    #[test]
    fn a_slot_in_flight_is_free_when_it_arrives_and_lost_when_it_is_dropped() {
        let ((slots, ended), woken) = (slots(2), Arc::default());
        let depart = || take(&slots, &woken).unwrap().fill(1).full().depart();
        let arrived = depart().arrive();
        let number = arrived.seat.number;
        drop(arrived);
        let lost = depart();
        assert_eq!(lost.seat.number, number);
        drop(lost);
        let other = take(&slots, &woken).unwrap();
        assert!(take(&slots, &woken).is_none(), "what is lost is not given again");
        drop((other, slots));
        assert_eq!(ended.load(Relaxed), 0, "the device may still read it");
    }

    #[test]
    fn the_memory_is_registered_until_the_last_slot_is_gone() {
        let ((slots, ended), woken) = (slots(1), Arc::default());
        let slot = take(&slots, &woken);
        drop(slots);
        assert_eq!(ended.load(Relaxed), 0);
        drop(slot);
        assert_eq!(ended.load(Relaxed), 1);
    }

    #[test]
    fn a_broken_ring_tells_who_waits() {
        let ((slots, _), woken) = (slots(1), Arc::<Woken>::default());
        let _held = take(&slots, &woken);
        assert!(take(&slots, &woken).is_none());
        drop(slots.break_off(Error::AlreadyCarved));
        drop(slots.break_off(Error::NoDevice));
        assert_eq!(woken.0.load(Relaxed), 1);
        let waker = woken.into();
        let polled = slots.poll_take(&mut Context::from_waker(&waker));
        let Poll::Ready(Err(Error::RingBroken { cause })) = polled else {
            panic!("{polled:?}");
        };
        assert!(matches!(*cause, Error::AlreadyCarved));
    }

    #[test]
    #[should_panic(expected = "65 bytes in a slot of 64")]
    fn more_than_a_slot_holds_panics() {
        let ((slots, _), woken) = (slots(1), Arc::default());
        drop(take(&slots, &woken).unwrap().fill(65));
    }

    #[test]
    #[should_panic(expected = "`4..9` of 8 bytes")]
    fn what_was_not_filled_is_not_sent() {
        let ((slots, _), woken) = (slots(1), Arc::default());
        let _ = take(&slots, &woken).unwrap().fill(8).full().part(&(4..9));
    }
}
