//! Whole models whose weights are resident: prompts and tokens, a pass each.

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::{Duration, Instant};
use std::vec;

use firstlight_device::{Cuda, Device, Draw};
use firstlight_model::{DEFAULT_CHUNK_ROWS, Decoder, Group, Sequence, Settings, Spec, StageOrder};

use super::bench::{self, Bench, Result};
use super::inputs::{Pool, ones};
use super::record::Recorder;
use super::sections::{DECODE, PREFILL};
use super::sizes::Sizes;

type DeviceGroup = Group<<Cuda as Device>::Tensor>;

pub(crate) fn measure(bench: &Bench<'_>, ordinal: usize, recorder: &mut Recorder) -> Result<()> {
    let (copy, matrix) = (bench.copy_rate()?, bench.matrix_rate()?);
    let Sizes { prompt, decoded, samples, .. } = *bench.sizes;
    for model in &bench.sizes.models {
        let resident = Resident::new(model.spec(), bench.cuda, ordinal)?;
        let seconds = resident.prefill(prompt, samples)?;
        let flop = operations(&resident.spec, prompt);
        let (rate, limit) = (prompt as f64 / seconds, prompt as f64 * matrix / flop);
        recorder.figure("passes", [model.name, PREFILL], rate, Some(limit))?;
        let seconds = resident.decode(prompt, decoded)?;
        let limit = copy / read_by_a_token(&resident.spec) as f64;
        recorder.figure("passes", [model.name, DECODE], 1.0 / seconds, Some(limit))?;
    }
    Ok(())
}

/// A model whose weights are on the device.
struct Resident {
    spec: Spec,
    groups: Vec<DeviceGroup>,
    ordinal: usize,
}

impl Resident {
    fn new(spec: Spec, cuda: &Cuda, ordinal: usize) -> Result<Self> {
        Ok(Self { groups: upload(&spec, cuda)?, spec, ordinal })
    }

    /// Seconds of a prompt behind as long a one, in which the kernels are looked up: the median of samples.
    fn prefill(&self, prompt: usize, samples: usize) -> Result<f64> {
        let ids = vec![1; prompt];
        let sample = |_| {
            let mut passes = Passes::new(self, 2 * prompt)?;
            passes.forward(&ids)?;
            let begun = Instant::now();
            passes.forward(&ids)?;
            Ok(begun.elapsed())
        };
        let mut samples = (0..samples).map(sample).collect::<Result<Vec<Duration>>>()?;
        samples.sort_unstable();
        Ok(samples[samples.len() / 2].as_secs_f64())
    }

    /// Seconds of a token, behind a prompt; the first does not count.
    fn decode(&self, prompt: usize, tokens: usize) -> Result<f64> {
        let mut passes = Passes::new(self, prompt + 1 + tokens)?;
        passes.forward(&vec![1; prompt])?;
        passes.forward(&[2])?;
        let begun = Instant::now();
        (0..tokens).try_for_each(|_| passes.forward(&[2]))?;
        Ok(begun.elapsed().as_secs_f64() / tokens as f64)
    }
}

/// Passes of one sequence, up to the likeliest token on the host. All that is known here of decoders.
struct Passes {
    decoder: Decoder<Cuda, vec::IntoIter<std::result::Result<DeviceGroup, Infallible>>>,
    sequence: Sequence,
}

impl Passes {
    fn new(resident: &Resident, capacity: usize) -> Result<Self> {
        let settings = Settings {
            order: StageOrder::EmbeddingFirst,
            blocks: Sequence::blocks_for(capacity),
            chunk_rows: DEFAULT_CHUNK_ROWS,
            logits_rows: 1,
        };
        let groups: Vec<_> = resident.groups.iter().cloned().map(Ok).collect();
        let cuda = bench::open(resident.ordinal)?;
        let sequence = Sequence::alone(settings.blocks);
        let decoder = Decoder::new(cuda, resident.spec.clone(), settings, groups.into_iter())?;
        Ok(Self { decoder, sequence })
    }

    fn forward(&mut self, ids: &[u32]) -> Result<()> {
        self.sequence.forward(&mut self.decoder, ids)?;
        self.decoder.draw(&[Some(LIKELIEST)])?;
        Ok(())
    }
}

const LIKELIEST: Draw = Draw { uniform: 0.0, temperature: 0.0, top_k: 0, top_p: 1.0 };

/// Weights that mean nothing, in the shapes of `spec`.
fn upload(spec: &Spec, cuda: &Cuda) -> Result<Vec<DeviceGroup>> {
    let stages = spec.stages(StageOrder::EmbeddingFirst);
    let sizes = stages.iter().flat_map(|stage| &stage.tensors).map(|it| it.shape.iter().product());
    let pool = Pool::new(2 * sizes.max().unwrap_or(1));
    let mut groups = Vec::new();
    for stage in stages {
        let mut tensors = HashMap::new();
        for (number, tensor) in stage.tensors.into_iter().enumerate() {
            let is_norm = tensor.name.ends_with("norm.weight");
            let host =
                if is_norm { ones(tensor.shape[0]) } else { pool.tensor(&tensor.shape, number) };
            tensors.insert(tensor.name, cuda.upload(&host)?);
        }
        groups.push(Group { stage: stage.name, tensors });
    }
    cuda.compute().synchronize()?;
    Ok(groups)
}

/// Two for each weight and row, but the output matrix meets one; attention is not counted.
fn operations(spec: &Spec, rows: usize) -> f64 {
    let table = (spec.vocab_size * spec.hidden_size) as u64;
    let tables = if spec.tie_word_embeddings { table } else { 2 * table };
    2.0 * (rows as f64 * (spec.parameters() - tables) as f64 + table as f64)
}

/// Bytes; of a table that is no output matrix, one row.
fn read_by_a_token(spec: &Spec) -> u64 {
    let table = (spec.vocab_size * spec.hidden_size) as u64;
    let unread = if spec.tie_word_embeddings { 0 } else { table };
    2 * (spec.parameters() - unread)
}
