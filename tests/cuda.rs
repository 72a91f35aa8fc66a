//! Weights stream through pinned slots to a GPU while it computes: on the stand-in for libcuda, which sees every race,
//! however its streams are scheduled. And the negative: a slot that is freed early and a wait that is left out are seen.
#![expect(clippy::unwrap_used, reason = "tests")]
#![expect(unsafe_code, reason = "a device's side is wrapped, whose functions are unsafe to call")]

mod support;

use std::error::Error as StdError;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use firstlight_bucket::{Bucket, Objects};
use firstlight_device::arena::{Arena, Region};
use firstlight_device::cuda::port::{Event, Port};
use firstlight_device::cuda::{self, ALIGN_BYTES, Cuda, Ring, RingMemory, Streams};
use firstlight_device::{Cpu, DType, Error as DeviceError};
use firstlight_load::{Layers, SUPPORTED};
use firstlight_model::{Decoder, Sequence, Spec, StageOrder};
use firstlight_plan::Limits as PlanLimits;
use firstlight_stand_in::{Checks, Schedule, StandIn};
use firstlight_store::Store;
use firstlight_store::folder::Folder;
use firstlight_timeline::{Lane, Mark, SpanReport, Timeline};
use support::demo_model;
use support::engine::{Load, Planned, folder, group, load, planned, settings};
use support::gated::Gated;
use support::process::{Finished, Firstlight};
use tokio::sync::{Mutex, MutexGuard, Semaphore};

const FIRST: StageOrder = StageOrder::EmbeddingFirst;
const IDS: [u32; 5] = [0, 1008, 1108, 260, 535];
/// The demo model has 4 MB: each slot is used a dozen times.
const SLOT_BYTES: usize = 64 << 10;
const SLOTS: usize = 4;
/// Of a file; those that the ends of a range lie in fit its slot as well.
const BLOCK_BYTES: usize = 4096;
const SCHEDULES: [Schedule; 5] = [
    Schedule::Lazy,
    Schedule::Eager,
    Schedule::Random(1),
    Schedule::Random(2),
    Schedule::Random(3),
];

/// The stand-in, as at its start. One test at a time.
async fn stand_in(schedule: Schedule) -> (MutexGuard<'static, ()>, &'static StandIn) {
    static ONE: Mutex<()> = Mutex::const_new(());
    let one = ONE.lock().await;
    let stand_in = firstlight_stand_in::load();
    stand_in.reset();
    stand_in.schedule(schedule);
    (one, stand_in)
}

fn demo_model() -> Folder {
    folder(&demo_model::demo_model())
}

/// The real device's side, or what a mistake would make of it.
struct Side<const FOLLOWS: bool, const WAITS: bool>(Streams);

type Right = Side<true, true>;

/// A moment of the real device; without `WAITS` nobody waits for it.
struct Moment<const WAITS: bool>(cuda::Event);

impl<const WAITS: bool> Event for Moment<WAITS> {
    fn wait(&self) -> Result<(), DeviceError> {
        if WAITS { self.0.wait() } else { Ok(()) }
    }
}

impl<const FOLLOWS: bool, const WAITS: bool> Port for Side<FOLLOWS, WAITS> {
    type Event = Moment<WAITS>;
    type Registration = <Streams as Port>::Registration;
    type Memory = cuda::Memory;
    type Tensor = cuda::Tensor;

    unsafe fn register(
        &self,
        start: NonNull<u8>,
        bytes: usize,
    ) -> Result<Self::Registration, DeviceError> {
        // SAFETY: as the caller says.
        unsafe { self.0.register(start, bytes) }
    }

    fn reserve(&self, bytes: u64) -> Result<Arc<Arena<cuda::Memory>>, DeviceError> {
        self.0.reserve(bytes)
    }

    fn tensor(
        region: Region<cuda::Memory>,
        dtype: DType,
        shape: Vec<usize>,
    ) -> Result<cuda::Tensor, DeviceError> {
        Streams::tensor(region, dtype, shape)
    }

