//! The operations, and memory, streams and events, of a GPU.
//!
//! Everything is issued and nothing is awaited: an operation returns when the driver has taken it, and the device does
//! them in order, on the `compute` stream. What the host needs ([`Device::read`], [`Device::draw`]) waits. Weights
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
//! - `activations`, `kv_cache`, `positions`: what is computed, and where in the context
//! - `kernels`, `launch`: the loaded machine code, and how a function of it gets its arguments; which, for each
//!   operation, here and, for products with weights, in `linear`, for keys and values in `attention`, for tokens in
//!   `sampling`
//! - `steps`: steps that recur, each as one launch; `graph`: of what the driver makes of one
//! - [`limits`]: what the device can do at most, for benches
//! - [`port`]: the side of a device that a load sees, and `streams`, its two streams as that side
//! - [`ring`]: pinned slots on their way to the device; with [`slot`] (their states) and [`watch`] (the thread that waits
//!   for events)

mod activations;
mod arena;
mod attention;
mod context;
mod driver;
mod event;
mod graph;
mod kernels;
mod kv_cache;
mod launch;
mod linear;
mod memory;
mod pinned;
mod positions;
mod sampling;
mod staging;
mod steps;
mod stream;
mod streams;
mod tensor;

pub mod limits;
pub mod port;
pub mod ring;
pub mod slot;
pub mod watch;

use std::cell::{RefCell, RefMut};
use std::ops::Range;
use std::slice;
use std::sync::Arc;

use firstlight_kernels::cuda::attention::{AttentionShape, SEES_ALL};
use firstlight_kernels::cuda::linear::{GEMV_ROWS, Then};
use firstlight_kernels::cuda::{self as launches, Format};

pub use self::activations::Activations;
pub use self::arena::{ALIGN_BYTES, Arena, Region};
pub use self::context::{Capability, Context};
pub use self::driver::{Probe, Version};
pub use self::event::Event;
use self::kernels::Kernels;
pub use self::kv_cache::KvCache;
use self::launch::Arguments;
use self::linear::same_dtype;
use self::memory::Address;
pub use self::memory::Memory;
pub use self::positions::Positions;
pub use self::ring::{Ring, RingMemory};
use self::staging::Staging;
use self::steps::{Operation, Steps};
pub use self::stream::Stream;
pub use self::streams::Streams;
pub use self::tensor::Tensor;
use crate::{DType, Device, Draw, Error, Gelu, Linear, Mask, Norm, Span, shapes};

/// One GPU.
#[derive(Debug)]
pub struct Cuda {
    context: Arc<Context>,
    compute: Arc<Stream>,
    copy: Arc<Stream>,
    kernels: Kernels,
    staging: RefCell<Staging>,
    /// What the parts of an attention have summed up, and other results of one kernel for the next.
    scratch: Memory,
    steps: Steps,
    /// What keys and values are kept in.
    cache: DType,
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
        Ok(Self {
            kernels: Kernels::load(&context)?,
            staging: RefCell::new(Staging::new(&compute)?),
            scratch: Memory::new(&context, SCRATCH_BYTES, "the parts of an attention")?,
            steps: Steps::default(),
            cache: DType::F32,
            context,
            compute,
            copy,
        })
    }

    /// With keys and values in that type, which is f32 otherwise. The one of the weights takes half the memory, and many
    /// rows attend on the matrix units.
    #[must_use]
    pub fn with_cache(self, dtype: DType) -> Self {
        Self { cache: dtype, ..self }
    }

    /// With each kernel launched by itself, also in steps that recur.
    #[must_use]
    pub fn without_graphs(self) -> Self {
        self.steps.make_plain();
        self
    }

    /// What keys and values are kept in.
    #[must_use]
    pub fn cache(&self) -> DType {
        self.cache
    }

    /// The device.
    #[must_use]
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// What a load is given of the device: it may be used from any thread.
    #[must_use]
    pub fn streams(&self) -> Streams {
        Streams::new(Arc::clone(&self.copy), Arc::clone(&self.compute))
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

    fn launch(&self, launch: launches::Launch, arguments: Arguments) -> Result<(), Error> {
        self.issue(Operation::Launch { launch, arguments })
    }

    /// Now, or together with the step that it belongs to.
    fn issue(&self, operation: Operation) -> Result<(), Error> {
        self.steps.note(operation).map_or(Ok(()), |operation| self.issue_now(&operation))
    }

    fn issue_now(&self, operation: &Operation) -> Result<(), Error> {
        match *operation {
            Operation::Launch { launch, ref arguments } => {
                self.kernels.launch(&self.compute, launch, arguments)
            }
            Operation::Copy { from, to, bytes } => memory::copy(from, to, bytes, &self.compute),
        }
    }

    /// What goes to the device and what comes back, which is not noted.
    fn staging(&self) -> RefMut<'_, Staging> {
        assert!(!self.steps.are_noting(), "within a step nothing is sent or brought back");
        self.staging.borrow_mut()
    }

    /// Norms of x, which may be where they go.
    fn norm(
        &self,
        x: Address,
        weight: &Tensor,
        eps: f32,
        out: &mut Activations,
        rounded: Address,
    ) -> Result<(), Error> {
        let run = weight.len();
        let (_, columns) = out.shape();
        shapes::check_runs(columns, run);
        let launch =
            launches::rms_norm(format(weight.dtype()), number(out.len() / run), number(run));
        let arguments = Arguments::new()
            .with(x)
            .with(weight.start())
            .with(eps)
            .with(out.values_mut())
            .with(rounded)
            .with(number(run));
        self.launch(launch, arguments)
    }
}

