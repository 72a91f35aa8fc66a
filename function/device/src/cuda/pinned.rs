//! Memory of the host that the device reads and writes by itself.
#![expect(unsafe_code, reason = "memory that a device may touch is known by its address")]

use std::ptr::NonNull;
use std::sync::Arc;

use cudarc::driver::result;
use cudarc::driver::sys::{cuMemcpyDtoHAsync_v2, cuMemcpyHtoDAsync_v2};

use super::context::Context;
use super::driver::check;
use super::memory::Address;
use super::stream::Stream;
use crate::Error;

/// Pages that stay where they are, so that a copy from or to them is the device's own work and nobody waits for it.
///
/// There are no references into it, since the device may be reading or writing: bytes are copied in and out, by somebody
/// who knows that the device is elsewhere. Given back on drop; whoever issued copies has awaited them before.
#[derive(Debug)]
pub(super) struct Pinned {
    context: Arc<Context>,
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: it is plain memory, which any thread may use and give back.
unsafe impl Send for Pinned {}

impl Pinned {
    pub(super) fn new(context: &Arc<Context>, bytes: usize) -> Result<Self, Error> {
        context.bind()?;
        // SAFETY: the context is current; the memory is ours until it is given back.
        let start = check("cuMemHostAlloc", unsafe { result::malloc_host(bytes, 0) })?;
        let start = NonNull::new(start.cast()).expect("the driver said that there is memory");
        Ok(Self { context: Arc::clone(context), start, bytes })
    }

    /// Puts `bytes` at `offset`.
    pub(super) fn put(&mut self, offset: usize, bytes: &[u8]) {
        let to = self.at(offset, bytes.len());
        // SAFETY: the destination is within the allocation, which `at` asserts, and apart from `bytes`, since there are
        // no references into it.
        unsafe { to.copy_from_nonoverlapping(NonNull::from_ref(bytes).cast(), bytes.len()) };
    }

    /// Takes what is at the front, where the device has written as many bytes.
    pub(super) fn take(&self, into: &mut [u8]) {
        let (from, bytes) = (self.at(0, into.len()), into.len());
        // SAFETY: the source is within the allocation, which `at` asserts, was written, and is apart from `into`, since
        // there are no references into it.
        unsafe { from.copy_to_nonoverlapping(NonNull::from_mut(into).cast(), bytes) };
    }

    /// Issues a copy of `bytes` at `offset` to the device, where the caller has so much room.
    pub(super) fn send(
        &self,
        offset: usize,
        bytes: usize,
        to: Address,
        stream: &Stream,
    ) -> Result<(), Error> {
        let (from, stream) = (self.at(offset, bytes), stream.bound()?);
        // SAFETY: the source is within the allocation, which `at` asserts, and which lives until the copy was awaited;
        // the destination is the caller's.
        let issued = unsafe { cuMemcpyHtoDAsync_v2(to, from.as_ptr().cast(), bytes, stream) };
        check("cuMemcpyHtoDAsync", issued.result())
    }

    /// Issues a copy of so many `bytes` of the device to the front.
    pub(super) fn receive(
        &mut self,
        from: Address,
        bytes: usize,
        stream: &Stream,
    ) -> Result<(), Error> {
        let (to, stream) = (self.at(0, bytes), stream.bound()?);
        // SAFETY: the destination is within the allocation, which `at` asserts, and which lives until the copy was
        // awaited; the source is the caller's.
        let issued = unsafe { cuMemcpyDtoHAsync_v2(to.as_ptr().cast(), from, bytes, stream) };
        check("cuMemcpyDtoHAsync", issued.result())
    }

    /// The address of `bytes` at `offset`, all of them within the allocation.
    fn at(&self, offset: usize, bytes: usize) -> NonNull<u8> {
        assert!(
            offset <= self.bytes && bytes <= self.bytes - offset,
            "a part of the pinned memory"
        );
        // SAFETY: the offset is within the allocation, or one past it.
        unsafe { self.start.add(offset) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if self.context.bind().is_ok() {
            // SAFETY: it was allocated by this value; the copies from and to it were awaited.
            let freed = unsafe { result::free_host(self.start.as_ptr().cast()) };
            // A device that was lost says no to everything; there is nobody left to tell.
            let _ = freed;
        }
    }
}