    unsafe fn copy(
        &self,
        start: NonNull<u8>,
        region: &Region<cuda::Memory>,
    ) -> Result<(), DeviceError> {
        // SAFETY: as the caller says; where slots are freed early it is not so, which is what the stand-in is to see.
        unsafe { self.0.copy(start, region) }
    }

    fn copied(&self) -> Result<Moment<WAITS>, DeviceError> {
        self.0.copied().map(Moment)
    }

    fn follow(&self, event: &Moment<WAITS>) -> Result<(), DeviceError> {
        if FOLLOWS { self.0.follow(&event.0) } else { Ok(()) }
    }

    fn computed(&self) -> Result<Moment<WAITS>, DeviceError> {
        self.0.computed().map(Moment)
    }
}

/// A GPU and the ring that leads to it.
struct Gpu<P: Port> {
    device: Cuda,
    ring: Arc<Ring<P>>,
}

impl<const FOLLOWS: bool, const WAITS: bool> Gpu<Side<FOLLOWS, WAITS>> {
    fn open() -> Self {
        let device = Cuda::open(firstlight_stand_in::device()).unwrap();
        let memory = RingMemory::touched(SLOTS * SLOT_BYTES).unwrap();
        let side = Arc::new(Side(device.streams()));
        let ring = Arc::new(Ring::new(side, memory, SLOT_BYTES).unwrap());
        Self { device, ring }
    }

    async fn planned(&self, store: impl Store) -> Planned {
        let limits = PlanLimits {
            range_bytes: (SLOT_BYTES - 2 * BLOCK_BYTES) as u64,
            align_bytes: ALIGN_BYTES,
            ..PlanLimits::new(SUPPORTED)
        };
        planned(store, FIRST, &limits).await
    }

    /// The logits of all of [`IDS`], and how it went.
    async fn logits(self, store: impl Store) -> (Result<Vec<f32>, Box<dyn StdError>>, Timeline) {
        let Planned { reader, checkpoint, spec, plan, timeline } = self.planned(store).await;
        let layers = Layers::through(&self.ring, &reader, &checkpoint, plan, &timeline).unwrap();
        (self.forward(spec, layers).await, timeline)
    }

    /// The device alone: the ring is the load's, if there is one.
    fn into_device(self) -> Cuda {
        self.device
    }

    /// The logits of all of [`IDS`].
    async fn forward(
        self,
        spec: Spec,
        layers: Layers<cuda::Tensor>,
    ) -> Result<Vec<f32>, Box<dyn StdError>> {
        let device = self.into_device();
        let forward = tokio::task::spawn_blocking(move || {
            let computing = layers.computing();
            let mut waits = Vec::new();
            let groups = layers.map(group).inspect(|_| waits.push(waits_so_far()));
            let mut decoder = Decoder::new(device, spec, settings(FIRST, 64), groups).unwrap();
            let logits = Sequence::alone(1).forward_all(&mut decoder, &IDS);
            computing.end();
            drop(decoder);
            // A load that fails gives back what it holds at once, and may wait for that.
            assert!(logits.is_err() || waits.iter().all(|&waits| waits == [0, 0]), "{waits:?}");
            logits
        });
        Ok(tokio::time::timeout(Duration::from_mins(2), forward).await.unwrap().unwrap()?)
    }
}

/// How often something has waited for a stream, and for all of them: never, until all layers have been handed over.
fn waits_so_far() -> [u64; 2] {
    let counters = firstlight_stand_in::load().counters();
    [counters.stream_synchronizes, counters.device_synchronizes]
}

/// What the CPU makes of the same bytes.
async fn expected() -> Vec<f32> {
    let Load { spec, layers, .. } = load(demo_model(), FIRST).await;
    let forward = tokio::task::spawn_blocking(move || {
        let groups = layers.map(group);
        let mut decoder = Decoder::new(Cpu::new(), spec, settings(FIRST, 64), groups).unwrap();
        Sequence::alone(1).forward_all(&mut decoder, &IDS).unwrap()
    });
    forward.await.unwrap()
}

