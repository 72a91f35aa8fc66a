//! What computes: chosen once, before any weight is fetched.
//!
//! `auto` is a GPU where there is a driver and a device that can be used, and the CPU everywhere else. The driver needs
//! a tenth of a second and more to initialise a device: it begins on a thread of its own when the process does, while
//! other threads touch the memory of the pinned ring. Where the CPU was asked for, nothing of CUDA is even looked for;
//! and for `auto` neither where the kernel shows no device of its makers: looking for the library in all its places
//! takes a hundred system calls, that for the devices three.

use std::num::NonZero;
use std::sync::Arc;
use std::thread;

use firstlight_device::cuda::{ALIGN_BYTES, Context, Cuda, Ring, RingMemory, Streams};
use firstlight_device::{self as device, DType, Device, Error as DeviceError, Team, Tensor};
use firstlight_load::{Checkpoint, Layers};
use firstlight_model::Footprint;
use firstlight_plan::{Limits as PlanLimits, Plan};
use firstlight_store::{Location, Priority, Reader};
use firstlight_timeline::{Lane, Timeline};
use tokio::sync::oneshot;

use crate::args::{KvCacheDtype, MachineArgs, ProcessorArgs, StoreArgs, Wanted};
use crate::failure::Failure;
use crate::memory::{self, Needs};

/// The tensors of a processor.
pub(crate) type TensorOf<P> = <<P as Processor>::Device as Device>::Tensor;

/// What holds the weights and computes.
pub(crate) trait Processor {
    /// The operations.
    type Device: Device;

    /// `limits` as this processor needs them.
    fn plan_limits(&self, limits: PlanLimits) -> PlanLimits;

    /// What the weights of `plan` need, and what a model keeps besides; refuses them where there is no memory for all
    /// of it.
    fn check_memory(
        &self,
        location: &Location,
        plan: &Plan,
        kept: &Footprint,
    ) -> Result<Needs, Failure>;

    /// Begins to load `plan`.
    fn layers(
        &self,
        from: &Source<'_>,
        plan: Plan,
        timeline: &Timeline,
    ) -> Result<Layers<TensorOf<Self>>, Failure>;

    /// Rows that an encoder takes in a pass.
    fn encoder_rows(&self) -> usize;

    /// A tensor of this machine's memory as one of the processor's.
    fn tensor(&self, tensor: Tensor) -> Result<TensorOf<Self>, Failure>;

    /// What keys and values may have of the memory beside the weights, whose load has begun, and all else that is
    /// needed; nothing where that cannot be known.
    fn kv_memory(&self, needs: &Needs) -> Result<Option<u64>, Failure>;

    /// What keys and values are kept in.
    fn kv_dtype(&self) -> DType;

    /// Has `work` done with the operations at hand.
    fn compute<R>(self, work: impl FnOnce(Self::Device) -> R) -> R;
}

/// Where a plan's bytes are.
pub(crate) struct Source<'a> {
    pub(crate) reader: &'a Reader,
    pub(crate) checkpoint: &'a Checkpoint,
}

/// The processor that runs this program.
pub(crate) struct Cpu {
    device: device::Cpu,
    threads: NonZero<usize>,
}

impl Processor for Cpu {
    type Device = device::Cpu;

    fn plan_limits(&self, limits: PlanLimits) -> PlanLimits {
        limits
    }

    fn check_memory(
        &self,
        location: &Location,
        plan: &Plan,
        kept: &Footprint,
    ) -> Result<Needs, Failure> {
        let is_mapped = matches!(location, Location::Folder { .. });
        let needs = Needs {
            // What is mapped needs none.
            weight_bytes: if is_mapped { 0 } else { plan.arena_bytes },
            cache_bytes: kept.cached.saturating_mul(F32_BYTES),
            positions: kept.positions,
            result_bytes: kept.computed.saturating_mul(F32_BYTES),
        };
        needs.check(memory::available_bytes(), "this machine's memory")
    }

    fn layers(
        &self,
        from: &Source<'_>,
        plan: Plan,
        timeline: &Timeline,
    ) -> Result<Layers, Failure> {
        let Source { reader, checkpoint } = from;
        Ok(Layers::start(reader, checkpoint, plan, Priority::Weights, timeline)?)
    }

