//! The two streams of a device, as a load sees them.
#![expect(unsafe_code, reason = "the driver is a C library")]

use std::ptr::NonNull;
use std::sync::Arc;

use cudarc::driver::sys::{cuMemHostRegister_v2, cuMemHostUnregister, cuMemcpyHtoDAsync_v2};

use super::arena::{Arena, Region};
use super::context::Context;
use super::driver::check;
use super::event::Event;
use super::memory::Memory;
use super::port::{self, Port};
use super::stream::Stream;
use super::tensor::Tensor;
use crate::{DType, Error};

/// Copies on one stream, arithmetic on the other.
#[derive(Clone, Debug)]
pub struct Streams {
    copy: Arc<Stream>,
    compute: Arc<Stream>,
}

impl Streams {
    pub(super) fn new(copy: Arc<Stream>, compute: Arc<Stream>) -> Self {
        Self { copy, compute }
    }

    /// The device.
    #[must_use]
    pub fn context(&self) -> &Arc<Context> {
        self.copy.context()
    }

    fn recorded(&self, stream: &Stream) -> Result<Event, Error> {
        let event = Event::slept_for(self.context())?;
        stream.record(&event)?;
        Ok(event)
    }
}

impl Port for Streams {
    type Event = Event;
    type Registration = Registration;
    type Memory = Memory;
    type Tensor = Tensor;

    unsafe fn register(&self, start: NonNull<u8>, bytes: usize) -> Result<Registration, Error> {
        self.context().bind()?;
        // SAFETY: the caller's memory, which stays mapped.
        let registered = unsafe { cuMemHostRegister_v2(start.as_ptr().cast(), bytes, 0) };
        check("cuMemHostRegister", registered.result())?;
        Ok(Registration { context: Arc::clone(self.context()), start })
    }

    fn reserve(&self, bytes: u64) -> Result<Arc<Arena>, Error> {
        Arena::on(self.context(), bytes)
    }

    fn tensor(region: Region, dtype: DType, shape: Vec<usize>) -> Result<Tensor, Error> {
        Tensor::from_region(region, dtype, shape)
    }

    unsafe fn copy(&self, start: NonNull<u8>, region: &Region) -> Result<(), Error> {
        let bytes = usize::try_from(region.len()).expect("as much memory is registered");
        let (to, stream) = (region.address(), self.copy.bound()?);
        // SAFETY: the caller's memory, registered and left alone until the copy is done; the region is as long, and its
        // allocation lives as long.
        let issued = unsafe { cuMemcpyHtoDAsync_v2(to, start.as_ptr().cast(), bytes, stream) };
        check("cuMemcpyHtoDAsync", issued.result())
    }

    fn copied(&self) -> Result<Event, Error> {
        self.recorded(&self.copy)
    }

    fn follow(&self, event: &Event) -> Result<(), Error> {
        self.compute.wait(event)
    }

    fn computed(&self) -> Result<Event, Error> {
        self.recorded(&self.compute)
    }
}

impl port::Event for Event {
    fn wait(&self) -> Result<(), Error> {
        Self::wait(self)
    }
}

/// Memory of the host that the device reads by itself.
#[derive(Debug)]
pub struct Registration {
    context: Arc<Context>,
    start: NonNull<u8>,
}

// SAFETY: the address is a name that only the driver follows.
unsafe impl Send for Registration {}
// SAFETY: as above.
unsafe impl Sync for Registration {}

impl Drop for Registration {
    fn drop(&mut self) {
        if self.context.bind().is_ok() {
            // SAFETY: it was registered by this value, and is still mapped.
            let ended = unsafe { cuMemHostUnregister(self.start.as_ptr().cast()) };
            // A device that was lost says no to everything; there is nobody left to tell.
            let _ = ended;
        }
    }
}
