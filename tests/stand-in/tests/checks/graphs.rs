//! Graphs: what was captured is done again with all checks, and what no driver captures is refused.

use cudarc::driver::result::{self, DriverError, graph, stream};
use cudarc::driver::sys::{self, cudaError_enum as Status};
use firstlight_stand_in::Schedule;

use crate::device::{Address, Device, Packed, Stream};

const MODE: sys::CUstreamCaptureMode =
    sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;

/// A sum, and what is added to it.
struct Sum {
    device: Device,
    stream: Stream,
    at: Address,
    by: Address,
}

impl Sum {
    fn new(schedule: Schedule) -> Self {
        let device = Device::new(schedule);
        let (sum, by) = (device.upload(&[0.0_f32; 64]), device.upload(&[1.0_f32; 64]));
        let [_, stream] = device.streams;
        Self { device, stream, at: sum, by }
    }

    fn add(&self) -> Result<(), DriverError> {
        let arguments = Packed::default().pointer(self.at).pointer(self.by).number(64);
        self.device.launch(self.stream, "plus", 1, 64, arguments)
    }

    fn begin(&self) {
        // SAFETY: the stream lives.
        unsafe { stream::begin_capture(self.stream.0, MODE) }.unwrap();
    }

    fn end(&self) -> Result<sys::CUgraph, DriverError> {
        // SAFETY: the stream lives.
        unsafe { stream::end_capture(self.stream.0) }
    }

    fn value(&self) -> f32 {
        let sums: Vec<f32> = self.device.download(self.stream, self.at, 64).unwrap();
        assert!(sums.iter().all(|&sum| sum.to_bits() == sums[0].to_bits()));
        sums[0]
    }
}

fn refused<T>(status: Status) -> Result<T, DriverError> {
    Err(DriverError(status))
}

#[test]
fn a_capture_does_nothing_and_the_journal_has_a_launch_as_one_line() {
    let sum = Sum::new(Schedule::Lazy);
    let graph = sum.device.capture(sum.stream, || [(); 3].iter().for_each(|()| sum.add().unwrap()));
    assert_eq!(sum.value().to_bits(), 0.0_f32.to_bits());
    sum.device.stand_in.reset();
    sum.device.replay(graph, sum.stream);
    sum.device.replay(graph, sum.stream);
    assert_eq!(sum.value().to_bits(), 6.0_f32.to_bits());
    let journal = sum.device.stand_in.journal();
    let enqueued: Vec<_> = journal.iter().filter(|line| line.starts_with("enqueue")).collect();
    assert!(enqueued[..2].iter().all(|line| line.ends_with(" graph of 3")), "{journal:?}");
    assert!(enqueued[2].ends_with("copy of 256 bytes from the device"), "{journal:?}");
    assert_eq!(journal.iter().filter(|line| line.ends_with("plus")).count(), 6);
    let counters = sum.device.stand_in.counters();
    assert_eq!((counters.graphs, counters.kernels), (2, 6));
    sum.device.assert_no_report();
}

#[test]
fn memory_that_ended_since_the_capture_is_reported() {
    let sum = Sum::new(Schedule::Lazy);
    let graph = sum.device.capture(sum.stream, || sum.add().unwrap());
    sum.device.free(sum.by).unwrap();
    sum.device.replay(graph, sum.stream);
    assert!(sum.device.wait(sum.stream).is_err());
    let report = sum.device.report();
    assert!(report.contains("`plus`") && report.contains("freed"), "{report}");
}

#[test]
fn a_launch_that_is_not_ordered_is_reported() {
    for schedule in [Schedule::Eager, Schedule::Lazy, Schedule::Random(1)] {
        let sum = Sum::new(schedule);
        let graph = sum.device.capture(sum.stream, || sum.add().unwrap());
        let [copying, computing] = sum.device.streams;
        let slot = sum.device.pinned(&[2.0; 64]);
        sum.device.copy(copying, sum.by, slot).unwrap();
        // Here the computing stream should wait for the copying one.
        // SAFETY: both live. A failure that came earlier is looked at later.
        let _ = unsafe { graph::launch(graph, computing.0) };
        let failed = [computing, copying].map(|stream| sum.device.wait(stream).is_err());
        assert!(failed.contains(&true));
        assert!(sum.device.report().contains("a race"));
    }
}

#[test]
fn arguments_of_another_size_are_refused_in_a_capture() {
    let sum = Sum::new(Schedule::Lazy);
    sum.begin();
    let launched = sum.device.launch(sum.stream, "plus", 1, 64, Packed::default().pointer(sum.at));
    assert!(launched.is_err());
    assert!(sum.device.report().contains("8 bytes of arguments; expected 20"));
    sum.end().unwrap();
}

/// A call that no capture survives, and what it answers.
type Forbidden = (fn(&Sum) -> Result<(), DriverError>, Status);