    fn encoder_rows(&self) -> usize {
        CPU_ENCODER_ROWS
    }

    fn tensor(&self, tensor: Tensor) -> Result<Tensor, Failure> {
        Ok(tensor)
    }

    /// Half of what is left. It is taken page by page as the cache fills; the rest is for what requests and answers
    /// need, and for the pages of a model that is mapped.
    fn kv_memory(&self, needs: &Needs) -> Result<Option<u64>, Failure> {
        let taken = needs.weight_bytes.saturating_add(needs.result_bytes);
        let available = memory::available_bytes();
        Ok(available.map(|bytes| bytes.saturating_sub(taken) / 2))
    }

    fn kv_dtype(&self) -> DType {
        DType::F32
    }

    fn compute<R>(self, work: impl FnOnce(device::Cpu) -> R) -> R {
        Arc::new(Team::new(self.threads)).enter(|| work(self.device))
    }
}

/// A GPU, and the way to it.
pub(crate) struct Gpu {
    device: Cuda,
    ring: Arc<Ring<Streams>>,
}

impl Processor for Gpu {
    type Device = Cuda;

    fn plan_limits(&self, limits: PlanLimits) -> PlanLimits {
        // The blocks of a file that the ends of a range lie in fit its slot, too.
        let slot_bytes = self.ring.slot_bytes() as u64;
        let range_bytes = slot_bytes.saturating_sub(2 * SLOT_ALIGN_BYTES).max(SLOT_ALIGN_BYTES);
        PlanLimits { range_bytes, align_bytes: ALIGN_BYTES, ..limits }
    }

    fn check_memory(&self, _: &Location, plan: &Plan, kept: &Footprint) -> Result<Needs, Failure> {
        let number_bytes = self.device.cache().bytes() as u64;
        let aligning_bytes = kept.matrices.saturating_mul(ALIGN_BYTES);
        let results = kept.computed.saturating_mul(RESULT_BYTES);
        let needs = Needs {
            weight_bytes: plan.arena_bytes,
            cache_bytes: kept.cached.saturating_mul(number_bytes),
            positions: kept.positions,
            result_bytes: results.saturating_add(aligning_bytes),
        };
        let context = self.device.context();
        needs.check(Some(context.free_bytes()?), &format!("the memory of `{}`", context.name()))
    }

    fn layers(
        &self,
        from: &Source<'_>,
        plan: Plan,
        timeline: &Timeline,
    ) -> Result<Layers<TensorOf<Self>>, Failure> {
        let Source { reader, checkpoint } = from;
        Ok(Layers::through(&self.ring, reader, checkpoint, plan, timeline)?)
    }

    fn encoder_rows(&self) -> usize {
        GPU_ENCODER_ROWS
    }

    fn tensor(&self, tensor: Tensor) -> Result<TensorOf<Self>, Failure> {
        Ok(self.device.upload(&tensor)?)
    }

    /// Most of what is free beside the arena of the weights, which is there by now; the rest is for the intermediate
    /// results of a pass.
    fn kv_memory(&self, _: &Needs) -> Result<Option<u64>, Failure> {
        Ok(Some(self.device.context().free_bytes()? / 100 * KV_PERCENT))
    }

    fn kv_dtype(&self) -> DType {
        self.device.cache()
    }

    fn compute<R>(self, work: impl FnOnce(Cuda) -> R) -> R {
        let Self { device, ring } = self;
        // From here on the load alone keeps it, and no longer than it has to.
        drop(ring);
        work(device)
    }
}

impl Gpu {
    fn with_graphs(self, graphs: bool) -> Self {
        let Self { device, ring } = self;
        Self { device: if graphs { device } else { device.without_graphs() }, ring }
    }
}

/// What was chosen.
pub(crate) enum Chosen {
    Cpu(Cpu),
    Gpu(Box<Gpu>),
}

