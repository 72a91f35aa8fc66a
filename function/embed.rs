//! The embeddings of some texts.
//!
//! An encoder starts as a decoder does: its weights are planned as soon as config.json and the heads of the shards are
//! there, and the texts ride the load, layer by layer.

use std::io::{ErrorKind, IsTerminal, Read, Write, stdin, stdout};
use std::sync::mpsc::channel;
use std::time::Duration;

use firstlight_device::Device;
use firstlight_generate::embed::{Embedder, Job, Limits, Out, Worker};
use firstlight_generate::engine::{Cancelled, Refusal};
use firstlight_generate::{Error as TextError, Tokenizer};
use firstlight_load::{Layers, Stamps};
use firstlight_model::{
    Embeds, Encoder, EncoderSettings, EncoderSpec, Footprint, Names, Sentence, SentenceFiles,
};
use firstlight_plan::Plan;
use firstlight_store::Reader;
use firstlight_timeline::{Counter, Lane, Mark, Timeline};
use serde::Serialize;
use tokio::runtime::{Handle, Runtime};
use tokio::task::JoinHandle;

use crate::args::{EmbedArgs, StoreArgs};
use crate::failure::Failure;
use crate::memory::Needs;
use crate::processor::{Chosen, Opening, Processor, Source, TensorOf};
use crate::report;
use crate::start::{self, Known, SMALL_LIMIT_BYTES};

/// Starts the model, and writes the embedding of each text on standard output.
pub(crate) fn embed(args: &EmbedArgs, timeline: &Timeline) -> Result<(), Failure> {
    report::begin(timeline, &args.report)?;
    let texts = if args.texts.is_empty() { lines()? } else { args.texts.clone() };
    let threads = args.machine.threads();
    let opening = Opening::begin(&args.machine, threads, &args.store, timeline);
    let runtime = start::runtime(threads)?;
    let done = run(args, &texts, &runtime, opening, timeline);
    runtime.shutdown_background();
    report::tell(timeline, &args.report, done)
}

fn run(
    args: &EmbedArgs,
    texts: &[String],
    runtime: &Runtime,
    opening: Opening,
    timeline: &Timeline,
) -> Result<(), Failure> {
    let reading = read(&args.model, &args.store, timeline);
    let chosen = opening.chosen(timeline);
    let (ready, chosen) = runtime.block_on(async { tokio::try_join!(reading, chosen) })?;
    let _guard = runtime.enter();
    match chosen {
        Chosen::Cpu(cpu) => ready.write(cpu, args, texts, runtime.handle(), timeline),
        Chosen::Gpu(gpu) => ready.write(*gpu, args, texts, runtime.handle(), timeline),
    }
}

/// An encoder that can be planned.
pub(crate) struct Ready {
    pub(crate) known: Known<EncoderSpec>,
    pub(crate) sentence: Sentence,
    pub(crate) tokenizer: JoinHandle<Result<Tokenizer, Failure>>,
}

/// Weights that are being loaded, and who waits for them.
pub(crate) struct Begun<T> {
    pub(crate) embedder: Embedder,
    pub(crate) worker: Worker,
    pub(crate) weights: Weights<T>,
    pub(crate) needs: Needs,
}

/// An encoder without a device.
pub(crate) struct Weights<T> {
    spec: EncoderSpec,
    settings: EncoderSettings,
    layers: Layers<T>,
}

/// Reads what a plan needs, and what says how the model's rows become embeddings.
async fn read(model: &str, args: &StoreArgs, timeline: &Timeline) -> Result<Ready, Failure> {
    timeline.mark(Mark::RuntimeUp);
    let (location, reader) = start::open_store(model, args, timeline).await?;
    let tokenizer = tokio::spawn(start::read_tokenizer(reader.clone(), timeline.clone()));
    let sentence = tokio::spawn(read_sentence(reader.clone()));
    let known = start::read_model(location, reader, EncoderSpec::parse, timeline).await?;
    timeline.describe("architecture", known.spec.architecture);
    Ok(Ready { known, sentence: sentence.await??, tokenizer })
}

/// The files of sentence-transformers, each where it is there.
pub(crate) async fn read_sentence(reader: Reader) -> Result<Sentence, Failure> {
    let (modules, pooling, transformer) = tokio::try_join!(
        reader.optional("modules.json", SMALL_LIMIT_BYTES),
        reader.optional("1_Pooling/config.json", SMALL_LIMIT_BYTES),
        reader.optional("sentence_bert_config.json", SMALL_LIMIT_BYTES),
    )?;
    Ok(Sentence::parse(SentenceFiles {
        modules: modules.as_deref(),
        pooling: pooling.as_deref(),
        transformer: transformer.as_deref(),
    })?)
}

impl Ready {
    /// Begins to load the weights, by tasks of the current runtime; texts can be queued from then on.
    pub(crate) fn begin<P: Processor>(
        self,
        processor: &P,
        args: &StoreArgs,
        io: &Handle,
        timeline: &Timeline,
    ) -> Result<Begun<TensorOf<P>>, Failure> {
        let Self { known, sentence, tokenizer } = self;
        let settings = settings(&known, sentence, processor.encoder_rows());
        let (layers, needs) = stream(processor, &known, settings, args, timeline)?;
        let limits = limits(&known.spec, sentence);
        let (embedder, worker) = Embedder::new(io.block_on(tokenizer)??, limits);
        let weights = Weights { spec: known.spec, settings, layers };
        Ok(Begun { embedder, worker, weights, needs })
    }