#[test]
fn what_waits_allocates_or_comes_from_outside_ends_a_capture() {
    let forbidden: [Forbidden; 8] = [
        (|sum| sum.device.wait(sum.stream), Status::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED),
        (
            |sum| sum.device.wait(sum.device.streams[0]),
            Status::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
        ),
        (
            // SAFETY: an address is not followed.
            |_| unsafe { result::malloc_sync(16) }.map(drop),
            Status::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
        ),
        (|sum| sum.device.free(sum.by), Status::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED),
        (
            // SAFETY: it is never used.
            |_| unsafe { result::malloc_host(16, 0) }.map(drop),
            Status::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
        ),
        (
            // SAFETY: an address is not followed, and nobody else looks at what is copied.
            |sum| unsafe { result::memcpy_htod_async(sum.by, &[3.0_f32; 64], sum.stream.0) },
            Status::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,
        ),
        (
            // SAFETY: an address is not followed.
            |sum| unsafe { result::memcpy_htod_sync(sum.by, &[3.0_f32; 64]) },
            Status::CUDA_ERROR_STREAM_CAPTURE_IMPLICIT,
        ),
        (
            |sum| sum.device.try_wait_event(sum.stream, sum.device.recorded(sum.device.streams[0])),
            Status::CUDA_ERROR_STREAM_CAPTURE_ISOLATION,
        ),
    ];
    for (call, status) in forbidden {
        let sum = Sum::new(Schedule::Lazy);
        sum.begin();
        sum.add().unwrap();
        assert_eq!(call(&sum), refused(status));
        assert_eq!(sum.add(), refused(Status::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED));
        assert_eq!(sum.end(), refused(Status::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED));
        sum.add().unwrap();
        assert_eq!(sum.value().to_bits(), 1.0_f32.to_bits());
        sum.device.assert_no_report();
    }
}

#[test]
fn other_threads_may_wait_and_allocate_meanwhile_but_not_end_the_capture() {
    let sum = Sum::new(Schedule::Lazy);
    let (copying, computing) = (Handle(sum.device.streams[0].0), Handle(sum.stream.0));
    sum.begin();
    sum.add().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let (copying, computing) = (copying, computing);
            let device = result::device::get(0).unwrap();
            // SAFETY: the handles live as long as the test.
            unsafe {
                result::ctx::set_current(result::primary_ctx::retain(device).unwrap()).unwrap();
                stream::synchronize(copying.0).unwrap();
                result::free_sync(result::malloc_sync(16).unwrap()).unwrap();
                let ended = stream::end_capture(computing.0);
                assert_eq!(ended, refused(Status::CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD));
            }
        });
    });
    assert!(sum.end().is_ok());
}

#[test]
fn events_of_a_capture_are_not_for_the_host() {
    let sum = Sum::new(Schedule::Lazy);
    sum.begin();
    let event = sum.device.recorded(sum.stream);
    assert_eq!(sum.device.synchronize(event), refused(Status::CUDA_ERROR_CAPTURED_EVENT));
    assert_eq!(sum.end(), refused(Status::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED));
    let waited = sum.device.try_wait_event(sum.device.streams[0], event);
    assert_eq!(waited, refused(Status::CUDA_ERROR_CAPTURED_EVENT));
}

#[test]
fn a_stream_that_was_drawn_in_has_to_come_back() {
    let sum = Sum::new(Schedule::Lazy);
    sum.begin();
    sum.device.wait_event(sum.device.streams[0], sum.device.recorded(sum.stream));
    assert_eq!(sum.end(), refused(Status::CUDA_ERROR_STREAM_CAPTURE_UNJOINED));
    assert_eq!(sum.device.wait(sum.device.streams[0]), Ok(()), "it is captured no more");
}

#[test]
fn graphs_are_counted_until_they_are_destroyed_once() {
    let sum = Sum::new(Schedule::Lazy);
    let before = sum.device.stand_in.live_graphs();
    let executable = sum.device.capture(sum.stream, || sum.add().unwrap());
    assert_eq!(sum.device.stand_in.live_graphs(), before + 2, "the graph and its executable");
    // SAFETY: it is not used again, but to see that it is refused.
    unsafe {
        assert_eq!(graph::exec_destroy(executable), Ok(()));
        assert_eq!(graph::exec_destroy(executable), refused(Status::CUDA_ERROR_INVALID_VALUE));
        let launched = graph::launch(executable, sum.stream.0);
        assert_eq!(launched, refused(Status::CUDA_ERROR_INVALID_VALUE));
    }
    assert_eq!(sum.device.stand_in.live_graphs(), before + 1);
}

/// A stream's name, for another thread.
#[derive(Clone, Copy)]
struct Handle(sys::CUstream);

// SAFETY: the driver's calls may come from any thread; the handle is a name that only the driver follows.
unsafe impl Send for Handle {}
