//! The operations, and memory, streams and events, of a GPU.
//!
//! Everything is issued and nothing is awaited: an operation returns when the driver has taken it, and the device does
//! them in order, on the `compute` stream. What the host needs ([`Device::read`], [`Device::argmax`]) waits. Weights
//! come on a second stream, `copy`; where a tensor may still be under way, [`Cuda::wait_for`] has the device wait, not
//! the host. The default stream, which would order the two, is never used.
//!
//! # Layout
//!
//! - `driver`: whether there is one, and how it says no
//! - `context`: one device, initialised; `stream` and `event` order its work
//! - `memory`, `pinned`: allocations of the device, and of the host for the device; `staging` is the way of small things
//!   between the two
//! - `arena`, `tensor`: one allocation for all weights, and what lies in it

mod arena;
mod context;
mod driver;
mod event;
mod memory;
mod pinned;
mod staging;
mod stream;
mod tensor;

pub use self::arena::{ALIGN_BYTES, Arena, Region};
pub use self::context::{Capability, Context};
pub use self::driver::{Probe, Version};
pub use self::event::Event;
pub use self::memory::Memory;
pub use self::stream::Stream;
pub use self::tensor::Tensor;
use std::cell::RefCell;
use std::slice;
use std::sync::Arc;

use self::staging::Staging;
use crate::Error;

/// One GPU.
#[derive(Debug)]
pub struct Cuda {
    context: Arc<Context>,
    compute: Arc<Stream>,
    copy: Arc<Stream>,
    staging: RefCell<Staging>,
}

impl Cuda {
    /// Whether there is a driver, and what it shows. No device is initialised.
    pub fn probe() -> Result<Probe, Error> {
        Probe::new()
    }

    /// Initialises the device of that number.
    pub fn open(ordinal: usize) -> Result<Self, Error> {
        Self::new(Context::open(ordinal)?)
    }

    /// On a device that was initialised before.
    pub fn new(context: Arc<Context>) -> Result<Self, Error> {
        let compute = Arc::new(Stream::new(&context)?);
        let copy = Arc::new(Stream::new(&context)?);
        let staging = RefCell::new(Staging::new(&compute)?);
        Ok(Self { context, compute, copy, staging })
    }

    /// The device.
    #[must_use]
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// The stream of the operations.
    #[must_use]
    pub fn compute(&self) -> &Arc<Stream> {
        &self.compute
    }

    /// The stream of the weights.
    #[must_use]
    pub fn copy(&self) -> &Arc<Stream> {
        &self.copy
    }

    /// The operations that are issued from here on wait for `event`, on the device.
    pub fn wait_for(&self, event: &Event) -> Result<(), Error> {
        self.compute.wait(event)
    }

    /// Weights of the host, resident on the device, in an arena of their own: for the few that are not streamed.
    pub fn upload(&self, tensor: &crate::Tensor) -> Result<Tensor, Error> {
        let bytes = tensor.bytes();
        let arena = Arena::on(&self.context, bytes.len() as u64)?;
        let mut regions = arena.carve(slice::from_ref(&(0..arena.bytes())))?;
        let region = regions.pop().expect("one range is one region");
        self.staging.borrow_mut().send(bytes, region.address())?;
        Tensor::from_region(region, tensor.dtype(), tensor.shape().to_vec())
    }
}
