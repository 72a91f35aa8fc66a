//! Memory of the device.
#![expect(unsafe_code, reason = "the driver is a C library")]

use std::sync::Arc;

use cudarc::driver::sys::CUresult;
use cudarc::driver::{DriverError, result};

use super::context::Context;
use super::driver::check;
use super::stream::Stream;
use crate::Error;
use crate::arena::Extent;

/// Where something lies in the memory of a device. Nothing but the device follows it.
pub(super) type Address = u64;

/// One allocation, with whatever was in it before. Given back on drop, which waits for all work of the device: nothing
/// that is used for a short time has one of its own.
#[derive(Debug)]
pub struct Memory {
    context: Arc<Context>,
    start: Address,
    bytes: u64,
}

impl Memory {
    pub(super) fn new(
        context: &Arc<Context>,
        bytes: u64,
        purpose: &'static str,
    ) -> Result<Self, Error> {
        context.bind()?;
        let length = usize::try_from(bytes.max(1)).unwrap_or(usize::MAX);
        // SAFETY: the context is current; an allocation alone touches nothing.
        match unsafe { result::malloc_sync(length) } {
            Err(DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => {
                let free_bytes = context.free_bytes()?;
                Err(Error::OutOfDeviceMemory { purpose, needed_bytes: bytes, free_bytes })
            }
            answer => {
                let start = check("cuMemAlloc", answer)?;
                Ok(Self { context: Arc::clone(context), start, bytes })
            }
        }
    }

    pub(super) fn start(&self) -> Address {
        self.start
    }

    /// Fills it with zeros, behind what `stream` has to do.
    pub(super) fn zero(&self, stream: &Stream) -> Result<(), Error> {
        let length =
            usize::try_from(self.bytes).expect("what was allocated fits the address space");
        let stream = stream.bound()?;
        // SAFETY: so many bytes were allocated here, and live until the work that uses them is done: `drop` waits.
        let issued = unsafe { result::memset_d8_async(self.start, 0, length, stream) };
        check("cuMemsetD8Async", issued)
    }
}

/// Copies within the device, behind what `stream` has to do. The caller owns as many bytes in both places.
pub(super) fn copy(from: Address, to: Address, bytes: usize, stream: &Stream) -> Result<(), Error> {
    let stream = stream.bound()?;
    // SAFETY: both places are memory of the device, into which there are no references.
    check("cuMemcpyDtoDAsync", unsafe { result::memcpy_dtod_async(to, from, bytes, stream) })
}

impl Extent for Memory {
    fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.context.bind().is_ok() {
            // SAFETY: it was allocated by this value, and who knows its address borrowed or owned it; the driver waits
            // for the work that uses it.
            let freed = unsafe { result::free_sync(self.start) };
            // A device that was lost says no to everything; there is nobody left to tell.
            let _ = freed;
        }
    }
}
