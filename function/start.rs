//! Everything that a cold start does at once.
//!
//! config.json is asked for before anything else is begun, then the heads of the shards and the other small files; the
//! connections that the ranges will use are opened behind those requests, and the tokenizer is parsed on a thread of
//! its own while they are answered. As soon as config.json and the heads are there, and it is known what computes, the
//! plan is made, and the weights begin to stream: they do not wait for the tokenizer.

use std::fs;
use std::num::NonZero;
use std::path::Path;
use std::time::Duration;

use firstlight_device::DType;
use firstlight_generate::{ChatTemplate, Error as TextError, GenerationConfig, Tokenizer};
use firstlight_load::{Checkpoint, Layer, Layers, SUPPORTED};
use firstlight_model::{
    DEFAULT_CHUNK_ROWS, Error as ModelError, Extent, Footprint, Group, MAX_CONFIG_BYTES, Spec,
    Stage as ModelStage, StageOrder,
};
use firstlight_plan::{Limits as PlanLimits, Plan, Stage, Want};
use firstlight_store::{Error as StoreError, Limits, Location, Reader, Settings, connect};
use firstlight_timeline::{Counter, Lane, Mark, Timeline};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::args::StoreArgs;
use crate::failure::Failure;
use crate::memory::Needs;
use crate::processor::{Chosen, Opening, Processor, Source, TensorOf};

/// The largest tokenizer.json of published models has 34 MB.
const TOKENIZER_LIMIT_BYTES: u64 = 128 << 20;
/// `tokenizer_config.json` repeats every added token; the largest published have 10 MB.
pub(crate) const SMALL_LIMIT_BYTES: u64 = 32 << 20;
/// From here on the embedding table is worth leaving for last: below, it is a range or two.
const TABLE_WORTH_BYTES: u64 = 16 << 20;
/// The longest prompt whose rows are fetched singly: a few hundred requests at most, in the shadow of the first layers.
const ROWS_PROMPT_BYTES: usize = 1024;
/// The requests that a start begins with, which open connections of their own.
const FIRST_REQUESTS: usize = 7;
/// How long those have the processors to themselves. Opened at once, nine more connections kept the first request from
/// a near server for 1.2 of its 5.5 ms; a far server's first answer, and with it the plan, takes ten times as long as
/// this.
const WARM_AFTER: Duration = Duration::from_millis(2);

/// A model that can be planned.
pub(crate) struct Ready<S = Spec> {
    pub(crate) known: Known<S>,
    pub(crate) tokenizer: JoinHandle<Result<Tokenizer, Failure>>,
    pub(crate) texts: JoinHandle<Result<Texts, Failure>>,
}

/// Weights that are being loaded.
pub(crate) struct Begun<T> {
    pub(crate) order: StageOrder,
    pub(crate) plan_limits: PlanLimits,
    /// What the ranges of the weights bring; nothing where they are files of this machine.
    pub(crate) fetched_bytes: Option<u64>,
    /// What of the memory was foreseen.
    pub(crate) needs: Needs,
    pub(crate) layers: Layers<T>,
}

/// The small files that say how to speak to the model.
pub(crate) struct Texts {
    pub(crate) generation: GenerationConfig,
    /// A model without one, or with one that is wrong, can still go on with texts.
    pub(crate) template: Result<ChatTemplate, TextError>,
}

/// What is known of a model before any of its weights is fetched.
pub(crate) struct Known<S = Spec> {
    pub(crate) reader: Reader,
    pub(crate) location: Location,
    pub(crate) config: Vec<u8>,
    pub(crate) spec: S,
    pub(crate) checkpoint: Checkpoint,
}

impl Known {
    /// What the weights are made of: the first that a pass needs. Of a model without it the plan says so.
    pub(crate) fn dtype(&self) -> DType {
        dtype(&self.spec, &self.checkpoint)
    }
}

/// What the weights of a decoder are made of.
pub(crate) fn dtype(spec: &Spec, checkpoint: &Checkpoint) -> DType {
    checkpoint.dtype(spec.embedding_name()).unwrap_or(DType::F32)
}

/// The runtime of everything that waits. The caller's thread is the one that computes.
pub(crate) fn runtime(threads: NonZero<usize>) -> Result<Runtime, Failure> {
    let mut builder = Builder::new_multi_thread();
    let runtime = builder.worker_threads(threads.get()).thread_name("io").enable_all().build();
    runtime.map_err(Failure::io("starting the I/O threads"))
}