/// Within 2 % of the largest: products round their rows to the 16 bits of the weights.
fn assert_near(logits: &[f32], expected: &[f32], what: &dyn std::fmt::Display) {
    let largest = expected.iter().fold(0.0_f32, |largest, logit| largest.max(logit.abs()));
    assert_eq!(logits.len(), expected.len());
    let is_near = |(a, b): &(&f32, &f32)| (**a - **b).abs() <= 0.02 * largest;
    let far = logits.iter().zip(expected).find(|pair| !is_near(pair));
    assert_eq!(far, None, "{what}: the largest is {largest}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_beside_the_arithmetic_is_free_of_races_however_streams_are_scheduled() {
    let expected = expected().await;
    for schedule in SCHEDULES {
        let (_one, stand_in) = stand_in(schedule).await;
        let (logits, _) = Gpu::<Right>::open().logits(demo_model()).await;
        let counters = stand_in.counters();
        assert_eq!(stand_in.take_reports(), [""; 0], "{schedule}");
        assert_near(&logits.unwrap(), &expected, &schedule);
        assert_eq!(counters.pageable_copies, 0, "{schedule}");
        assert_eq!(counters.default_stream_work, 0, "{schedule}");
    }
}

/// Whether they come by the page cache or past it is up to the file system, and to how much the kernel reads ahead.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_the_page_cache_lacks_brings_the_same_weights() {
    use rustix::fs::{Advice, fadvise};

    let expected = expected().await;
    let (_one, stand_in) = stand_in(Schedule::Lazy).await;
    let copy = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let model = demo_model::demo_model();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(model.join(name), copy.path().join(name)).unwrap();
    }
    let file = std::fs::File::open(copy.path().join("model.safetensors")).unwrap();
    file.sync_all().unwrap();
    fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    let (logits, _) = Gpu::<Right>::open().logits(folder(copy.path())).await;
    assert_eq!(stand_in.take_reports(), [""; 0]);
    assert_near(&logits.unwrap(), &expected, &"past the page cache");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_that_is_left_out_is_seen() {
    let (_one, stand_in) = stand_in(Schedule::Lazy).await;
    drop(Gpu::<Side<false, true>>::open().logits(demo_model()).await);
    let reports = stand_in.take_reports();
    // Whether the copy has run when the kernel reads is up to the threads of this process.
    let complaints = ["nobody has written it", "no event or synchronisation orders the two"];
    let seen = |report: &String| complaints.iter().any(|complaint| report.contains(complaint));
    assert!(reports.iter().any(seen), "{reports:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_is_freed_early_is_seen() {
    let (_one, stand_in) = stand_in(Schedule::Lazy).await;
    drop(Gpu::<Side<true, false>>::open().logits(demo_model()).await);
    let reports = stand_in.take_reports();
    let seen = |report: &String| report.contains("host buffer") && report.contains("was written");
    assert!(reports.iter().any(seen), "{reports:#?}");
}

/// Proved by order, not by a clock: the last range is held back until the device has done the arithmetic of a layer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_is_computed_before_the_last_copy_is_enqueued() {
    for schedule in SCHEDULES {
        let (_one, stand_in) = stand_in(schedule).await;
        let gate = Arc::new(Semaphore::new(0));
        let store = Gated::new(demo_model(), Arc::clone(&gate)).await;
        let gpu = Gpu::<Right>::open();
        let Planned { reader, checkpoint, spec, plan, timeline } = gpu.planned(store).await;
        let clock = timeline.clone();
        tokio::spawn(async move {
            while clock.marked(Mark::FirstLayerComputed).is_none() || computed(&clock).is_none() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            gate.add_permits(1);
        });
        let layers = Layers::through(&gpu.ring, &reader, &checkpoint, plan, &timeline).unwrap();
        gpu.forward(spec, layers).await.unwrap();
        assert_eq!(stand_in.take_reports(), [""; 0], "{schedule}");
        let report = timeline.report();
        let copies = report.spans.iter().filter(|span| span.lane == Lane::Copy);
        let last_ms = copies.map(|span| span.from_ms).fold(0.0, f64::max);
        let computed_ms = computed(&timeline).unwrap();
        assert!(computed_ms <= last_ms, "{schedule}: {computed_ms} ms, {last_ms} ms");
        assert!(timeline.marked(Mark::LastLayerResident).is_some());
    }
}

