//! Attention over caches of different lengths: one row, as in decoding, and the last rows of a prompt.

use std::sync::Arc;

use firstlight_device::{Cpu, Cuda, Device, Error, KV_BLOCK, Mask, Span, Team, Tensor};

use super::bench::{Bench, Result};
use super::inputs::{self, Pool};
use super::record::Recorder;
use super::sections::{ATTENTIONS, ERROR, count};
use super::sizes::Model;

/// Of a layer.
#[derive(Clone, Copy)]
struct Shape {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl Shape {
    fn of(model: &Model) -> Self {
        let spec = model.spec();
        Self { heads: spec.heads, kv_heads: spec.kv_heads, head_dim: spec.head_dim }
    }

    fn scale(self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }
}

/// Rows that come in at once.
struct Inputs {
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
}

/// A cache with keys and values at all positions. All that is known here of how a device keeps them.
struct Context<D: Device> {
    cache: D::KvCache,
    positions: D::Positions,
    /// All of them, in order.
    blocks: Vec<u32>,
}

impl<D: Device> Context<D> {
    /// With `length` positions, filled chunk by chunk.
    fn filled(
        device: &D,
        shape: Shape,
        inputs: &Inputs,
        length: usize,
    ) -> std::result::Result<Self, Error> {
        let count = length.div_ceil(KV_BLOCK);
        let blocks = (0..).take(count).collect();
        let cache = device.kv_cache(count, shape.kv_heads, shape.head_dim)?;
        let chunk = inputs.keys.shape()[0];
        let frequencies = vec![1.0; shape.head_dim / 2];
        let positions = device.positions(chunk, count, &frequencies)?;
        let mut context = Self { cache, positions, blocks };
        for first in (0..length).step_by(chunk) {
            let rows = chunk.min(length - first);
            let keys = inputs::rows(device, &inputs.keys, rows)?;
            let values = inputs::rows(device, &inputs.values, rows)?;
            context.ask(device, first + rows, rows)?;
            device.append(&keys, &values, &context.positions, &mut context.cache)?;
        }
        Ok(context)
    }

    /// The next rows are the last `rows` of `length` positions.
    fn ask(&mut self, device: &D, length: usize, rows: usize) -> std::result::Result<(), Error> {
        let span = Span { first: length - rows, rows, blocks: &self.blocks };
        device.set_positions(&mut self.positions, &[span])
    }

    fn attend(
        &self,
        device: &D,
        queries: &D::Activations,
        shape: Shape,
        out: &mut D::Activations,
    ) -> std::result::Result<(), Error> {
        let (scale, mask) = (shape.scale(), Mask::Causal);
        device.attention(queries, &self.cache, &self.positions, scale, mask, out)
    }
}

pub(crate) fn measure(bench: &Bench<'_>, recorder: &mut Recorder) -> Result<()> {
    let limits = [bench.copy_rate()?, bench.matrix_rate()?];
    for model in &bench.sizes.models {
        let mut worst = [0.0_f64; 2];
        for &length in &bench.sizes.contexts {
            let errors = of_length(bench, model, length, &limits, recorder)?;
            worst = [worst[0].max(errors[0]), worst[1].max(errors[1])];
        }
        for ((_, label), worst) in ATTENTIONS.iter().zip(worst) {
            recorder.figure("attention", [&row(model, label), ERROR], worst, None)?;
        }
    }
    Ok(())
}

/// The errors of the two ways.
fn of_length(
    bench: &Bench<'_>,
    model: &Model,
    length: usize,
    [copy, matrix]: &[f64; 2],
    recorder: &mut Recorder,
) -> Result<[f64; 2]> {
    let shape = Shape::of(model);
    let prompt = bench.sizes.prompt.min(length);
    let pool = Pool::new(2 * prompt * shape.heads * shape.head_dim);
    let tensor = |heads, number| pool.tensor(&[prompt, heads * shape.head_dim], number);
    let inputs = Inputs {
        queries: tensor(shape.heads, 0),
        keys: tensor(shape.kv_heads, 1),
        values: tensor(shape.kv_heads, 2),
    };
    let bytes = 2 * length * shape.kv_heads * shape.head_dim * 2;
    let count_caches = bench.sizes.pool_bytes.div_ceil(bytes).clamp(1, MOST_CACHES);
    let contexts = (0..count_caches).map(|_| Context::filled(bench.cuda, shape, &inputs, length));
    let mut contexts: Vec<_> = contexts.collect::<std::result::Result<_, _>>()?;
    let mut errors = [0.0; 2];
    for (index, (is_one, label)) in ATTENTIONS.into_iter().enumerate() {
        let rows = if is_one { 1 } else { prompt };
        let asked = Asked { shape, length, rows, inputs: &inputs };
        errors[index] = asked.error(bench, &mut contexts)?;
        let seconds = asked.time(bench, &contexts)?;
        let seen: usize = (length - rows + 1..=length).sum();
        let flop = (4 * seen * shape.heads * shape.head_dim) as f64;
        let (value, limit) = if is_one {
            (bytes as f64 / seconds / 1e9, copy / 1e9)
        } else {
            (flop / seconds / 1e12, matrix / 1e12)
        };
        let column = count(length, "position");
        recorder.figure("attention", [&row(model, label), &column], value, Some(limit))?;
    }
    Ok(errors)
}

fn row(model: &Model, label: &str) -> String {
    format!("{}: {label}", model.name)
}

/// The last rows of so many positions.
struct Asked<'a> {
    shape: Shape,
    length: usize,
    rows: usize,
    inputs: &'a Inputs,
}

impl Asked<'_> {
    fn run<D: Device>(
        &self,
        device: &D,
        context: &mut Context<D>,
    ) -> std::result::Result<Vec<f32>, Error> {
        context.ask(device, self.length, self.rows)?;
        let queries = inputs::rows(device, &self.inputs.queries, self.rows)?;
        let columns = self.shape.heads * self.shape.head_dim;
        let mut out = device.activations(self.rows, columns)?;
        context.attend(device, &queries, self.shape, &mut out)?;
        device.read(&out)
    }

    /// Beside the CPU. All caches are ready for the same rows then.
    fn error(&self, bench: &Bench<'_>, contexts: &mut [Context<Cuda>]) -> Result<f64> {
        let cpu = Cpu::new();
        let expected = Arc::new(Team::new(Team::default_threads())).enter(|| {
            let mut context = Context::filled(&cpu, self.shape, self.inputs, self.length)?;
            self.run(&cpu, &mut context)
        })?;
        let found = self.run(bench.cuda, &mut contexts[0])?;
        for context in contexts {
            context.ask(bench.cuda, self.length, self.rows)?;
        }
        let error = inputs::error(&found, &expected);
        if error > BOUND {
            let Self { length, rows, .. } = self;
            return Err(format!("{rows} rows at {length} positions: an error of {error:e}").into());
        }
        Ok(error)
    }

    /// Seconds.
    fn time(&self, bench: &Bench<'_>, contexts: &[Context<Cuda>]) -> Result<f64> {
        let device = bench.cuda;
        let queries = inputs::rows(device, &self.inputs.queries, self.rows)?;
        let columns = self.shape.heads * self.shape.head_dim;
        let mut out = device.activations(self.rows, columns)?;
        let took = bench.time(|turn| {
            let context = &contexts[turn % contexts.len()];
            context.attend(device, &queries, self.shape, &mut out)
        })?;
        Ok(took.as_secs_f64())
    }
}

/// Keys and values of which there are so many are in no cache.
const MOST_CACHES: usize = 64;

/// Beside the largest number: weights of positions are rounded to bf16.
const BOUND: f64 = 2e-2;
