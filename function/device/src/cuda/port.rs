//! The side of a device that a load sees: memory, copies into it, and events between its two queues.
//!
//! Copies are carried out one after another, and so is arithmetic, but the two go on side by side; an event says how far
//! one of them is, to the other and to the host. What is written against these traits is tested without a driver.
#![expect(unsafe_code, reason = "a device reads memory by its address, later")]

use std::ptr::NonNull;
use std::sync::Arc;

use crate::arena::{Arena, Extent, Region};
use crate::{DType, Error};

/// A moment in one of the queues of a device.
pub trait Event: Send + Sync + 'static {
    /// Returns when it has happened. Keeps the thread, and nothing else, waiting.
    fn wait(&self) -> Result<(), Error>;
}

/// A device as a load sees it. Its functions may be called from any thread, and wait for nothing.
pub trait Port: Send + Sync + 'static {
    /// A moment in a queue.
    type Event: Event;
    /// Keeps memory registered; dropping it ends that.
    type Registration: Send + Sync + 'static;
    /// Memory of the device.
    type Memory: Extent + Send + Sync + 'static;
    /// A region of it with a type and a shape.
    type Tensor: Send + 'static;

    /// Reserves `bytes` of the device, for all weights.
    fn reserve(&self, bytes: u64) -> Result<Arc<Arena<Self::Memory>>, Error>;

    /// A region as a tensor, in place: whoever reads it [follows](Port::follow) the copies to it.
    fn tensor(
        region: Region<Self::Memory>,
        dtype: DType,
        shape: Vec<usize>,
    ) -> Result<Self::Tensor, Error>;

    /// Lets the device read `bytes` from `start` on by itself, which copies that do not wait need.
    ///
    /// # Safety
    /// The memory is the caller's, and stays mapped until the registration is dropped.
    unsafe fn register(
        &self,
        start: NonNull<u8>,
        bytes: usize,
    ) -> Result<Self::Registration, Error>;

    /// Puts a copy behind the copies before it: from `start` on, to the whole of `region`.
    ///
    /// # Safety
    /// As many bytes as the region has are registered memory, which is neither written nor unmapped before an event has
    /// happened that was [recorded](Port::copied) behind this copy; and the region's arena lives as long.
    unsafe fn copy(&self, start: NonNull<u8>, region: &Region<Self::Memory>) -> Result<(), Error>;

    /// The moment when all copies so far are done.
    fn copied(&self) -> Result<Self::Event, Error>;

    /// Lets the arithmetic that is queued from now on begin when `event` has happened. The host does not wait.
    fn follow(&self, event: &Self::Event) -> Result<(), Error>;

    /// The moment when all arithmetic so far is done.
    fn computed(&self) -> Result<Self::Event, Error>;
}
