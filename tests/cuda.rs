//! Weights stream through pinned slots to a GPU while it computes: on the stand-in for libcuda, which sees every race,
//! however its streams are scheduled. And the negative: a slot that is freed early and a wait that is left out are seen.
#![expect(clippy::unwrap_used, reason = "tests")]
#![expect(unsafe_code, reason = "a device's side is wrapped, whose functions are unsafe to call")]

mod support;

use std::error::Error as StdError;
use std::ops::Range;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use firstlight_device::arena::{Arena, Region};
use firstlight_device::cuda::port::{Event, Port};
use firstlight_device::cuda::{self, ALIGN_BYTES, Cuda, Ring, RingMemory, Streams};
use firstlight_device::{Cpu, DType, Error as DeviceError};
use firstlight_load::{Layers, SUPPORTED};
use firstlight_model::{Decoder, StageOrder};
use firstlight_plan::Limits as PlanLimits;
use firstlight_stand_in::{Schedule, StandIn};
use firstlight_store::folder::Folder;
use firstlight_store::{Body, Error, Object, Opened, Store};
use firstlight_timeline::{Lane, Timeline};
use support::engine::{Load, Planned, folder, group, load, planned, settings};
use tokio::sync::Semaphore;

const FIRST: StageOrder = StageOrder::EmbeddingFirst;
const IDS: [u32; 5] = [0, 1008, 1108, 260, 535];
/// The demo model has 4 MB: each slot is used a dozen times.
const SLOT_BYTES: usize = 64 << 10;
const SLOTS: usize = 4;
const SCHEDULES: [Schedule; 5] = [
    Schedule::Lazy,
    Schedule::Eager,
    Schedule::Random(1),
    Schedule::Random(2),
    Schedule::Random(3),
];

/// The stand-in, as at its start. One test at a time.
fn stand_in(schedule: Schedule) -> (MutexGuard<'static, ()>, &'static StandIn) {
    static ONE: Mutex<()> = Mutex::new(());
    let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let stand_in = firstlight_stand_in::load();
    stand_in.reset();
    stand_in.schedule(schedule);
    (one, stand_in)
}

fn demo_model() -> Folder {
    folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/demo-model"))
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

    /// The logits of all of [`IDS`], and how it went.
    async fn logits(self, store: impl Store) -> (Result<Vec<f32>, Box<dyn StdError>>, Timeline) {
        let limits = PlanLimits {
            range_bytes: SLOT_BYTES as u64,
            align_bytes: ALIGN_BYTES,
            ..PlanLimits::new(SUPPORTED)
        };
        let Planned { reader, checkpoint, spec, plan, timeline } =
            planned(store, FIRST, &limits).await;
        let layers = match Layers::through(&self.ring, &reader, &checkpoint, plan, &timeline) {
            Ok(layers) => layers,
            Err(error) => return (Err(error.into()), timeline),
        };
        let forward = tokio::task::spawn_blocking(move || {
            let computing = layers.computing();
            let groups = layers.map(group);
            let mut decoder = Decoder::new(self.device, spec, settings(FIRST, 64), groups).unwrap();
            let logits = decoder.forward_all(&IDS);
            computing.end();
            logits
        });
        let logits = tokio::time::timeout(Duration::from_mins(2), forward).await.unwrap().unwrap();
        (logits.map_err(Into::into), timeline)
    }
}

/// What the CPU makes of the same bytes.
async fn expected() -> Vec<f32> {
    let Load { spec, layers, .. } = load(demo_model(), FIRST).await;
    let forward = tokio::task::spawn_blocking(move || {
        let groups = layers.map(group);
        let mut decoder = Decoder::new(Cpu::new(), spec, settings(FIRST, 64), groups).unwrap();
        decoder.forward_all(&IDS).unwrap()
    });
    forward.await.unwrap()
}

/// Within 2 % of the largest: products round their rows to the 16 bits of the weights.
fn assert_near(logits: &[f32], expected: &[f32], what: &dyn std::fmt::Display) {
    let largest = expected.iter().fold(0.0_f32, |largest, logit| largest.max(logit.abs()));
    assert_eq!(logits.len(), expected.len());
    let far = logits.iter().zip(expected).find(|(a, b)| !((**a - **b).abs() <= 0.02 * largest));
    assert_eq!(far, None, "{what}: the largest is {largest}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_beside_the_arithmetic_is_free_of_races_however_streams_are_scheduled() {
    let expected = expected().await;
    for schedule in SCHEDULES {
        let (_one, stand_in) = stand_in(schedule);
        let (logits, _) = Gpu::<Right>::open().logits(demo_model()).await;
        let counters = stand_in.counters();
        assert_eq!(stand_in.take_reports(), [""; 0], "{schedule}");
        assert_near(&logits.unwrap(), &expected, &schedule);
        assert_eq!(counters.pageable_copies, 0, "{schedule}");
        assert_eq!(counters.default_stream_work, 0, "{schedule}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_that_is_left_out_is_seen() {
    let (_one, stand_in) = stand_in(Schedule::Lazy);
    let (logits, _) = Gpu::<Side<false, true>>::open().logits(demo_model()).await;
    let reports = stand_in.take_reports();
    println!("{reports:#?} {:?}", logits.map(drop));
    assert!(!reports.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_is_freed_early_is_seen() {
    let (_one, stand_in) = stand_in(Schedule::Lazy);
    let (logits, _) = Gpu::<Side<true, false>>::open().logits(demo_model()).await;
    let reports = stand_in.take_reports();
    println!("{reports:#?} {:?}", logits.map(drop));
    assert!(!reports.is_empty());
}