/// The chat template of a user, which takes the place of the model's.
pub(crate) fn chat_template(path: Option<&Path>) -> Result<Option<Vec<u8>>, Failure> {
    let Some(path) = path else { return Ok(None) };
    let name = path.display().to_string();
    let template = fs::read(path).map_err(Failure::io(name.as_str()))?;
    match ChatTemplate::parse(None, Some(&template)) {
        Ok(_) => Ok(Some(template)),
        Err(source) => Err(Failure::ChatTemplate { name, source }),
    }
}

/// Reads what a plan needs, config.json by `parse`, and begins to read the rest. A `template` takes the place of the
/// model's.
pub(crate) async fn read<S>(
    model: &str,
    args: &StoreArgs,
    template: Option<Vec<u8>>,
    parse: fn(&[u8]) -> Result<S, ModelError>,
    timeline: &Timeline,
) -> Result<Ready<S>, Failure> {
    timeline.mark(Mark::RuntimeUp);
    let (location, reader) = open_store(model, args, timeline).await?;
    let connections = warm_connections(&location, args);
    // A future is begun when it is polled: behind the request for config.json.
    let behind = async { read_the_rest(reader.clone(), connections, timeline.clone()) };
    let model = read_model(location, reader.clone(), parse, timeline);
    let (known, (tokenizer, extras)) = tokio::join!(biased; model, behind);
    let known = known?;
    let config = known.config.clone();
    let texts = tokio::spawn(async move { texts(extras, template, &config).await });
    Ok(Ready { known, tokenizer, texts })
}

/// [`read`], and what computes, which is opened meanwhile.
pub(crate) async fn read_and_choose(
    model: &str,
    args: &StoreArgs,
    template: Option<Vec<u8>>,
    opening: Opening,
    timeline: &Timeline,
) -> Result<(Ready, Chosen), Failure> {
    let cache = opening.cache;
    let reading = read(model, args, template, Spec::parse, timeline);
    let (ready, chosen) = tokio::try_join!(reading, opening.chosen(timeline))?;
    timeline.describe("architecture", ready.known.spec.architecture);
    let chosen = chosen.keeping(cache, ready.known.dtype())?;
    Ok((ready, chosen))
}

/// What is known of the answers before any weight is there.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Foreseen {
    /// One, to a prompt of so many bytes.
    Answer { prompt_bytes: usize, tokens: usize },
    /// Any number, `logits_rows` of them at once, in passes of so many rows at most. At least so many positions are
    /// kept for them.
    Requests { rows: usize, logits_rows: usize, positions: usize },
}

impl Foreseen {
    /// What a decoder of `spec` keeps for it: at most for an answer, at least for requests. A token of a prompt is a
    /// byte of it at least; what a chat template adds is not known yet, and is less than a prompt has more bytes than
    /// tokens.
    fn footprint(self, spec: &Spec) -> Footprint {
        let (positions, rows, logits_rows) = match self {
            Self::Answer { prompt_bytes, tokens } => {
                let most = prompt_bytes.saturating_add(tokens);
                let positions = most.clamp(1, spec.max_position_embeddings);
                (positions, prompt_bytes.min(positions), 1)
            }
            Self::Requests { rows, logits_rows, positions } => (positions, rows, logits_rows),
        };
        let chunk_rows = DEFAULT_CHUNK_ROWS;
        Footprint::new(spec, Extent { positions, rows, chunk_rows, logits_rows })
    }

    /// Whether the table may come last: the rows of a short prompt can be fetched singly. Requests that wake a server
    /// are mostly short; of long ones, rows are fetched with what lies between them.
    fn leaves_the_table(self) -> bool {
        match self {
            Self::Answer { prompt_bytes, .. } => prompt_bytes <= ROWS_PROMPT_BYTES,
            Self::Requests { .. } => true,
        }
    }
}

/// Begins to load the weights for what is `foreseen`, by tasks of the current runtime, if there is memory for all of
/// it.
pub(crate) fn stream<P: Processor>(
    processor: &P,
    known: &Known,
    args: &StoreArgs,
    foreseen: Foreseen,
    timeline: &Timeline,
) -> Result<Begun<TensorOf<P>>, Failure> {
    let Known { reader, location, spec, checkpoint, .. } = known;
    let order = order(location, spec, checkpoint, foreseen);
    let plan_limits = processor.plan_limits(plan_limits(args));
    let planning = timeline.span(Lane::Verify, "plan");
    let plan = Plan::new(&checkpoint.manifest, &stages(spec, order), &plan_limits)?;
    planning.end();
    timeline.mark(Mark::Planned);
    timeline.count(Counter::WeightBytes, needed_bytes(&plan, order));
    tell_of_unused(&spec.leftover(unused(&plan, checkpoint))?);
    let needs = processor.check_memory(location, &plan, &foreseen.footprint(spec))?;
    let remote = !matches!(location, Location::Folder { .. });
    let fetched_bytes = remote.then(|| plan.fetched_bytes());
    let layers = processor.layers(&Source { reader, checkpoint }, plan, timeline)?;
    Ok(Begun { order, plan_limits, fetched_bytes, needs, layers })
}

