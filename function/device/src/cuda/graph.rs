//! Work that the driver has put together, so that one call launches all of it.
#![expect(unsafe_code, reason = "the driver is a C library")]

use std::ptr;
use std::sync::Arc;

use cudarc::driver::result::{graph, stream};
use cudarc::driver::sys::{self, CUgraph, CUgraphExec, CUstreamCaptureMode};

use super::context::Context;
use super::driver::check;
use super::stream::Stream;
use crate::Error;

/// Captured once, launched any number of times. The memory that is in its work is that of the capture.
#[derive(Debug)]
pub(super) struct Graph {
    context: Arc<Context>,
    raw: CUgraphExec,
}

// SAFETY: the driver's calls may come from any thread; the handle is a name that only the driver follows.
unsafe impl Send for Graph {}

impl Graph {
    /// Of what `issue` issues on `stream`, of which nothing is done now. Other threads may do meanwhile what they like,
    /// but on other streams.
    pub(super) fn capture(
        stream: &Stream,
        issue: impl FnOnce() -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let raw = stream.bound()?;
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream was created by a value that is borrowed.
        check("cuStreamBeginCapture", unsafe { stream::begin_capture(raw, mode) })?;
        let issued = issue();
        // SAFETY: as above. The capture is ended whatever became of it.
        let captured = check("cuStreamEndCapture", unsafe { stream::end_capture(raw) });
        let captured = captured.map(Captured);
        issued?;
        Ok(Self { context: Arc::clone(stream.context()), raw: captured?.instantiate()? })
    }

    /// Issues all of it, behind what `stream` has to do.
    pub(super) fn launch(&self, stream: &Stream) -> Result<(), Error> {
        let stream = stream.bound()?;
        // SAFETY: the graph was instantiated by this value, which is borrowed.
        check("cuGraphLaunch", unsafe { graph::launch(self.raw, stream) })
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        if self.context.bind().is_ok() {
            // SAFETY: the graph was instantiated by this value and is known to nobody else; the driver keeps what is
            // still under way.
            let destroyed = unsafe { graph::exec_destroy(self.raw) };
            // A device that was lost says no to everything; there is nobody left to tell.
            let _ = destroyed;
        }
    }
}

/// What a capture has led to, before it can be launched.
struct Captured(CUgraph);

impl Captured {
    fn instantiate(&self) -> Result<CUgraphExec, Error> {
        let mut raw = ptr::null_mut();
        // SAFETY: the driver writes one handle, into one; the graph is this value's.
        let instantiated = unsafe { sys::cuGraphInstantiateWithFlags(&raw mut raw, self.0, 0) };
        check("cuGraphInstantiate", instantiated.result())?;
        Ok(raw)
    }
}

impl Drop for Captured {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: the driver gave the graph to this value alone; what was instantiated of it lives on.
            let destroyed = unsafe { graph::destroy(self.0) };
            // There is nobody to tell, and nothing to be done.
            let _ = destroyed;
        }
    }
}
