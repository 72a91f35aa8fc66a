//! Whole models whose weights are resident: prompts and tokens, a pass each.

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::{Duration, Instant};

use firstlight_device::{Cuda, Device};
use firstlight_model::{DEFAULT_CHUNK_ROWS, Decoder, Group, Settings, Spec, StageOrder};

use super::bench::{self, Bench, Result};
use super::inputs::{Pool, ones};
use super::record::Recorder;
use super::sections::{DECODE, PREFILL};
use super::sizes::Sizes;

type Groups = Vec<Group<<Cuda as Device>::Tensor>>;

pub(crate) fn measure(bench: &Bench<'_>, ordinal: usize, recorder: &mut Recorder) -> Result<()> {
    let (copy, matrix) = (bench.copy_rate()?, bench.matrix_rate()?);
    let sizes = bench.sizes;
    for model in &sizes.models {
        let spec = model.spec();
        let groups = upload(&spec, bench.cuda)?;
        let seconds = prefill(&spec, &groups, sizes, ordinal)?;
        let flop = operations(&spec, sizes.prompt);
        let (rate, limit) = (sizes.prompt as f64 / seconds, sizes.prompt as f64 * matrix / flop);
        recorder.figure("passes", [model.name, PREFILL], rate, Some(limit))?;
        let seconds = decode(&spec, &groups, sizes, ordinal)?;
        let limit = copy / read_by_a_token(&spec) as f64;
        recorder.figure("passes", [model.name, DECODE], 1.0 / seconds, Some(limit))?;
    }
    Ok(())
}

/// Weights that mean nothing, in the shapes of `spec`.
fn upload(spec: &Spec, cuda: &Cuda) -> Result<Groups> {
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

/// What a pass is made with. All that is known here of decoders.
fn decoder(
    spec: &Spec,
    groups: &Groups,
    capacity: usize,
    ordinal: usize,
) -> Result<
    Decoder<
        Cuda,
        impl Iterator<Item = std::result::Result<Group<<Cuda as Device>::Tensor>, Infallible>>,
    >,
> {
    let settings =
        Settings { order: StageOrder::EmbeddingFirst, capacity, chunk_rows: DEFAULT_CHUNK_ROWS };
    let groups = groups.clone().into_iter().map(Ok);
    Ok(Decoder::new(bench::open(ordinal)?, spec.clone(), settings, groups)?)
}

/// Seconds of a prompt: the median of samples. The first pass looks the kernels up, and does not count.
fn prefill(spec: &Spec, groups: &Groups, sizes: &Sizes, ordinal: usize) -> Result<f64> {
    let mut decoder = decoder(spec, groups, sizes.prompt * (1 + sizes.samples), ordinal)?;
    let ids = vec![1; sizes.prompt];
    decoder.forward(&ids)?;
    let mut samples = Vec::new();
    for _ in 0..sizes.samples {
        let begun = Instant::now();
        decoder.forward(&ids)?;
        samples.push(begun.elapsed());
    }
    samples.sort_unstable();
    Ok(samples[samples.len() / 2].as_secs_f64())
}

/// Seconds of a token, behind a prompt; the first does not count.
fn decode(spec: &Spec, groups: &Groups, sizes: &Sizes, ordinal: usize) -> Result<f64> {
    let mut decoder = decoder(spec, groups, sizes.prompt + sizes.decoded + 1, ordinal)?;
    decoder.forward(&vec![1; sizes.prompt])?;
    decoder.forward(&[2])?;
    let begun = Instant::now();
    for _ in 0..sizes.decoded {
        decoder.forward(&[2])?;
    }
    let took: Duration = begun.elapsed();
    Ok(took.as_secs_f64() / sizes.decoded as f64)
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