impl Chosen {
    /// With keys and values kept as was wanted, for a model with weights of a type.
    pub(crate) fn keeping(self, wanted: KvCacheDtype, weights: DType) -> Result<Self, Failure> {
        match self {
            Self::Cpu(cpu) => wanted.on_cpu().map(|_| Self::Cpu(cpu)),
            Self::Gpu(gpu) => {
                let Gpu { device, ring } = *gpu;
                let device = device.with_cache(wanted.on_gpu(weights));
                Ok(Self::Gpu(Box::new(Gpu { device, ring })))
            }
        }
    }
}

/// A choice that is being made.
pub(crate) struct Opening {
    wanted: Wanted,
    /// Where no GPU is chosen.
    cpu: Cpu,
    /// Where one is looked for.
    gpu: Option<oneshot::Receiver<Result<Gpu, DeviceError>>>,
    /// What keys and values shall be kept in.
    pub(crate) cache: KvCacheDtype,
}

impl Opening {
    /// Begins to open what `machine` asks for.
    pub(crate) fn begin(
        machine: &MachineArgs,
        threads: NonZero<usize>,
        store: &StoreArgs,
        timeline: &Timeline,
    ) -> Self {
        let gpu = machine.processor.ordinal().map(|ordinal| {
            let (sender, opened) = oneshot::channel();
            let limits = RingLimits::new(machine.ring.bytes, store.range_mib << 20);
            let timeline = timeline.clone();
            let graphs = !machine.no_cuda_graphs;
            let opened_gpu = move || open(ordinal, limits, &timeline);
            let open = move || drop(sender.send(opened_gpu().map(|gpu| gpu.with_graphs(graphs))));
            // Without the thread the sender is dropped.
            drop(thread::Builder::new().name("cuda".into()).spawn(open));
            opened
        });
        let cpu = Cpu { device: device::Cpu::with(machine.isa), threads };
        let ProcessorArgs { device: wanted, kv_cache_dtype: cache, .. } = machine.processor;
        Self { wanted, cpu, gpu, cache }
    }

