//! The ring on a device that is this machine's memory, and as late as it may be: nothing is copied before its event is
//! waited for.

use std::collections::VecDeque;
use std::pin::pin;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Sender, channel};
use std::task::{Context, Poll, Wake};
use std::thread::Thread;
use std::time::Duration;

use super::*;
use crate::cuda::port::Event;
use crate::{Arena, DType, Region, Tensor};

/// A copy that was asked for: from, to, bytes.
type Copy = (usize, usize, usize);

#[derive(Default)]
struct Late {
    queued: Arc<Mutex<VecDeque<Copy>>>,
    /// Since the last event.
    asked: AtomicUsize,
    /// Nothing happens before it is set.
    runs: Arc<AtomicBool>,
    fails: Arc<AtomicBool>,
    registered: Arc<AtomicBool>,
}

struct Moment {
    queued: Arc<Mutex<VecDeque<Copy>>>,
    /// Since the event before.
    copies: usize,
    runs: Arc<AtomicBool>,
    fails: Arc<AtomicBool>,
}

impl Event for Moment {
    fn wait(&self) -> Result<(), Error> {
        while !self.runs.load(Relaxed) {
            thread::sleep(Duration::from_millis(1));
        }
        if self.fails.load(Relaxed) {
            return Err(Error::AlreadyCarved);
        }
        for (from, to, bytes) in self.queued.lock().unwrap().drain(..self.copies) {
            // SAFETY: the ring keeps both sides until this event has happened: that is what is tested.
            unsafe {
                std::ptr::copy_nonoverlapping(
                    std::ptr::with_exposed_provenance::<u8>(from),
                    std::ptr::with_exposed_provenance_mut(to),
                    bytes,
                );
            }
        }
        Ok(())
    }
}

struct Registered(Arc<AtomicBool>);

impl Drop for Registered {
    fn drop(&mut self) {
        self.0.store(false, Relaxed);
    }
}

impl Port for Late {
    type Event = Moment;
    type Registration = Registered;
    type Memory = Mapping;
    type Tensor = Tensor;

    unsafe fn register(&self, _: NonNull<u8>, _: usize) -> Result<Registered, Error> {
        self.registered.store(true, Relaxed);
        Ok(Registered(Arc::clone(&self.registered)))
    }

    fn reserve(&self, bytes: u64) -> Result<Arc<Arena>, Error> {
        Arena::new(bytes)
    }

    fn tensor(region: Region, dtype: DType, shape: Vec<usize>) -> Result<Tensor, Error> {
        Tensor::from_region(region, dtype, shape)
    }

    unsafe fn copy(&self, start: NonNull<u8>, region: &Region) -> Result<(), Error> {
        let (from, to) = (start.as_ptr(), region.as_ref().as_ptr());
        let copy = (from.expose_provenance(), to.expose_provenance(), region.as_ref().len());
        self.queued.lock().unwrap().push_back(copy);
        self.asked.fetch_add(1, Relaxed);
        Ok(())
    }

    fn copied(&self) -> Result<Moment, Error> {
        let (queued, runs) = (Arc::clone(&self.queued), Arc::clone(&self.runs));
        let copies = self.asked.swap(0, Relaxed);
        Ok(Moment { queued, copies, runs, fails: Arc::clone(&self.fails) })
    }

    fn follow(&self, _: &Moment) -> Result<(), Error> {
        Ok(())
    }

    fn computed(&self) -> Result<Moment, Error> {
        self.copied()
    }
}

const SLOT_BYTES: usize = 4096;

fn ring(slots: usize) -> Ring<Late> {
    let memory = RingMemory::touched(slots * SLOT_BYTES + 7).unwrap();
    Ring::new(Arc::new(Late::default()), memory, SLOT_BYTES).unwrap()
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits for a slot in this thread.
fn take(ring: &Ring<Late>) -> Result<Slot<Free>, Error> {
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut taking = pin!(ring.take());
    loop {
        match taking.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(slot) => return slot,
            Poll::Pending => thread::park(),
        }
    }
}

fn is_free(ring: &Ring<Late>) -> bool {
    let mut context = Context::from_waker(std::task::Waker::noop());
    pin!(ring.take()).poll(&mut context).is_ready()
}

fn full(ring: &Ring<Late>, value: u8) -> Slot<Full> {
    let mut slot = take(ring).unwrap().fill(SLOT_BYTES);
    slot.memory().fill(value);
    slot.full()
}