/// When the device had done the arithmetic of the first layer.
fn computed(timeline: &Timeline) -> Option<f64> {
    let is_first = |span: &&SpanReport| span.lane == Lane::Compute && span.label == "layer 0";
    timeline.report().spans.iter().find(is_first).map(|span| span.to_ms)
}

/// The pinned memory is as large as many a model's weights: it is not kept for the life of the decoder. And it is not
/// given back in the middle of the first pass, since that may wait for the device.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ring_is_given_back_between_the_first_pass_and_the_second() {
    const GIVEN_BACK: &str = "host cuMemHostUnregister";
    for schedule in SCHEDULES {
        let (_one, stand_in) = stand_in(schedule).await;
        let gpu = Gpu::<Right>::open();
        let Planned { reader, checkpoint, spec, plan, timeline } = gpu.planned(demo_model()).await;
        let layers = Layers::through(&gpu.ring, &reader, &checkpoint, plan, &timeline).unwrap();
        let device = gpu.into_device();
        let is_given_back = || stand_in.journal().iter().any(|line| line == GIVEN_BACK);
        let steps = tokio::task::spawn_blocking(move || {
            let computing = layers.computing();
            let groups = layers.map(group).inspect(|_| assert_eq!(waits_so_far(), [0, 0]));
            let mut decoder = Decoder::new(device, spec, settings(FIRST, 64), groups).unwrap();
            let mut sequence = Sequence::alone(1);
            sequence.forward(&mut decoder, &IDS).unwrap();
            assert!(!is_given_back(), "{schedule}");
            computing.end();
            assert!((0..10_000).any(|_| {
                std::thread::sleep(Duration::from_millis(1));
                is_given_back()
            }));
            sequence.forward(&mut decoder, &IDS[..1]).unwrap();
        });
        steps.await.unwrap();
        assert_eq!(stand_in.take_reports(), [""; 0], "{schedule}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_fails_ends_the_load_and_frees_what_it_held() {
    const LAUNCH_FAILED: u32 = 719;
    for nth in [1, 7, 40] {
        let (_one, stand_in) = stand_in(Schedule::Lazy).await;
        let gpu = Gpu::<Right>::open();
        // Of the two calls that may fail: the copy, and the record of the event behind it.
        for call in ["cuMemcpyHtoDAsync_v2", "cuEventRecord"] {
            stand_in.fail(call, nth, LAUNCH_FAILED);
        }
        let (logits, _) = gpu.logits(demo_model()).await;
        let error = logits.unwrap_err();
        let text = with_sources(&*error);
        assert!(text.contains("cuMemcpyHtoDAsync") || text.contains("cuEventRecord"), "{text}");
        assert_eq!(stand_in.take_reports(), [""; 0]);
        assert_freed(stand_in).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_that_is_dropped_frees_what_it_held() {
    for schedule in SCHEDULES {
        let (_one, stand_in) = stand_in(schedule).await;
        let gpu = Gpu::<Right>::open();
        let Planned { reader, checkpoint, plan, timeline, .. } = gpu.planned(demo_model()).await;
        let mut layers = Layers::through(&gpu.ring, &reader, &checkpoint, plan, &timeline).unwrap();
        tokio::task::spawn_blocking(move || drop(layers.next().unwrap().unwrap())).await.unwrap();
        drop(gpu);
        assert_freed(stand_in).await;
        assert_eq!(stand_in.take_reports(), [""; 0], "{schedule}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_does_not_fit_the_device_is_refused_before_it_is_fetched() {
    let (_one, stand_in) = stand_in(Schedule::Lazy).await;
    let gpu = Gpu::<Right>::open();
    let free_bytes = gpu.device.context().free_bytes().unwrap();
    let gate = Arc::new(Semaphore::new(0));
    let Planned { reader, checkpoint, plan, timeline, .. } =
        gpu.planned(Gated::new(demo_model(), gate).await).await;
    let held = gpu.ring.port().reserve(free_bytes - 1_000_000).unwrap();
    let refused = Layers::through(&gpu.ring, &reader, &checkpoint, plan, &timeline).map(drop);
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("1000000 are free"), "{message}");
    assert_eq!(reader.landed_bytes(), 0);
    drop(held);
    assert_eq!(stand_in.take_reports(), [""; 0]);
}

/// The real binary, which finds the stand-in where it looks for a driver.
#[test]
fn the_command_line_chooses_what_computes() {
    let library = firstlight_stand_in::library(Checks::Off);
    let run = |device: &str, settings: &str| {
        told(beside(&library, settings).env("FIRSTLIGHT_DEVICE", device))
    };
    let (expected, report) = run("cpu", "");
    assert!(report.contains("\"device\":\"cpu\""), "{report}");
    let (answer, report) = run("cuda", "");
    assert_eq!(answer.success().stdout, expected.success().stdout);
    assert!(report.contains("stand-in") && report.contains("asked for"), "{report}");
    let (none, _) = run("cuda", "devices=0");
    assert!(none.failure().stderr.contains("the CUDA driver shows no device"));
    let (second, _) = run("cuda:1", "");
    assert!(second.failure().stderr.contains("there is no CUDA device 1"));
}

/// A greedy answer of the real binary, which finds `library` where it looks for a driver.
fn beside(library: &Path, settings: &str) -> Firstlight {
    let model = demo_model::demo_model();
    let run = Firstlight::new(["run", model.to_str().unwrap(), "Once upon a time"]);
    run.env("LD_LIBRARY_PATH", library.parent().unwrap())
        .env("FIRSTLIGHT_STAND_IN", settings)
        .env("FIRSTLIGHT_TEMPERATURE", "0")
        .env("FIRSTLIGHT_MAX_TOKENS", "8")
        .env("FIRSTLIGHT_RING", "1MiB")
}

/// How it went, and the timeline as one line.
fn told(run: Firstlight) -> (Finished, String) {
    let timeline = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
    let finished = run.env("FIRSTLIGHT_TIMELINE", timeline.path()).run();
    let report = std::fs::read_to_string(timeline.path()).unwrap_or_default();
    (finished, report)
}

/// `auto` takes a GPU that can be used, and the CPU where there is none, with the reason: what is wrong with a GPU that is
/// there is a warning as well.
#[test]
fn what_computes_is_found_out_where_nobody_says_it() {
    let library = firstlight_stand_in::library(Checks::Off);
    let shown = tempfile::NamedTempFile::new().unwrap();
    let run = |settings: &str| {
        let run = beside(&library, settings).env("FIRSTLIGHT_GPU_FILES", shown.path());
        told(run.env("FIRSTLIGHT_MAX_TOKENS", "2"))
    };
    let (run_there, report) = run("");
    run_there.success();
    assert!(report.contains("\"device\":\"stand-in"), "{report}");
    assert!(report.contains("there is a driver and a device"), "{report}");

    let old = "the CUDA driver speaks CUDA 11.4";
    let foreign = "is sm_75, and the kernels are built for";
    let none = "the CUDA driver shows no device";
    for (settings, why, warns) in [
        ("driver=11040", old, true),
        ("architecture=75", foreign, true),
        ("devices=0", none, false),
    ] {
        let (finished, report) = run(settings);
        let Finished { stderr, .. } = finished.success();
        assert!(report.contains("\"device\":\"cpu\""), "{settings}: {report}");
        assert!(report.contains(why), "{settings}: {report}");
        assert_eq!(stderr.contains(why), warns, "{settings}: {stderr}");
    }

    // Another process has taken its memory: that is not for the CPU to make good.
    let (full, _) = run("memory=1000");
    assert!(full.failure().stderr.contains("1000 are free"));
    let (unseen, report) = told(beside(&library, "").env("FIRSTLIGHT_GPU_FILES", "/no/such/file"));
    unseen.success();
    assert!(report.contains("there is no device of an NVIDIA driver"), "{report}");
    // A machine that has a driver of its own would find that.
    if Path::new("/dev/nvidiactl").exists() {
        return;
    }
    let nowhere = tempfile::tempdir().unwrap();
    let nowhere = beside(&nowhere.path().join("libcuda.so.1"), "");
    let (no_driver, report) = told(nowhere.env("FIRSTLIGHT_GPU_FILES", shown.path()));
    no_driver.success();
    assert!(report.contains("there is no CUDA driver"), "{report}");
}

/// All that an answer needs is counted before any of it is fetched: a device that has so much is enough, and one that has
/// a byte less is refused, with all numbers and before a range of the weights was asked for.
#[test]
fn a_device_without_room_for_the_context_is_refused_before_weights_are_fetched() {
    let library = firstlight_stand_in::library(Checks::Off);
    let model = demo_model::demo_model();
    let run = |memory: u64| {
        let objects = Objects::new();
        for name in ["config.json", "model.safetensors", "tokenizer.json"] {
            let bytes = std::fs::read(model.join(name)).unwrap();
            objects.insert("models", &format!("demo/{name}"), bytes);
        }
        let server = Bucket::builder().objects(objects).start_on_own_thread("127.0.0.1:0").unwrap();
        let prompt = ["run", "s3://models/demo", "Once upon a time", "--max-tokens=2"];
        let run = Firstlight::new(prompt).envs(server.environment());
        let run = run.env("LD_LIBRARY_PATH", library.parent().unwrap());
        let run = run.env("FIRSTLIGHT_STAND_IN", format!("memory={memory}"));
        let run = run.env("FIRSTLIGHT_DEVICE", "cuda").env("FIRSTLIGHT_RING", "1MiB");
        (run.run(), server.requests())
    };
    let few_bytes = 5_000_000;
    let [needed, free] = refused(&run(few_bytes).0.failure().stderr);
    let held_bytes = few_bytes - free; // by the kernels' own things
    run(held_bytes + needed).0.success();
    let (short, requests) = run(held_bytes + needed - 1);
    assert_eq!(refused(&short.failure().stderr), [needed, needed - 1]);
    let shard = requests.iter().filter(|request| request.key.ends_with(".safetensors"));
    let heads: Vec<_> = shard.map(|request| request.range.clone()).collect();
    assert!(matches!(&heads[..], [Some(head)] if head.start == 0), "{heads:?}");
}

/// The bytes that are needed, which are the sum of what they are needed for, and those that are free.
#[track_caller]
fn refused(message: &str) -> [u64; 2] {
    let number = |before: &str, after: &str| -> u64 {
        let end = message.find(after).unwrap_or_else(|| panic!("no {after:?}: {message}"));
        let start = message[..end].rfind(before).unwrap_or_else(|| panic!("{before:?}: {message}"));
        message[start + before.len()..end].parse().unwrap_or_else(|_| panic!("{message}"))
    };
    let needed = number("needs ", " bytes of");
    let parts = [" for weights", " for keys and values", " for intermediate results"];
    assert_eq!(needed, parts.iter().map(|part| number(" ", part)).sum::<u64>(), "{message}");
    assert!(message.contains("hint: ") && message.contains("--max-tokens"), "{message}");
    [needed, number("of which ", " are free")]
}

/// What the dynamic linker opens says whether a driver is even looked for: the one that lies ready is not.
#[test]
#[cfg(target_env = "gnu")]
fn a_process_on_the_cpu_opens_no_driver() {
    let library = firstlight_stand_in::library(Checks::Off);
    let model = demo_model::demo_model();
    let opened = |device: &str| {
        let run = Firstlight::new(["run", model.to_str().unwrap(), "Once", "--max-tokens=2"]);
        let run = run.env("LD_LIBRARY_PATH", library.parent().unwrap());
        let run = run.env("FIRSTLIGHT_DEVICE", device).env("LD_DEBUG", "files");
        run.run().success().stderr.contains("libcuda")
    };
    assert!(opened("cuda"), "or the linker tells nothing");
    assert!(!opened("cpu"));
}

/// All that is freed, by tasks that end a little later.
async fn assert_freed(stand_in: &StandIn) {
    for _ in 0..10_000 {
        if stand_in.live_allocations() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("{} allocations of the device are left", stand_in.live_allocations());
}

fn with_sources(error: &dyn StdError) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", with_sources(source)),
        None => error.to_string(),
    }
}