impl Device for Cuda {
    type Tensor = Tensor;
    type Activations = Activations;
    type KvCache = KvCache;
    type Positions = Positions;

    /// In an arena of its own.
    fn upload(&self, tensor: &crate::Tensor) -> Result<Tensor, Error> {
        let bytes = tensor.bytes();
        let arena = Arena::on(&self.context, bytes.len() as u64)?;
        let mut regions = arena.carve(slice::from_ref(&(0..arena.bytes())))?;
        let region = regions.pop().expect("one range is one region");
        self.staging().send(bytes, region.address())?;
        Tensor::from_region(region, tensor.dtype(), tensor.shape().to_vec())
    }

    fn activations(&self, rows: usize, columns: usize) -> Result<Activations, Error> {
        Activations::new(&self.compute, rows, columns)
    }

    fn kv_cache(&self, blocks: usize, kv_heads: usize, head_dim: usize) -> Result<KvCache, Error> {
        KvCache::new(&self.context, self.cache, [blocks, kv_heads, head_dim])
    }

    fn positions(
        &self,
        rows: usize,
        blocks: usize,
        inverse_frequencies: &[f32],
    ) -> Result<Positions, Error> {
        let half = inverse_frequencies.len();
        let positions = Positions::new(&self.compute, (rows, blocks), half)?;
        let bytes: Vec<u8> = inverse_frequencies.iter().flat_map(|x| x.to_ne_bytes()).collect();
        self.staging().send(&bytes, positions.frequencies())?;
        Ok(positions)
    }

    fn set_rows(&self, x: &mut Activations, rows: usize) {
        x.set_rows(rows);
    }

    fn embed(&self, table: &Tensor, rows: &[u32], out: &mut Activations) -> Result<(), Error> {
        let (count, columns) = table.matrix_shape();
        assert_eq!(out.shape(), (rows.len(), columns), "shape of the embedded rows");
        if let Some(row) = rows.iter().find(|&&row| row as usize >= count) {
            panic!("row {row} of a table of {count} rows");
        }
        let indices = self.staging().stage(rows)?;
        let launch = launches::embed(format(table.dtype()), number(rows.len()), number(columns));
        let arguments = Arguments::new()
            .with(table.start())
            .with(indices)
            .with(out.values_mut())
            .with(number(columns))
            .with(number(count));
        self.launch(launch, arguments)
    }

