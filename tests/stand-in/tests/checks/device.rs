//! cudarc's lowest level, as short as the tests want it. Nothing is released: a test's memory is the test's.

use std::ffi::{CString, c_void};
use std::mem::size_of_val;
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cudarc::driver::{result, sys};
use firstlight_stand_in::{Schedule, StandIn, load};

pub(crate) type Address = sys::CUdeviceptr;
type Outcome<T = ()> = Result<T, result::DriverError>;

/// A fatbin by its first bytes; its kernels are those that were compiled in.
const FATBIN: [u8; 16] = [0x50, 0xed, 0x55, 0xba, 1, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// The stand-in for one test at a time: reports and counters are of the whole process.
pub(crate) struct Device {
    pub(crate) stand_in: &'static StandIn,
    module: sys::CUmodule,
    pub(crate) streams: [Stream; 2],
    _turn: MutexGuard<'static, ()>,
}

#[derive(Clone, Copy)]
pub(crate) struct Stream(pub(crate) sys::CUstream);

#[derive(Clone, Copy)]
pub(crate) struct Event(sys::CUevent);

/// Pinned memory of the host.
#[derive(Clone, Copy)]
pub(crate) struct Pinned {
    pub(crate) start: *mut f32,
    pub(crate) count: usize,
}

#[expect(clippy::unused_self, reason = "who calls the driver has a device, and with it the turn")]
impl Device {
    pub(crate) fn new(schedule: Schedule) -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let stand_in = load();
        stand_in.reset();
        stand_in.schedule(schedule);
        result::init().unwrap();
        let device = result::device::get(0).unwrap();
        // SAFETY: `device` was just given; the module's bytes are not read past the first four.
        let module = unsafe {
            result::ctx::set_current(result::primary_ctx::retain(device).unwrap()).unwrap();
            result::module::load_data(FATBIN.as_ptr().cast()).unwrap()
        };
        let stream =
            || Stream(result::stream::create(result::stream::StreamKind::NonBlocking).unwrap());
        Self { stand_in, module, streams: [stream(), stream()], _turn: turn }
    }

    pub(crate) fn allocate(&self, bytes: usize) -> Address {
        // SAFETY: an address is not followed by the host.
        unsafe { result::malloc_sync(bytes) }.unwrap()
    }

    pub(crate) fn free(&self, address: Address) -> Outcome {
        // SAFETY: an address is not followed by the host.
        unsafe { result::free_sync(address) }
    }

    /// On the device, and there when this returns.
    pub(crate) fn upload<T>(&self, values: &[T]) -> Address {
        let address = self.allocate(size_of_val(values));
        // SAFETY: the sizes are equal.
        unsafe { result::memcpy_htod_sync(address, values) }.unwrap();
        address
    }

    /// Behind all work of `stream`.
    pub(crate) fn download<T: Default + Clone>(
        &self,
        stream: Stream,
        from: Address,
        count: usize,
    ) -> Outcome<Vec<T>> {
        let mut values = vec![T::default(); count];
        // SAFETY: `values` is waited for before anybody looks at it.
        unsafe { result::memcpy_dtoh_async(&mut values, from, stream.0) }?;
        self.wait(stream)?;
        Ok(values)
    }

    pub(crate) fn pinned(&self, values: &[f32]) -> Pinned {
        // SAFETY: it is filled before anybody reads it.
        let start = unsafe { result::malloc_host(size_of_val(values), 0) }.unwrap().cast::<f32>();
        let pinned = Pinned { start, count: values.len() };
        pinned.fill(values);
        pinned
    }

    pub(crate) fn copy(&self, stream: Stream, to: Address, from: Pinned) -> Outcome {
        // SAFETY: it lives as long as the test.
        unsafe {
            let values = std::slice::from_raw_parts(from.start, from.count);
            result::memcpy_htod_async(to, values, stream.0)
        }
    }

    pub(crate) fn event(&self) -> Event {
        Event(result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING).unwrap())
    }

    pub(crate) fn record(&self, event: Event, stream: Stream) {
        // SAFETY: both live as long as the test.
        unsafe { result::event::record(event.0, stream.0) }.unwrap();
    }

    /// A new event, recorded.
    pub(crate) fn recorded(&self, stream: Stream) -> Event {
        let event = self.event();
        self.record(event, stream);
        event
    }

    pub(crate) fn wait_event(&self, stream: Stream, event: Event) {
        self.try_wait_event(stream, event).unwrap();
    }

    pub(crate) fn try_wait_event(&self, stream: Stream, event: Event) -> Outcome {
        let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: both live as long as the test.
        unsafe { result::stream::wait_event(stream.0, event.0, flags) }
    }

    pub(crate) fn synchronize(&self, event: Event) -> Outcome {
        // SAFETY: it lives as long as the test.
        unsafe { result::event::synchronize(event.0) }
    }

    pub(crate) fn is_reached(&self, event: Event) -> bool {
        // SAFETY: it lives as long as the test.
        unsafe { result::event::query(event.0) }.is_ok()
    }

    pub(crate) fn wait(&self, stream: Stream) -> Outcome {
        // SAFETY: it lives as long as the test.
        unsafe { result::stream::synchronize(stream.0) }
    }

    pub(crate) fn launch(
        &self,
        stream: Stream,
        kernel: &str,
        grid: u32,
        block: u32,
        arguments: Packed,
    ) -> Outcome {
        self.launch_with_shared(stream, kernel, grid, block, 0, arguments)
    }

    pub(crate) fn launch_with_shared(
        &self,
        stream: Stream,
        kernel: &str,
        grid: u32,
        block: u32,
        shared_bytes: u32,
        mut arguments: Packed,
    ) -> Outcome {
        let name = CString::new(kernel).unwrap();
        // SAFETY: the module lives.
        let function = unsafe { result::module::get_function(self.module, name) }.unwrap();
        let mut bytes = arguments.0.len();
        // CU_LAUNCH_PARAM_BUFFER_POINTER, CU_LAUNCH_PARAM_BUFFER_SIZE, CU_LAUNCH_PARAM_END
        let mut extra: [*mut c_void; 5] = [
            ptr::without_provenance_mut(1),
            arguments.0.as_mut_ptr().cast(),
            ptr::without_provenance_mut(2),
            (&raw mut bytes).cast(),
            ptr::null_mut(),
        ];
        // SAFETY: `extra` is as cuda.h has it.
        unsafe {
            sys::cuLaunchKernel(
                function,
                grid,
                1,
                1,
                block,
                1,
                1,
                shared_bytes,
                stream.0,
                ptr::null_mut(),
                extra.as_mut_ptr(),
            )
        }
        .result()
    }

    pub(crate) fn capture(&self, stream: Stream, body: impl FnOnce()) -> sys::CUgraphExec {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream lives.
        unsafe { result::stream::begin_capture(stream.0, mode) }.unwrap();
        body();
        let flags = sys::CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
        // SAFETY: the capture began above.
        unsafe {
            let graph = result::stream::end_capture(stream.0).unwrap();
            result::graph::instantiate(graph, flags).unwrap()
        }
    }

    pub(crate) fn replay(&self, graph: sys::CUgraphExec, stream: Stream) {
        // SAFETY: both live.
        unsafe { result::graph::launch(graph, stream.0) }.unwrap();
    }

    /// The one report that there is.
    pub(crate) fn report(&self) -> String {
        let reports = self.stand_in.take_reports();
        assert_eq!(reports.len(), 1, "{reports:#?}");
        reports.into_iter().next().unwrap()
    }

    pub(crate) fn assert_no_report(&self) {
        assert_eq!(self.stand_in.take_reports(), [""; 0]);
    }
}

impl Pinned {
    pub(crate) fn fill(self, values: &[f32]) {
        assert_eq!(values.len(), self.count);
        // SAFETY: there is room, and nobody has a reference to it.
        unsafe { ptr::copy_nonoverlapping(values.as_ptr(), self.start, values.len()) };
    }
}

/// Arguments in one buffer, each at a multiple of its size.
#[derive(Default)]
pub(crate) struct Packed(Vec<u8>);

impl Packed {
    pub(crate) fn pointer(self, address: Address) -> Self {
        self.push(&address.to_le_bytes())
    }

    pub(crate) fn number(self, number: u32) -> Self {
        self.push(&number.to_le_bytes())
    }

    pub(crate) fn float(self, number: f32) -> Self {
        self.push(&number.to_le_bytes())
    }

    fn push(mut self, bytes: &[u8]) -> Self {
        self.0.resize(self.0.len().next_multiple_of(bytes.len()), 0);
        self.0.extend(bytes);
        self
    }
}
