//! Work that a device does in the order in which it is issued, beside other streams.
#![expect(unsafe_code, reason = "the driver is a C library")]

use std::sync::Arc;

use cudarc::driver::result::stream::{self, StreamKind};
use cudarc::driver::sys::{CUevent_wait_flags, CUstream};

use super::context::Context;
use super::driver::check;
use super::event::Event;
use crate::Error;

/// A stream of its own, which neither waits for the default stream nor is waited for by it.
#[derive(Debug)]
pub struct Stream {
    context: Arc<Context>,
    raw: CUstream,
}

// SAFETY: the driver's calls may come from any thread; the handle is a name that only the driver follows.
unsafe impl Send for Stream {}
// SAFETY: as above.
unsafe impl Sync for Stream {}

impl Stream {
    /// An idle one.
    pub fn new(context: &Arc<Context>) -> Result<Self, Error> {
        context.bind()?;
        let raw = check("cuStreamCreate", stream::create(StreamKind::NonBlocking))?;
        Ok(Self { context: Arc::clone(context), raw })
    }

    /// Where it runs.
    #[must_use]
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// `event` is reached when what was issued so far is done.
    pub fn record(&self, event: &Event) -> Result<(), Error> {
        let raw = self.bound()?;
        // SAFETY: both handles were created by values that are borrowed.
        check("cuEventRecord", unsafe { cudarc::driver::result::event::record(event.raw(), raw) })
    }

    /// What is issued from here on waits for `event`, on the device; this thread does not.
    pub fn wait(&self, event: &Event) -> Result<(), Error> {
        let (raw, flags) = (self.bound()?, CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT);
        // SAFETY: both handles were created by values that are borrowed.
        check("cuStreamWaitEvent", unsafe { stream::wait_event(raw, event.raw(), flags) })
    }

    /// Blocks this thread until all that was issued is done.
    pub fn synchronize(&self) -> Result<(), Error> {
        let raw = self.bound()?;
        // SAFETY: the stream was created by this value, which is borrowed.
        check("cuStreamSynchronize", unsafe { stream::synchronize(raw) })
    }

    /// The handle, with its context current in this thread.
    pub(super) fn bound(&self) -> Result<CUstream, Error> {
        self.context.bind()?;
        Ok(self.raw)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.context.bind().is_ok() {
            // SAFETY: the stream was created by this value and is known to nobody else; the driver finishes what was
            // issued.
            let destroyed = unsafe { stream::destroy(self.raw) };
            // A device that was lost says no to everything; there is nobody left to tell.
            let _ = destroyed;
        }
    }
}