    fn rms_norm(
        &self,
        x: &Activations,
        weight: &Tensor,
        eps: f32,
        out: &mut Activations,
    ) -> Result<(), Error> {
        assert_eq!(out.shape(), x.shape(), "shape of the normalised rows");
        if !rounds(out, weight.dtype()) {
            return self.norm(x.values(), weight, eps, out, NOWHERE);
        }
        self.norm(x.values(), weight, eps, out, out.rounded())?;
        out.set_rounded(weight.dtype());
        Ok(())
    }

    fn rms_norm_in_place(
        &self,
        x: &mut Activations,
        weight: &Tensor,
        eps: f32,
    ) -> Result<(), Error> {
        self.norm(x.values(), weight, eps, x, NOWHERE)
    }

    fn layer_norm(&self, x: &mut Activations, by: Norm<'_, Tensor>, eps: f32) -> Result<(), Error> {
        let Norm { weight, bias } = by;
        let (rows, columns) = x.shape();
        shapes::check_norm(x.shape(), weight.len(), bias.len());
        let dtype = same_dtype(weight, bias)?;
        let rounds = rounds(x, dtype);
        let arguments = Arguments::new()
            .with(x.values_mut())
            .with(weight.start())
            .with(bias.start())
            .with(eps)
            .with(if rounds { x.rounded() } else { NOWHERE })
            .with(number(columns));
        self.launch(launches::layer_norm(format(dtype), number(rows), number(columns)), arguments)?;
        if rounds {
            x.set_rounded(dtype);
        }
        Ok(())
    }

    fn add(&self, x: &mut Activations, y: &Activations) -> Result<(), Error> {
        assert_eq!(x.shape(), y.shape(), "shapes of the two summands");
        let count = y.len() as u64;
        let arguments = Arguments::new().with(x.values_mut()).with(y.values()).with(count);
        self.launch(launches::add(count), arguments)
    }

    fn linear(
        &self,
        x: &Activations,
        by: Linear<'_, Tensor>,
        out: &mut Activations,
    ) -> Result<(), Error> {
        self.products(x, &mut [(by, out)], Then::Set)
    }