    fn write<P: Processor>(
        self,
        processor: P,
        args: &EmbedArgs,
        texts: &[String],
        io: &Handle,
        timeline: &Timeline,
    ) -> Result<(), Failure> {
        let Begun { embedder, worker, weights, .. } =
            self.begin(&processor, &args.store, io, timeline)?;
        let encode = |(number, text): (usize, &String)| {
            let ids = embedder.encode(text, args.truncate);
            ids.map_err(|source| Failure::Text { number: number + 1, source })
        };
        let texts = texts.iter().enumerate().map(encode).collect::<Result<Vec<_>, _>>()?;
        timeline.mark(Mark::PromptEncoded);
        let tokens: Vec<_> = texts.iter().map(Vec::len).collect();
        timeline.count(Counter::PromptTokens, tokens.iter().sum::<usize>() as u64);
        let (sender, answer) = channel();
        let clock = timeline.clone();
        let out: Out = Box::new(move |vectors| {
            // What a token is to who asks for text.
            clock.mark(Mark::FirstToken);
            drop(sender.send(vectors));
        });
        embedder.submit(Job { texts, cancelled: Cancelled::default(), out })?;
        embedder.stop(Duration::MAX);
        processor.compute(|device| worker.run(weights.on(device)?).map_err(Failure::Embedder))?;
        let answer = answer.recv().expect("a worker that ran told of the job");
        let embeddings = answer.map_err(Failure::Embedder)?;
        write(tokens.into_iter().zip(embeddings.vectors))
    }
}

impl<T> Weights<T> {
    /// The files that are used where they lie.
    pub(crate) fn stamps(&self) -> Stamps {
        self.layers.stamps()
    }

    /// The model, whose weights are on their way to `device`.
    pub(crate) fn on<D: Device<Tensor = T>>(
        self,
        device: D,
    ) -> Result<impl Embeds + use<D, T>, Failure> {
        let Self { spec, settings, layers } = self;
        let groups = layers.map(|layer| layer.map(start::group));
        Ok(Encoder::new(device, spec, settings, groups)?)
    }
}

/// What an embedder of such a model takes.
fn limits(spec: &EncoderSpec, sentence: Sentence) -> Limits {
    Limits {
        max_tokens: sentence.max_tokens(spec),
        vocabulary_size: spec.vocab_size,
        lower_case: sentence.lower_case,
        max_waiting: MAX_WAITING,
    }
}

/// How an encoder is made for passes of `rows` rows, or of the longest text where that has more.
fn settings(known: &Known<EncoderSpec>, sentence: Sentence, rows: usize) -> EncoderSettings {
    let max_rows = rows.max(sentence.max_tokens(&known.spec));
    EncoderSettings {
        names: Names::find(|name| known.checkpoint.manifest.get(name).is_some()),
        sentence,
        max_rows,
        max_texts: (max_rows / SHORT_TEXT_TOKENS).max(1),
    }
}

/// Begins to load the weights, by tasks of the current runtime, if there is memory for all of it.
fn stream<P: Processor>(
    processor: &P,
    known: &Known<EncoderSpec>,
    settings: EncoderSettings,
    args: &StoreArgs,
    timeline: &Timeline,
) -> Result<(Layers<TensorOf<P>>, Needs), Failure> {
    let Known { reader, location, spec, checkpoint, .. } = known;
    let planning = timeline.span(Lane::Verify, "plan");
    let stages = start::wanted(spec.stages(settings.names));
    let limits = processor.plan_limits(start::plan_limits(args));
    let plan = Plan::new(&checkpoint.manifest, &stages, &limits)?;
    planning.end();
    timeline.mark(Mark::Planned);
    timeline.count(Counter::WeightBytes, plan.stages.iter().map(|stage| stage.bytes).sum());
    start::tell_of_unused(&spec.leftover(settings.names, start::unused(&plan, checkpoint))?);
    let kept = Footprint::of_encoder(spec, settings.max_rows, settings.max_texts);
    let needs = processor.check_memory(location, &plan, &kept)?;
    let layers = processor.layers(&Source { reader, checkpoint }, plan, timeline)?;
    Ok((layers, needs))
}

fn lines() -> Result<Vec<String>, Failure> {
    if stdin().is_terminal() {
        return Err(Failure::NoTexts);
    }
    let mut bytes = Vec::new();
    let read = stdin().lock().take(INPUT_LIMIT_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(Failure::io("standard input"))?;
    if bytes.len() as u64 > INPUT_LIMIT_BYTES {
        return Err(Failure::PromptTooLong { limit: INPUT_LIMIT_BYTES });
    }
    let text = String::from_utf8(bytes)
        .map_err(|error| Failure::PromptText { source: error.utf8_error() })?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// What is written of a text.
#[derive(Serialize)]
struct Line {
    index: usize,
    tokens: usize,
    embedding: Vec<f32>,
}

/// A line for each text.
fn write(embeddings: impl Iterator<Item = (usize, Vec<f32>)>) -> Result<(), Failure> {
    let mut text = String::new();
    for (index, (tokens, embedding)) in embeddings.enumerate() {
        let line = Line { index, tokens, embedding };
        text += &serde_json::to_string(&line).expect("string keys, numbers");
        text.push('\n');
    }
    match stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::io("standard output")(error))
        }
        _ => Ok(()),
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Prompt(error) | Refusal::Failed(error) => Self::Embedder(error),
            Refusal::Stopping | Refusal::QueueFull { .. } => {
                Self::Embedder(TextError::EngineStopped.into())
            }
        }
    }
}

/// A query is about so long: that many texts fit a pass. Each text more would take a block of the cache.
const SHORT_TEXT_TOKENS: usize = 8;

/// Jobs that may wait.
const MAX_WAITING: usize = 1024;

/// As the longest prompt.
const INPUT_LIMIT_BYTES: u64 = 16 << 20;
