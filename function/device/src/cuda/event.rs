//! A point in the work of a stream.
#![expect(unsafe_code, reason = "the driver is a C library")]

use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use cudarc::driver::DriverError;
use cudarc::driver::result::event;
use cudarc::driver::sys::{CUevent, CUevent_flags, CUresult, cuEventCreate};

use super::context::Context;
use super::driver::check;
use crate::Error;

/// Reached when the stream that it was last [recorded](super::Stream::record) in has done what was issued before. One
/// that was never recorded counts as reached.
#[derive(Debug)]
pub struct Event {
    context: Arc<Context>,
    raw: CUevent,
}

// SAFETY: the driver's calls may come from any thread; the handle is a name that only the driver follows.
unsafe impl Send for Event {}
// SAFETY: as above.
unsafe impl Sync for Event {}

impl Event {
    /// Without a clock, which would make it slower.
    pub fn new(context: &Arc<Context>) -> Result<Self, Error> {
        Self::with(context, CUevent_flags::CU_EVENT_DISABLE_TIMING as u32)
    }

    /// The same, for a thread that does nothing but [wait](Self::wait): it sleeps meanwhile, where others spin.
    pub fn slept_for(context: &Arc<Context>) -> Result<Self, Error> {
        let without_clock = CUevent_flags::CU_EVENT_DISABLE_TIMING as u32;
        Self::with(context, without_clock | CUevent_flags::CU_EVENT_BLOCKING_SYNC as u32)
    }

    /// With a clock, to [measure](Self::since) what lies between two of them.
    pub fn timed(context: &Arc<Context>) -> Result<Self, Error> {
        Self::with(context, CUevent_flags::CU_EVENT_DEFAULT as u32)
    }

    /// What the device took from `earlier` to this: both are [`timed`](Self::timed) and were reached.
    pub fn since(&self, earlier: &Self) -> Result<Duration, Error> {
        self.context.bind()?;
        // SAFETY: both events were created by values that are borrowed.
        let ms = check("cuEventElapsedTime", unsafe { event::elapsed(earlier.raw, self.raw) })?;
        Ok(Duration::from_secs_f32(ms.max(0.0) / 1000.0))
    }

    /// Whether it is reached. Does not wait.
    pub fn is_reached(&self) -> Result<bool, Error> {
        self.context.bind()?;
        // SAFETY: the event was created by this value, which is borrowed.
        match unsafe { event::query(self.raw) } {
            Err(DriverError(CUresult::CUDA_ERROR_NOT_READY)) => Ok(false),
            answer => check("cuEventQuery", answer).map(|()| true),
        }
    }

    /// Blocks this thread until it is reached.
    pub fn wait(&self) -> Result<(), Error> {
        self.context.bind()?;
        // SAFETY: the event was created by this value, which is borrowed.
        check("cuEventSynchronize", unsafe { event::synchronize(self.raw) })
    }

    fn with(context: &Arc<Context>, flags: u32) -> Result<Self, Error> {
        context.bind()?;
        let mut raw = ptr::null_mut();
        // SAFETY: the driver writes one handle, into one.
        let created = unsafe { cuEventCreate(&raw mut raw, flags) };
        check("cuEventCreate", created.result())?;
        Ok(Self { context: Arc::clone(context), raw })
    }

    pub(super) fn raw(&self) -> CUevent {
        self.raw
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if self.context.bind().is_ok() {
            // SAFETY: the event was created by this value and is known to nobody else; the driver keeps what is still
            // under way.
            let destroyed = unsafe { event::destroy(self.raw) };
            // A device that was lost says no to everything; there is nobody left to tell.
            let _ = destroyed;
        }
    }
}