    fn linear_all(
        &self,
        x: &Activations,
        products: &mut [(Linear<'_, Tensor>, &mut Activations)],
    ) -> Result<(), Error> {
        self.products(x, products, Then::Set)
    }

    fn linear_add(
        &self,
        x: &Activations,
        by: Linear<'_, Tensor>,
        out: &mut Activations,
    ) -> Result<(), Error> {
        self.products(x, &mut [(by, out)], Then::Add)
    }

    fn gated(
        &self,
        x: &Activations,
        gate: Linear<'_, Tensor>,
        up: Linear<'_, Tensor>,
        out: &mut Activations,
    ) -> Result<(), Error> {
        self.gated_product(x, [gate, up], out)
    }

    fn linear_gelu(
        &self,
        x: &Activations,
        by: Linear<'_, Tensor>,
        form: Gelu,
        out: &mut Activations,
    ) -> Result<(), Error> {
        self.gelu_product(x, by, form, out)
    }

    fn set_positions(&self, positions: &mut Positions, spans: &[Span<'_>]) -> Result<(), Error> {
        let tiles = self.cache != DType::F32;
        positions.set(spans, tiles, &mut self.staging())?;
        let half = number(positions.head_dim() / 2);
        if half == 0 {
            return Ok(()); // of heads that do not turn
        }
        let arguments = Arguments::new()
            .with(positions.frequencies())
            .with(positions.places())
            .with(positions.turns())
            .with(half);
        self.launch(launches::turns(number(positions.rows()), half), arguments)
    }

    fn rope(&self, x: &mut Activations, positions: &Positions) -> Result<(), Error> {
        let ((rows, columns), head_dim) = (x.shape(), positions.head_dim());
        assert_eq!(rows, positions.rows(), "rows of the positions");
        shapes::check_heads(columns, head_dim);
        let arguments = Arguments::new()
            .with(x.values_mut())
            .with(positions.turns())
            .with(number(columns))
            .with(number(head_dim));
        self.launch(launches::rope(number(rows), number(columns)), arguments)
    }

    fn append(
        &self,
        keys: &Activations,
        values: &Activations,
        positions: &Positions,
        cache: &mut KvCache,
    ) -> Result<(), Error> {
        self.put(keys, values, positions, cache)
    }

    fn attention(
        &self,
        queries: &Activations,
        cache: &KvCache,
        positions: &Positions,
        scale: f32,
        mask: Mask,
        out: &mut Activations,
    ) -> Result<(), Error> {
        let ((rows, columns), head_dim) = (queries.shape(), cache.head_dim);
        assert_eq!(rows, positions.rows(), "rows of the positions");
        shapes::check_heads(columns, head_dim);
        assert_eq!(out.shape(), queries.shape(), "shape of what was attended to");
        assert_ne!(mask, Mask::Window(0), "a position sees itself");
        let shape = AttentionShape {
            heads: number(columns / head_dim),
            kv_heads: number(cache.kv_heads),
            head_dim: number(head_dim),
            window: match mask {
                Mask::Causal => 0,
                Mask::Window(window) => number(window),
                Mask::Full => SEES_ALL,
            },
            scale,
        };
        self.attend(queries, cache, positions, shape, out)
    }

    fn copy_rows(
        &self,
        x: &Activations,
        rows: Range<usize>,
        out: &mut Activations,
        to: usize,
    ) -> Result<(), Error> {
        shapes::check_rows(x.shape(), &rows, out.shape(), to);
        let (_, columns) = x.shape();
        let bytes = |rows: usize| rows * columns * size_of::<f32>();
        let from = x.values() + bytes(rows.start) as u64;
        let to = out.values_mut() + bytes(to) as u64;
        self.issue(Operation::Copy { from, to, bytes: bytes(rows.len()) })
    }

    fn draw(
        &self,
        logits: &Activations,
        draws: &[Option<Draw>],
    ) -> Result<Vec<Option<u32>>, Error> {
        assert!(draws.len() <= logits.shape().0, "a draw of each row, at most");
        self.tokens(logits, draws)
    }

    fn as_one<E: From<Error>>(&self, issue: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        if !self.steps.begin() {
            return issue();
        }
        let issued = issue();
        let operations = self.steps.end();
        issued?;
        Ok(self.steps.run(operations, &self.compute, |operation| self.issue_now(operation))?)
    }

    fn read(&self, x: &Activations) -> Result<Vec<f32>, Error> {
        let mut bytes = vec![0; x.len() * size_of::<f32>()];
        self.staging().receive(x.values(), &mut bytes)?;
        let (numbers, _) = bytes.as_chunks();
        Ok(numbers.iter().copied().map(f32::from_ne_bytes).collect())
    }
}

/// Whether the norm of rows is rounded as well: what comes next is a product of them.
fn rounds(out: &Activations, dtype: DType) -> bool {
    number(out.shape().0) > GEMV_ROWS && dtype != DType::F32
}

fn format(dtype: DType) -> Format {
    match dtype {
        DType::F32 => Format::F32,
        DType::F16 => Format::F16,
        DType::BF16 => Format::Bf16,
    }
}

/// A size as the kernels take it.
fn number(size: usize) -> u32 {
    u32::try_from(size).expect("sizes of activations and weights are less than 2^32")
}

/// What a kernel takes for an address where there is nothing.
const NOWHERE: Address = 0;

/// An attention is split where less than 256 blocks would have work, each with four heads at most, into as many parts
/// as make 512: with the widest heads, 258 numbers each.
const SCRATCH_BYTES: u64 = 512 * 4 * (256 + 2) * 4;

#[cfg(test)]
mod tests {
    use std::iter;

    use super::*;
    use crate::contract;

    contract::device_tests!(iter::once(with(DType::F32)));

    #[test]
    fn attention_over_rounded_keys_and_values() {
        for dtype in [DType::F16, DType::BF16] {
            contract::append_and_attention(&with(dtype));
            contract::attention_far_into_a_context(&with(dtype));
            contract::sequences_beside_each_other(&with(dtype));
            contract::texts_that_see_all_of_themselves(&with(dtype));
        }
    }

    fn with(cache: DType) -> Cuda {
        Cuda::open(firstlight_stand_in::device()).unwrap().with_cache(cache)
    }
}