    /// What was chosen, which is told to `timeline` with the reason.
    pub(crate) async fn chosen(self, timeline: &Timeline) -> Result<Chosen, Failure> {
        let Self { wanted, cpu, gpu, .. } = self;
        let describe = |device: &str, why: &str| {
            timeline.describe("device", device);
            timeline.describe("device_why", why);
            tracing::info!("computing on {device}: {why}");
        };
        let Some(gpu) = gpu else {
            describe("cpu", wanted.why_cpu());
            return Ok(Chosen::Cpu(cpu));
        };
        match gpu.await.map_err(|_| Failure::NoCudaThread)? {
            Ok(gpu) => {
                describe(gpu.device.context().name(), wanted.why_cuda());
                Ok(Chosen::Gpu(Box::new(gpu)))
            }
            Err(error) if wanted == Wanted::Auto && leaves_the_cpu(&error) => {
                let why = reason(&error);
                if !matches!(error, DeviceError::NoDriver | DeviceError::NoDevice) {
                    tracing::warn!("the GPU cannot be used: {why}");
                }
                describe("cpu", &why);
                Ok(Chosen::Cpu(cpu))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// What would be chosen.
pub(crate) struct Outlook {
    /// With the reason.
    pub(crate) device: String,
    /// What it would keep keys and values in.
    pub(crate) cache: DType,
}

/// What would be chosen for a model with weights of a type. No device is initialised.
pub(crate) fn foreseen(args: &ProcessorArgs, weights: DType) -> Result<Outlook, Failure> {
    let (wanted, cache) = (args.device, args.kv_cache_dtype);
    let cpu = |why: &str| Ok(Outlook { device: format!("cpu: {why}"), cache: cache.on_cpu()? });
    let cuda = |device| Ok(Outlook { device, cache: cache.on_gpu(weights) });
    let Some(ordinal) = args.ordinal() else {
        return cpu(wanted.why_cpu());
    };
    match (Cuda::probe(), wanted) {
        (Ok(probe), _) => {
            let why = wanted.why_cuda();
            cuda(format!("cuda:{ordinal} of {}, CUDA {}: {why}", probe.devices, probe.version))
        }
        (Err(error), Wanted::Auto) => cpu(&reason(&error)),
        (Err(error), _) => cuda(format!("none: {}", reason(&error))),
    }
}

/// Whether a failure to open a GPU means that there is none that can be used. One that is full can be.
fn leaves_the_cpu(error: &DeviceError) -> bool {
    !matches!(error, DeviceError::OutOfDeviceMemory { .. })
}

/// What an error says, without its hint.
fn reason(error: &DeviceError) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// How a ring is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RingLimits {
    bytes: usize,
    slot_bytes: usize,
}

impl RingLimits {
    /// A slot holds the longest range, and there are enough of them to fill some while others are copied.
    fn new(ring_bytes: u64, range_bytes: u64) -> Self {
        let in_memory = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let most =
            (ring_bytes / SLOTS_MIN / SLOT_ALIGN_BYTES * SLOT_ALIGN_BYTES).max(SLOT_ALIGN_BYTES);
        let slot_bytes = range_bytes.min(most);
        Self { bytes: in_memory(ring_bytes.max(slot_bytes)), slot_bytes: in_memory(slot_bytes) }
    }
}

fn open(ordinal: usize, limits: RingLimits, timeline: &Timeline) -> Result<Gpu, DeviceError> {
    let span = |name| timeline.span(Lane::Boot, name);
    let driver = span("driver");
    Cuda::probe()?;
    driver.end();
    let (context, memory) = thread::scope(|scope| {
        let touching = scope.spawn(|| {
            let _span = span("ring touched");
            RingMemory::touched(limits.bytes)
        });
        let opening = span("context");
        let context = Context::open(ordinal);
        opening.end();
        (context, touching.join().expect("touching memory does not panic"))
    });
    let (context, memory) = (context?, memory?);
    let kernels = span("kernels");
    let device = Cuda::new(context)?;
    kernels.end();
    let pinning = span("ring pinned");
    let ring = Ring::new(Arc::new(device.streams()), memory, limits.slot_bytes)?;
    pinning.end();
    Ok(Gpu { device, ring: Arc::new(ring) })
}

/// Of the free memory of a GPU, for keys and values: of 6 GB 0.9 are left, and a pass takes 0.3 where 512 rows are
/// 30,000 floats wide in all, and the logits of 64 rows 150,000.
const KV_PERCENT: u64 = 85;

/// One is filled while another is copied, and as many again so that neither waits for the other.
const SLOTS_MIN: u64 = 4;
/// A page, which is what is pinned.
const SLOT_ALIGN_BYTES: u64 = 4096;

const F32_BYTES: u64 = 4;
/// On a GPU each intermediate result has room in f32 and, beside it, in 16 bits.
const RESULT_BYTES: u64 = F32_BYTES + 2;

/// Rows of a pass on a CPU: enough for the products to be limited by arithmetic, few enough for what lies between two
/// of them to stay in its caches.
const CPU_ENCODER_ROWS: usize = 512;

/// On a GPU, whose tiles of 128 rows and outputs shall fill all processors at a width of 384.
const GPU_ENCODER_ROWS: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_holds_the_longest_range_and_a_small_ring_shortens_it() {
        let limits = |ring: u64, range| RingLimits::new(ring, range);
        assert_eq!(
            limits(256 << 20, 8 << 20),
            RingLimits { bytes: 256 << 20, slot_bytes: 8 << 20 }
        );
        assert_eq!(limits(8 << 20, 8 << 20), RingLimits { bytes: 8 << 20, slot_bytes: 2 << 20 });
        assert_eq!(limits(1, 8 << 20), RingLimits { bytes: 4096, slot_bytes: 4096 });
    }

    #[test]
    fn the_cpu_is_foreseen_where_it_is_asked_for_or_nothing_shows_a_gpu() {
        let args = |device| ProcessorArgs {
            device,
            gpu_files: vec!["/no/such/file".into()],
            kv_cache_dtype: KvCacheDtype::Auto,
        };
        let device = |wanted| foreseen(&args(wanted), DType::BF16).unwrap().device;
        assert_eq!(device(Wanted::Cpu), "cpu: asked for");
        assert_eq!(device(Wanted::Auto), "cpu: there is no device of an NVIDIA driver");
        assert_eq!(foreseen(&args(Wanted::Cpu), DType::BF16).unwrap().cache, DType::F32);
        assert_eq!(args(Wanted::Cuda(2)).ordinal(), Some(2));
    }
}