fn send(ring: &Ring<Late>, slot: Slot<Full>, to: &Region, told: &Sender<Result<(), Error>>) {
    let told = told.clone();
    let parts = [(0..SLOT_BYTES, to)];
    ring.send(slot, &parts, move |result| told.send(result).unwrap()).unwrap();
}

/// A region as large as a slot.
fn region(ring: &Ring<Late>) -> Region {
    let arena = ring.port().reserve(SLOT_BYTES as u64).unwrap();
    let mut regions = arena.carve(&[Range { start: 0, end: SLOT_BYTES as u64 }]).unwrap();
    regions.remove(0)
}

#[test]
fn many_slots_pass_through_a_ring_of_two_and_each_part_arrives_where_it_belongs() {
    let ring = ring(2);
    assert_eq!((ring.slots(), ring.slot_bytes()), (2, SLOT_BYTES));
    ring.port().runs.store(true, Relaxed);
    let arena = ring.port().reserve(40 * SLOT_BYTES as u64).unwrap();
    let half = SLOT_BYTES as u64 / 2;
    let ranges: Vec<_> = (0..80).map(|n| n * half..(n + 1) * half).collect();
    let regions = arena.carve(&ranges).unwrap();
    for (pair, value) in regions.chunks(2).zip(1..) {
        // The halves change places.
        let (first, second) = (0..SLOT_BYTES / 2, SLOT_BYTES / 2..SLOT_BYTES);
        let mut slot = take(&ring).unwrap().fill(SLOT_BYTES);
        slot.memory()[first.clone()].fill(value);
        slot.memory()[second.clone()].fill(value + 100);
        ring.send(slot.full(), &[(second, &pair[0]), (first, &pair[1])], drop).unwrap();
    }
    drop(ring); // waits for all of them
    for (pair, value) in regions.chunks(2).zip(1..) {
        assert!(pair[0].as_ref().iter().all(|byte| *byte == value + 100));
        assert!(pair[1].as_ref().iter().all(|byte| *byte == value));
    }
}

#[test]
fn a_slot_is_not_free_before_the_device_has_read_it() {
    let ring = ring(1);
    let region = region(&ring);
    let (told, tells) = channel();
    send(&ring, full(&ring, 1), &region, &told);
    assert!(!is_free(&ring), "the copy is queued");
    assert!(tells.try_recv().is_err());
    ring.port().runs.store(true, Relaxed);
    let slot = take(&ring).unwrap();
    assert!(tells.recv().unwrap().is_ok());
    assert!(region.as_ref().iter().all(|byte| *byte == 1));
    drop(slot);
    assert!(is_free(&ring), "a slot that was taken and not used");
}

#[test]
fn a_copy_that_fails_is_told_and_breaks_the_ring() {
    let ring = ring(1);
    let registered = Arc::clone(&ring.port().registered);
    let region = region(&ring);
    ring.port().fails.store(true, Relaxed);
    ring.port().runs.store(true, Relaxed);
    let (told, tells) = channel();
    send(&ring, full(&ring, 1), &region, &told);
    for result in [tells.recv().unwrap(), take(&ring).map(drop)] {
        let Err(Error::RingBroken { cause }) = result else { panic!("{result:?}") };
        assert!(matches!(*cause, Error::AlreadyCarved));
    }
    drop(ring);
    assert!(registered.load(Relaxed), "the device may still read the slot");
}

#[test]
fn the_ring_ends_when_its_copies_have() {
    let ring = ring(2);
    let registered = Arc::clone(&ring.port().registered);
    let region = region(&ring);
    let (told, tells) = channel();
    send(&ring, full(&ring, 9), &region, &told);
    ring.port().runs.store(true, Relaxed);
    drop(ring);
    assert!(tells.try_recv().unwrap().is_ok());
    assert!(!registered.load(Relaxed));
    assert!(region.as_ref().iter().all(|byte| *byte == 9));
}

#[test]
fn memory_is_touched_in_parts_that_cover_it_once() {
    for bytes in [1, HUGE_PAGE_BYTES, 9 * HUGE_PAGE_BYTES + 1, 256 << 20] {
        let parts: Vec<_> = parts(bytes).collect();
        assert!(parts.len() <= TOUCHING_THREADS);
        assert_eq!((parts[0].start, parts[parts.len() - 1].end), (0, bytes));
        assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start));
    }
}