/// The names of the tensors that a plan leaves out.
pub(crate) fn unused<'a>(plan: &Plan, from: &'a Checkpoint) -> impl Iterator<Item = &'a str> {
    plan.unused(&from.manifest).map(|(_, entry)| entry.name.as_str())
}

/// Warns of tensors for which there must have been a reason.
pub(crate) fn tell_of_unused(names: &[&str]) {
    if let Some(first) = names.first() {
        let count = names.len();
        tracing::warn!(
            "{count} tensors of the checkpoint are not used, such as `{first}`: `firstlight inspect` lists them"
        );
    }
}

/// What was loaded, as a model takes it.
pub(crate) fn group<T>(layer: Layer<T>) -> Group<T> {
    Group { stage: layer.stage, tensors: layer.tensors }
}

/// The stages of `spec` as a plan wants them.
pub(crate) fn stages(spec: &Spec, order: StageOrder) -> Vec<Stage> {
    wanted(spec.stages(order))
}

/// The stages of a model as a plan wants them.
pub(crate) fn wanted(stages: Vec<ModelStage>) -> Vec<Stage> {
    let stages = stages.into_iter().map(|stage| Stage {
        name: stage.name,
        tensors: stage
            .tensors
            .into_iter()
            .map(|tensor| Want { name: tensor.name, shape: shape(&tensor.shape) })
            .collect(),
    });
    stages.collect()
}

/// A shape as plans write it.
pub(crate) fn shape(shape: &[usize]) -> Vec<u64> {
    shape.iter().map(|size| *size as u64).collect()
}

/// The limits of a plan for these options.
pub(crate) fn plan_limits(args: &StoreArgs) -> PlanLimits {
    PlanLimits {
        range_bytes: args.range_mib << 20,
        ramp: args.ranges_in_flight.into(),
        ..PlanLimits::new(SUPPORTED)
    }
}

/// Where the first layer's input comes from: the table is left for last where it is large and remote, and the first
/// token may come before.
pub(crate) fn order(
    location: &Location,
    spec: &Spec,
    checkpoint: &Checkpoint,
    foreseen: Foreseen,
) -> StageOrder {
    let table = checkpoint.manifest.get(spec.embedding_name());
    let table_bytes = table.map_or(0, |(_, entry)| entry.bytes());
    let remote = !matches!(location, Location::Folder { .. });
    if remote && table_bytes >= TABLE_WORTH_BYTES && foreseen.leaves_the_table() {
        StageOrder::LayersFirst
    } else {
        StageOrder::EmbeddingFirst
    }
}

/// The bytes that the first token needs: of an untied model, whose embedding table comes last, all but that.
pub(crate) fn needed_bytes(plan: &Plan, order: StageOrder) -> u64 {
    let mut stages: &[_] = &plan.stages;
    if let (StageOrder::LayersFirst, [before @ .., last]) = (order, stages)
        && last.name == "embeddings"
    {
        stages = before;
    }
    stages.iter().map(|stage| stage.bytes).sum()
}

pub(crate) async fn open_store(
    model: &str,
    args: &StoreArgs,
    timeline: &Timeline,
) -> Result<(Location, Reader), Failure> {
    let location: Location = model.parse()?;
    timeline.describe("location", location.to_string());
    timeline.describe("version", env!("CARGO_PKG_VERSION"));
    let client = timeline.span(Lane::Boot, "client");
    let store = connect(&location, &settings(args)).await?;
    client.end();
    let reader = Reader::new(store, limits(args), timeline.clone());
    Ok((location, reader))
}

pub(crate) async fn read_model<S>(
    location: Location,
    reader: Reader,
    parse: fn(&[u8]) -> Result<S, ModelError>,
    timeline: &Timeline,
) -> Result<Known<S>, Failure> {
    let config = reader.whole("config.json", MAX_CONFIG_BYTES as u64);
    let (config, heads) = tokio::join!(biased; config, read_heads(&reader, timeline));
    let config = match config {
        Err(StoreError::NotFound { .. }) => {
            return Err(Failure::NoConfig { location: location.to_string() });
        }
        config => config?,
    };
    let spec = parse(&config)
        .map_err(|source| Failure::Config { location: reader.locate("config.json"), source })?;
    timeline.mark(Mark::ConfigRead);
    let checkpoint = heads?;
    Ok(Known { reader, location, config, spec, checkpoint })
}

/// The heads of the shards, read beside whoever waits for them: a failure to read config.json is told first.
async fn read_heads(reader: &Reader, timeline: &Timeline) -> Result<Checkpoint, Failure> {
    let (reader, timeline) = (reader.clone(), timeline.clone());
    let heads = tokio::spawn(async move { Checkpoint::open(&reader, &timeline).await });
    Ok(heads.await??)
}

/// The connections to open ahead of the ranges. The hub's ranges come from elsewhere: connections to the hub itself are
/// of no use to them.
fn warm_connections(location: &Location, args: &StoreArgs) -> usize {
    match location {
        Location::S3 { .. } | Location::Http { .. } => {
            usize::from(args.ranges_in_flight).saturating_sub(FIRST_REQUESTS)
        }
        Location::Hub { .. } | Location::Folder { .. } => 0,
    }
}

/// What a start reads besides the model itself.
type Rest = (JoinHandle<Result<Tokenizer, Failure>>, JoinHandle<Result<Extras, StoreError>>);

/// Begins to read the rest.
fn read_the_rest(reader: Reader, connections: usize, timeline: Timeline) -> Rest {
    let tokenizer = tokio::spawn(read_tokenizer(reader.clone(), timeline.clone()));
    let extras = tokio::spawn(read_extras(reader.clone()));
    tokio::spawn(async move {
        sleep(WARM_AFTER).await;
        // Ranges that are asked for already open their own.
        if timeline.marked(Mark::Planned).is_none() {
            reader.warm("config.json", connections);
        }
    });
    (tokenizer, extras)
}

pub(crate) async fn read_tokenizer(
    reader: Reader,
    timeline: Timeline,
) -> Result<Tokenizer, Failure> {
    let json = match reader.whole("tokenizer.json", TOKENIZER_LIMIT_BYTES).await {
        Err(StoreError::NotFound { .. }) => {
            let location = reader.locate("").trim_end_matches('/').to_owned();
            return Err(Failure::NoTokenizer { location });
        }
        json => json?,
    };
    let parsing = tokio::task::spawn_blocking(move || {
        let _span = timeline.span(Lane::Boot, "tokenizer").bytes(json.len() as u64);
        let tokenizer = Tokenizer::parse(&json);
        timeline.mark(Mark::TokenizerReady);
        tokenizer
    });
    Ok(parsing.await??)
}

/// The optional files, each where it is there: `generation_config.json`, `tokenizer_config.json` and
/// `chat_template.jinja`.
pub(crate) type Extras = [Option<Vec<u8>>; 3];

pub(crate) async fn read_extras(reader: Reader) -> Result<Extras, StoreError> {
    let (generation, tokenizer, chat) = tokio::try_join!(
        reader.optional("generation_config.json", SMALL_LIMIT_BYTES),
        reader.optional("tokenizer_config.json", SMALL_LIMIT_BYTES),
        reader.optional("chat_template.jinja", SMALL_LIMIT_BYTES),
    )?;
    Ok([generation, tokenizer, chat])
}

pub(crate) async fn texts(
    extras: JoinHandle<Result<Extras, StoreError>>,
    template: Option<Vec<u8>>,
    config: &[u8],
) -> Result<Texts, Failure> {
    let [generation, tokenizer_config, chat_template] = extras.await??;
    let chat_template = template.or(chat_template);
    let generation = GenerationConfig::parse(generation.as_deref(), config)?;
    let template = ChatTemplate::parse(tokenizer_config.as_deref(), chat_template.as_deref());
    match template {
        // The file is damaged, and with it what is known of the model's special tokens.
        Err(error @ TextError::Json { .. }) => Err(error.into()),
        template => Ok(Texts { generation, template }),
    }
}

/// Where stores are, and how to ask them.
pub(crate) fn settings(args: &StoreArgs) -> Settings {
    Settings {
        s3_endpoint: args.s3_endpoint.clone(),
        s3_anonymous: args.s3_anonymous,
        s3_keys: None,
        hub_endpoint: args.hf_endpoint.clone(),
        hub_token: args.hf_token.clone(),
    }
}

fn limits(args: &StoreArgs) -> Limits {
    Limits {
        in_flight: args.ranges_in_flight.into(),
        bandwidth_bytes_per_s: args.bandwidth.map(firstlight_timeline::Rate::bytes_per_s),
        stall: Duration::from_millis(args.stall_ms),
        attempts: args.attempts,
        hedge_share: f64::from(args.hedge_percent) / 100.0,
    }
}
