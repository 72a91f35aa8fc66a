//! The command line. Every option is also an environment variable, named in its help.
#![expect(clippy::doc_markdown, reason = "these comments are help texts, read on a terminal")]

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use firstlight_device::{DType, Isa, Team};
use firstlight_serve::Origin;
use firstlight_timeline::Rate;

use crate::failure::Failure;
use crate::size::Size;

/// From nothing running to the first token, in about the time that the model's bytes need to cross the wire.
#[derive(Debug, Parser)]
#[command(name = "firstlight", version, max_term_width = 100, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

const AFTER_HELP: &str = "\
MODEL is one of
  s3://bucket/prefix        an S3 bucket; credentials, profile and region as the AWS CLI finds them
  https://host/path/        any server that answers range requests
  hf://owner/name[@rev]     the Hugging Face hub
  path/to/folder            a folder of this machine, mapped into memory

Without a command, `firstlight demo` runs; on AWS Lambda, `firstlight serve`.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show a cold start: an S3 server and a small model inside this process, a fresh process that starts from it
    #[cfg(feature = "demo")]
    Demo(DemoArgs),
    /// One cold start, one answer, streamed to standard output
    Run(RunArgs),
    /// Answer OpenAI's HTTP interface, from the first moment on
    Serve(Box<ServeArgs>),
    /// The embeddings of some texts, one JSON object a line on standard output
    Embed(EmbedArgs),
    /// What a model is, what would be fetched in which order, and how long that takes
    Inspect(InspectArgs),
    /// Ask a server that runs here whether it is well: the health check of a container
    Health(HealthArgs),
}

impl Cli {
    /// As Lambda starts it, without a command: then it serves.
    pub(crate) fn or_function(self) -> Self {
        let is_function = std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_some();
        if self.command.is_none() && is_function {
            return Self::parse_from(["firstlight", "serve"]);
        }
        self
    }
}

impl Command {
    /// What is logged where nothing else is asked for.
    pub(crate) fn log_level(&self) -> LogLevel {
        if matches!(self, Self::Serve(_)) { LogLevel::Info } else { LogLevel::Warn }
    }
}

#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// How the log is written to standard error
    #[arg(long, global = true, value_enum, default_value_t = LogForm::Text, env = "FIRSTLIGHT_LOG")]
    pub(crate) log: LogForm,
    /// What is logged; default: warnings, and of `serve` each request
    #[arg(long, global = true, value_enum, env = "FIRSTLIGHT_LOG_LEVEL")]
    pub(crate) log_level: Option<LogLevel>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogForm {
    /// Lines for people
    Text,
    /// One JSON object a line; errors too
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[cfg(feature = "demo")]
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// The beginning of a story
    #[arg(long, default_value = "Once upon a time", env = "FIRSTLIGHT_DEMO_PROMPT")]
    pub(crate) prompt: String,
    /// The rate of the embedded server's link, for all connections together
    #[arg(long, default_value = "1gbit", value_name = "RATE", env = "FIRSTLIGHT_DEMO_LINK")]
    pub(crate) link: Rate,
    /// How long the server thinks before it answers a request; S3 takes 17 to 30 ms
    #[arg(long, default_value_t = 30, value_name = "MS", env = "FIRSTLIGHT_DEMO_FIRST_BYTE_MS")]
    pub(crate) first_byte_ms: u64,
    /// The rate of one connection; S3 gives 50 to 90 MB/s
    #[arg(
        long,
        default_value = "100MB",
        value_name = "RATE",
        env = "FIRSTLIGHT_DEMO_CONNECTION_RATE"
    )]
    pub(crate) connection_rate: Rate,
    /// Serve the model in this folder instead of the small one that is built in
    #[arg(long, value_name = "FOLDER", env = "FIRSTLIGHT_DEMO_MODEL")]
    pub(crate) model: Option<PathBuf>,
    /// Tokens to generate at most
    #[arg(long, default_value_t = 120, value_name = "N", env = "FIRSTLIGHT_MAX_TOKENS")]
    pub(crate) max_tokens: u32,
    /// The seed of the sampler: the same story each time
    #[arg(long, default_value_t = 7, env = "FIRSTLIGHT_SEED")]
    pub(crate) seed: u64,
    /// Also write the timeline to a file: .html (a page), .trace.json (for Perfetto) or .json (one line)
    #[arg(long, value_name = "FILE", env = "FIRSTLIGHT_TIMELINE")]
    pub(crate) timeline: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Where the model is: s3://…, https://…, hf://… or a folder
    #[arg(env = "MODEL")]
    pub(crate) model: String,
    /// What to go on from; `-` (or nothing, where standard input is no terminal) reads standard input
    #[arg(env = "FIRSTLIGHT_PROMPT")]
    pub(crate) prompt: Option<String>,
    /// The prompt is a user's message, put into the model's chat template
    #[arg(long, env = "FIRSTLIGHT_CHAT")]
    pub(crate) chat: bool,
    /// A system message that stands before the prompt (with --chat)
    #[arg(long, value_name = "TEXT", requires = "chat", env = "FIRSTLIGHT_SYSTEM")]
    pub(crate) system: Option<String>,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    #[command(flatten)]
    pub(crate) report: ReportArgs,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    pub(crate) http: HttpArgs,
    #[command(flatten)]
    pub(crate) function: FunctionArgs,
    #[command(flatten)]
    pub(crate) engine: EngineArgs,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    #[command(flatten)]
    pub(crate) report: ReportArgs,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

/// A function is told where its model is by its platform.
#[derive(Debug, Args)]
pub(crate) struct PlaceArgs {
    /// Where the model is: s3://…, https://…, hf://… or a folder; default: STORAGE_URI, or /mnt/models if a model is there
    #[arg(env = "MODEL")]
    model: Option<String>,
    /// What KServe calls it
    #[arg(long, hide = true, env = "STORAGE_URI")]
    storage_uri: Option<String>,
}

impl PlaceArgs {
    pub(crate) fn model(&self) -> Result<String, Failure> {
        self.or_mounted(Path::new(MOUNTED))
    }

    /// A variable that is set to nothing is as good as none: so templates have it.
    fn or_mounted(&self, folder: &Path) -> Result<String, Failure> {
        let named = self.model.iter().chain(&self.storage_uri).find(|named| !named.is_empty());
        let mounted = || folder.join("config.json").is_file().then(|| folder.display().to_string());
        named.cloned().or_else(mounted).ok_or(Failure::NoModel)
    }
}

/// Where KServe mounts models, and an image holds its own.
const MOUNTED: &str = "/mnt/models";

#[derive(Debug, Args)]
#[command(next_help_heading = "HTTP")]
pub(crate) struct HttpArgs {
    /// The address to listen at
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0", env = "FIRSTLIGHT_HOST")]
    pub(crate) host: String,
    /// The port to listen at; 0 takes any that is free
    #[arg(long, default_value_t = 8000, env = "PORT")]
    pub(crate) port: u16,
    /// What requests call the model; may be repeated. Default: MODEL, and the last part of it
    #[arg(long, value_name = "NAME", env = "FIRSTLIGHT_SERVED_MODEL_NAME")]
    pub(crate) served_model_name: Vec<String>,
    /// When /health/ready says yes
    #[arg(long, value_enum, default_value_t = ReadyWhen::Accepting, env = "FIRSTLIGHT_READY")]
    pub(crate) ready: ReadyWhen,
    /// A key that requests must have: given as FIRSTLIGHT_API_KEY, where other processes do not see it
    #[arg(long, value_name = "KEY", env = "FIRSTLIGHT_API_KEY", hide_env_values = true)]
    pub(crate) api_key: Option<String>,
    /// A file of such keys, one a line
    #[arg(long, value_name = "FILE", env = "FIRSTLIGHT_API_KEY_FILE")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// The pages that may ask from a browser: an origin such as `https://page.example`, or *
    #[arg(long, value_name = "ORIGIN", env = "FIRSTLIGHT_CORS")]
    pub(crate) cors: Option<Origin>,
    /// Leave out the page at /
    #[arg(long, env = "FIRSTLIGHT_NO_UI")]
    pub(crate) no_ui: bool,
    /// Tokens that a request may ask for at most; default: as many as the context holds
    #[arg(long, value_name = "N", env = "FIRSTLIGHT_MAX_ANSWER_TOKENS")]
    pub(crate) max_answer_tokens: Option<NonZero<u32>>,
    /// The longest body of a request
    #[arg(long, value_name = "SIZE", default_value = "2MiB", env = "FIRSTLIGHT_BODY_LIMIT")]
    pub(crate) body_limit: Size,
    /// Connections at once; more wait to be accepted
    #[arg(long, default_value = "1000", value_name = "N", env = "FIRSTLIGHT_CONNECTIONS")]
    pub(crate) connections: NonZero<u16>,
    /// How long a client may take to send a body, and not to read what was sent
    #[arg(long, default_value = "30", value_name = "SECONDS", env = "FIRSTLIGHT_CLIENT_TIMEOUT")]
    pub(crate) client_timeout: NonZero<u32>,
    /// How long a connection may wait for its next request; load balancers should give up first
    #[arg(long, default_value = "75", value_name = "SECONDS", env = "FIRSTLIGHT_KEEP_ALIVE")]
    pub(crate) keep_alive: NonZero<u32>,
    /// After SIGTERM, how long what runs may go on
    #[arg(long, default_value_t = 30, value_name = "SECONDS", env = "FIRSTLIGHT_DRAIN")]
    pub(crate) drain: u32,
    /// End when nobody has asked for anything for so long
    #[arg(long, value_name = "SECONDS", env = "FIRSTLIGHT_IDLE_EXIT")]
    pub(crate) idle_exit: Option<NonZero<u32>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReadyWhen {
    /// As soon as requests are taken: they ride the load
    Accepting,
    /// When the model is loaded
    Loaded,
}

#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// The address that the server listens at
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0", env = "FIRSTLIGHT_HOST")]
    pub(crate) host: String,
    /// The port that it listens at
    #[arg(long, default_value_t = 8000, env = "PORT")]
    pub(crate) port: u16,
    /// Whether it should be kept: its model has not failed
    #[arg(long, conflicts_with = "ready")]
    pub(crate) live: bool,
    /// Whether it should get requests (the default)
    #[arg(long)]
    pub(crate) ready: bool,
    /// How long it may take to answer
    #[arg(long, default_value = "2", value_name = "SECONDS", env = "FIRSTLIGHT_HEALTH_TIMEOUT")]
    pub(crate) timeout: NonZero<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct EmbedArgs {
    /// Where the model is: s3://…, https://…, hf://… or a folder
    #[arg(env = "MODEL")]
    pub(crate) model: String,
    /// The texts; without any, each line of standard input is one
    pub(crate) texts: Vec<String>,
    /// Cut texts that are longer than the model takes
    #[arg(long, env = "FIRSTLIGHT_TRUNCATE")]
    pub(crate) truncate: bool,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    #[command(flatten)]
    pub(crate) report: ReportArgs,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "AWS Lambda (where AWS_LAMBDA_RUNTIME_API is set)")]
pub(crate) struct FunctionArgs {
    /// Set by Lambda: then events are answered instead of connections
    #[arg(long, hide = true, env = "AWS_LAMBDA_RUNTIME_API")]
    pub(crate) runtime_api: Option<String>,
    /// Set by Lambda
    #[arg(long, hide = true, env = "AWS_LAMBDA_FUNCTION_NAME")]
    pub(crate) function_name: Option<String>,
    /// Set by Lambda
    #[arg(long, hide = true, env = "AWS_LAMBDA_FUNCTION_VERSION")]
    pub(crate) function_version: Option<String>,
    /// Set by Lambda, in MiB
    #[arg(long, hide = true, env = "AWS_LAMBDA_FUNCTION_MEMORY_SIZE")]
    pub(crate) function_memory: Option<NonZero<u32>>,
    /// How a function URL or a REST API invokes the function
    #[arg(long, value_enum, ignore_case = true, default_value_t = InvokeMode::Buffered,
          env = "FIRSTLIGHT_INVOKE_MODE")]
    pub(crate) invoke_mode: InvokeMode,
    /// Where answers to the entries of new objects are written
    #[arg(long, value_name = "BUCKET", env = "RESULT_BUCKET")]
    pub(crate) result_bucket: Option<String>,
    /// How the keys of results begin
    #[arg(
        long,
        value_name = "PREFIX",
        default_value = "firstlight-results/",
        env = "RESULT_PREFIX"
    )]
    pub(crate) result_prefix: String,
    /// Where new objects come from, as s3://bucket/prefix: others are refused, and results may not lie there
    #[arg(long, value_name = "PLACE", env = "FIRSTLIGHT_S3_SOURCE")]
    pub(crate) s3_source: Option<S3Place>,
    /// What is asked of the model where an entry is a text
    #[arg(long, value_enum, default_value_t = S3Task::Chat, env = "FIRSTLIGHT_S3_TASK")]
    pub(crate) s3_task: S3Task,
    /// What each text is put into, for {text}
    #[arg(long, value_name = "TEMPLATE", env = "FIRSTLIGHT_S3_TEMPLATE")]
    pub(crate) s3_template: Option<String>,
    /// Fields of each request, such as {"max_tokens": 64}, where an entry does not say otherwise
    #[arg(long, value_name = "JSON", default_value = "{}", env = "FIRSTLIGHT_S3_PARAMS")]
    pub(crate) s3_params: Params,
    /// The longest object that is read
    #[arg(long, value_name = "SIZE", default_value = "8MiB", env = "FIRSTLIGHT_S3_LIMIT")]
    pub(crate) s3_limit: Size,
}

/// As Lambda calls them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum InvokeMode {
    /// Answers are taken whole
    Buffered,
    /// Answers are streamed
    ResponseStream,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum S3Task {
    /// To answer a user's message
    Chat,
    /// To go on
    Completion,
    /// To embed
    Embedding,
}

/// `s3://bucket/prefix`; of the prefix each character counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct S3Place {
    pub(crate) bucket: String,
    pub(crate) prefix: String,
}

impl FromStr for S3Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let place = text.strip_prefix("s3://").unwrap_or_default();
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        if bucket.is_empty() {
            return Err("it is not of the form `s3://bucket/prefix`".to_owned());
        }
        Ok(Self { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

/// The fields of an object of JSON.
#[derive(Clone, Debug)]
pub(crate) struct Params(pub(crate) serde_json::Map<String, serde_json::Value>);

impl FromStr for Params {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        serde_json::from_str(text)
            .map(Self)
            .map_err(|error| format!("it is no JSON object: {error}"))
    }
}

/// What is not given is taken from the model's generation_config.json.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sampling (defaults: the model's generation_config.json)")]
pub(crate) struct SamplingArgs {
    /// Tokens to generate at most
    #[arg(long, value_name = "N", env = "FIRSTLIGHT_MAX_TOKENS")]
    pub(crate) max_tokens: Option<u32>,
    /// 0 takes the likeliest token each time; higher is more varied
    #[arg(long, value_name = "T", env = "FIRSTLIGHT_TEMPERATURE")]
    pub(crate) temperature: Option<f32>,
    /// Sample from the fewest tokens that together have this probability
    #[arg(long, value_name = "P", env = "FIRSTLIGHT_TOP_P")]
    pub(crate) top_p: Option<f32>,
    /// Sample from the K likeliest tokens; 0 from all
    #[arg(long, value_name = "K", env = "FIRSTLIGHT_TOP_K")]
    pub(crate) top_k: Option<u32>,
    /// Leave out tokens that are less likely than P times the likeliest
    #[arg(long, value_name = "P", env = "FIRSTLIGHT_MIN_P")]
    pub(crate) min_p: Option<f32>,
    /// Divide the logits of tokens that have occurred (CTRL, Keskar et al., 2019); 1 is off
    #[arg(long, value_name = "R", env = "FIRSTLIGHT_REPETITION_PENALTY")]
    pub(crate) repetition_penalty: Option<f32>,
    /// Subtract from the logits of tokens that were generated
    #[arg(long, value_name = "A", allow_hyphen_values = true, env = "FIRSTLIGHT_PRESENCE_PENALTY")]
    pub(crate) presence_penalty: Option<f32>,
    /// Subtract from the logits of tokens, as often as they were generated
    #[arg(
        long,
        value_name = "A",
        allow_hyphen_values = true,
        env = "FIRSTLIGHT_FREQUENCY_PENALTY"
    )]
    pub(crate) frequency_penalty: Option<f32>,
    /// The seed of the sampler: the same seed gives the same tokens
    #[arg(long, env = "FIRSTLIGHT_SEED")]
    pub(crate) seed: Option<u64>,
    /// End before this text; may be given more than once
    #[arg(long, value_name = "TEXT", env = "FIRSTLIGHT_STOP")]
    pub(crate) stop: Vec<String>,
    /// Go on past the model's end-of-text tokens
    #[arg(long, env = "FIRSTLIGHT_IGNORE_EOS")]
    pub(crate) ignore_eos: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Machine")]
pub(crate) struct MachineArgs {
    /// Threads that compute, and as many that fetch; default: the processors of this process's affinity and CPU quota
    #[arg(long, value_name = "N", env = "FIRSTLIGHT_THREADS")]
    pub(crate) threads: Option<NonZero<u16>>,
    #[command(flatten)]
    pub(crate) processor: ProcessorArgs,
    /// Pinned memory through which weights go to a GPU; ranges are at most a quarter of it
    #[arg(long, value_name = "SIZE", default_value = "256MiB", env = "FIRSTLIGHT_RING")]
    pub(crate) ring: Size,
    /// Launch each kernel by itself, also in steps that recur: slower, for comparison
    #[arg(long, env = "FIRSTLIGHT_NO_CUDA_GRAPHS")]
    pub(crate) no_cuda_graphs: bool,
    /// Instructions: auto (the fastest), portable, avx2, avx512, or avx512-bf16, which rounds activations to bf16
    #[arg(long, value_name = "NAME", default_value = "auto", env = "FIRSTLIGHT_ISA", value_parser = isa)]
    pub(crate) isa: Isa,
}

impl MachineArgs {
    pub(crate) fn threads(&self) -> NonZero<usize> {
        self.threads.map_or_else(Team::default_threads, NonZero::from)
    }
}

#[derive(Debug, Args)]
pub(crate) struct ProcessorArgs {
    /// What computes: auto (the first GPU of the CUDA driver, where there are both, else the CPU), cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto", env = "FIRSTLIGHT_DEVICE")]
    pub(crate) device: Wanted,
    /// auto looks for a CUDA driver where one of these is; for sandboxes in which a GPU's files have other names
    #[arg(long, value_name = "PATHS", value_delimiter = ',', default_values = GPU_FILES,
          hide_short_help = true, env = "FIRSTLIGHT_GPU_FILES")]
    pub(crate) gpu_files: Vec<PathBuf>,
    /// What keys and values are kept in: auto (on a GPU the 16 bits of the weights, where they have 16), f32, bf16 or f16;
    /// a CPU keeps f32
    #[arg(long, value_enum, value_name = "DTYPE", default_value_t = KvCacheDtype::Auto,
          hide_possible_values = true, env = "FIRSTLIGHT_KV_CACHE_DTYPE")]
    pub(crate) kv_cache_dtype: KvCacheDtype,
}

/// What keys and values shall be kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KvCacheDtype {
    Auto,
    F32,
    Bf16,
    F16,
}

impl KvCacheDtype {
    /// On a GPU, for a model with weights of a type.
    pub(crate) fn on_gpu(self, weights: DType) -> DType {
        match self {
            Self::Auto => weights,
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
            Self::F16 => DType::F16,
        }
    }

    /// On a CPU, if it does.
    pub(crate) fn on_cpu(self) -> Result<DType, Failure> {
        match self {
            Self::Auto | Self::F32 => Ok(DType::F32),
            Self::Bf16 | Self::F16 => Err(Failure::KvCacheOnCpu { dtype: self.on_gpu(DType::F32) }),
        }
    }
}

/// Of NVIDIA's driver, on Linux, Windows' Linux and the Jetsons; a container that may use a GPU has them too.
const GPU_FILES: [&str; 3] = ["/dev/nvidiactl", "/dev/dxg", "/dev/nvmap"];

impl ProcessorArgs {
    /// The number of the GPU to look for, if one is to be looked for: where it was not asked for, the kernel has to show
    /// something of a driver.
    pub(crate) fn ordinal(&self) -> Option<usize> {
        match self.device {
            Wanted::Auto => self.gpu_files.iter().any(|path| path.exists()).then_some(0),
            Wanted::Cpu => None,
            Wanted::Cuda(ordinal) => Some(ordinal),
        }
    }
}

/// The processor that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Auto,
    Cpu,
    /// By its number among those that the driver shows; the first where none was given.
    Cuda(usize),
}

impl Wanted {
    /// Why a GPU computes.
    pub(crate) fn why_cuda(self) -> &'static str {
        if self == Self::Auto { "there is a driver and a device" } else { "asked for" }
    }

    /// Why none is looked for.
    pub(crate) fn why_cpu(self) -> &'static str {
        if self == Self::Cpu { "asked for" } else { "there is no device of an NVIDIA driver" }
    }
}

impl FromStr for Wanted {
    type Err = WantedError;

    fn from_str(text: &str) -> Result<Self, WantedError> {
        let ordinal = |text: &str| match text.strip_prefix("cuda") {
            Some("") => Some(0),
            Some(number) => number.strip_prefix(':')?.parse().ok(),
            None => None,
        };
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            _ => ordinal(text).map(Self::Cuda).ok_or_else(|| WantedError { text: text.to_owned() }),
        }
    }
}

/// Why a text names no processor.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not one of auto, cpu, cuda and cuda:N")]
pub(crate) struct WantedError {
    text: String,
}

fn isa(name: &str) -> Result<Isa, <Isa as FromStr>::Err> {
    if name == "auto" { Ok(Isa::best()) } else { name.parse() }
}

/// Named as vLLM names them, where they mean the same.
#[derive(Debug, Args)]
#[command(next_help_heading = "Many answers at once")]
pub(crate) struct EngineArgs {
    /// Tokens of a prompt and its answer at most; default: what the model was made for
    #[arg(long, value_name = "N", env = "FIRSTLIGHT_MAX_MODEL_LEN")]
    pub(crate) max_model_len: Option<NonZero<u32>>,
    /// Answers that are computed at once
    #[arg(long, default_value = "64", value_name = "N", env = "FIRSTLIGHT_MAX_NUM_SEQS")]
    pub(crate) max_num_seqs: NonZero<u16>,
    /// Rows of a pass over the model: longer prompts are cut, so that the answers beside them go on
    #[arg(
        long,
        default_value = "512",
        value_name = "N",
        env = "FIRSTLIGHT_MAX_NUM_BATCHED_TOKENS"
    )]
    pub(crate) max_num_batched_tokens: NonZero<u32>,
    /// Requests that wait for their turn; more are refused with 429
    #[arg(long, default_value = "256", value_name = "N", env = "FIRSTLIGHT_MAX_WAITING")]
    pub(crate) max_waiting: NonZero<u32>,
    /// Memory for keys and values; default: of a GPU most of what the weights leave, of a machine half of it
    #[arg(long, value_name = "SIZE", env = "FIRSTLIGHT_KV_CACHE_MEMORY")]
    pub(crate) kv_cache_memory: Option<Size>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Report")]
pub(crate) struct ReportArgs {
    /// Write the timeline to a file: .html (a page), .trace.json (for Perfetto) or .json (one line); may be repeated
    #[arg(long, value_name = "FILE", env = "FIRSTLIGHT_TIMELINE")]
    pub(crate) timeline: Vec<PathBuf>,
    /// Draw the timeline to standard error when the answer is complete
    #[arg(long, value_enum, default_value_t = When::Auto, env = "FIRSTLIGHT_WATERFALL")]
    pub(crate) waterfall: When,
    /// What the link can carry, such as 1gbit or 75MB/s: the floor that the start is compared with
    #[arg(long, value_name = "RATE", env = "FIRSTLIGHT_LINK")]
    pub(crate) link: Option<Rate>,
    /// CLOCK_MONOTONIC nanoseconds at which this process was spawned, for a parent that measures
    #[arg(long, hide = true, env = "FIRSTLIGHT_T0_NS")]
    pub(crate) t0_ns: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    /// Where standard error is a terminal
    Auto,
    Always,
    Never,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Reading the model")]
pub(crate) struct StoreArgs {
    /// Ranges of weights in flight at once. S3 gives 50 to 90 MB/s a connection: about one for each 50 MB/s of the link
    #[arg(long, default_value_t = 16, value_name = "N", env = "FIRSTLIGHT_RANGES_IN_FLIGHT",
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) ranges_in_flight: u16,
    /// The longest range, in MiB
    #[arg(long, default_value_t = 8, value_name = "MIB", env = "FIRSTLIGHT_RANGE_MIB",
          value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub(crate) range_mib: u64,
    /// Read no faster than this, all connections together
    #[arg(long, value_name = "RATE", env = "FIRSTLIGHT_BANDWIDTH")]
    pub(crate) bandwidth: Option<Rate>,
    /// A range that yields no byte for this long is asked for again on another connection
    #[arg(long, default_value_t = 3000, value_name = "MS", env = "FIRSTLIGHT_STALL_MS",
          value_parser = clap::value_parser!(u64).range(10..=600_000))]
    pub(crate) stall_ms: u64,
    /// Attempts at a range without a byte of progress before the start fails
    #[arg(long, default_value_t = 5, value_name = "N", env = "FIRSTLIGHT_ATTEMPTS",
          value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) attempts: u32,
    /// Hedged requests, in per cent of all; 0 switches hedging off
    #[arg(long, default_value_t = 3, value_name = "PERCENT", env = "FIRSTLIGHT_HEDGE_PERCENT",
          value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) hedge_percent: u8,
    /// Another S3 than Amazon's, such as http://127.0.0.1:8333 (also AWS_ENDPOINT_URL); path-style addressing
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL_S3")]
    pub(crate) s3_endpoint: Option<String>,
    /// Do not sign requests to S3: public buckets
    #[arg(long, env = "FIRSTLIGHT_S3_ANONYMOUS")]
    pub(crate) s3_anonymous: bool,
    /// The hub's address
    #[arg(long, value_name = "URL", env = "HF_ENDPOINT")]
    pub(crate) hf_endpoint: Option<String>,
    /// The hub's access token: given as HF_TOKEN, where other processes do not see it
    #[arg(long, value_name = "TOKEN", env = "HF_TOKEN", hide_env_values = true)]
    pub(crate) hf_token: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Where the model is: s3://…, https://…, hf://… or a folder
    #[arg(env = "MODEL")]
    pub(crate) model: String,
    /// Write one JSON object
    #[arg(long, env = "FIRSTLIGHT_INSPECT_JSON")]
    pub(crate) json: bool,
    /// List every tensor
    #[arg(long, env = "FIRSTLIGHT_INSPECT_TENSORS")]
    pub(crate) tensors: bool,
    /// List every range of the fetch plan
    #[arg(long, env = "FIRSTLIGHT_INSPECT_FETCHES")]
    pub(crate) fetches: bool,
    #[command(flatten)]
    pub(crate) processor: ProcessorArgs,
    /// Links to predict the cold start for
    #[arg(
        long,
        value_name = "RATE",
        value_delimiter = ',',
        env = "FIRSTLIGHT_LINK",
        default_value = "600mbit,1gbit,5gbit,10gbit,25gbit"
    )]
    pub(crate) link: Vec<Rate>,
    /// What one connection carries, for the prediction
    #[arg(long, default_value = "75MB", value_name = "RATE", env = "FIRSTLIGHT_CONNECTION_RATE")]
    pub(crate) connection_rate: Rate,
    /// How long the store takes to the first byte of an answer, for the prediction
    #[arg(long, default_value_t = 30, value_name = "MS", env = "FIRSTLIGHT_FIRST_BYTE_MS")]
    pub(crate) first_byte_ms: u64,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_is_named_in_one_of_four_ways() {
        assert_eq!("auto".parse(), Ok(Wanted::Auto));
        assert_eq!("cpu".parse(), Ok(Wanted::Cpu));
        assert_eq!("cuda".parse(), Ok(Wanted::Cuda(0)));
        assert_eq!("cuda:3".parse(), Ok(Wanted::Cuda(3)));
        for wrong in ["", "gpu", "cuda:", "cuda3", "cuda:-1", "CPU"] {
            assert!(wrong.parse::<Wanted>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_model_is_where_it_was_named_first_or_where_it_is_mounted() {
        let folder = tempfile::tempdir().unwrap();
        let found = |model: Option<&str>, storage_uri: Option<&str>| {
            let (model, storage_uri) = (model.map(str::to_owned), storage_uri.map(str::to_owned));
            PlaceArgs { model, storage_uri }.or_mounted(folder.path())
        };
        assert_eq!(found(Some("s3://a"), Some("s3://b")).unwrap(), "s3://a");
        assert_eq!(found(None, Some("s3://b")).unwrap(), "s3://b");
        assert_eq!(found(Some(""), Some("s3://b")).unwrap(), "s3://b");
        assert!(matches!(found(Some(""), Some("")), Err(Failure::NoModel)), "an empty folder");
        std::fs::write(folder.path().join("config.json"), "{}").unwrap();
        assert_eq!(found(None, None).unwrap(), folder.path().to_str().unwrap());
        assert_eq!(found(None, Some("s3://b")).unwrap(), "s3://b");
    }

    #[test]
    fn keys_and_values_are_kept_in_what_was_asked_for_or_what_the_weights_are() {
        use KvCacheDtype::{Auto, Bf16, F16, F32};
        let on_gpu = |weights| [Auto, F32, Bf16, F16].map(|wanted| wanted.on_gpu(weights));
        assert_eq!(on_gpu(DType::F16), [DType::F16, DType::F32, DType::BF16, DType::F16]);
        assert_eq!(Auto.on_gpu(DType::F32), DType::F32);
        assert!([Auto, F32].iter().all(|wanted| wanted.on_cpu().is_ok_and(|it| it == DType::F32)));
        assert!(Bf16.on_cpu().unwrap_err().to_string().starts_with(
            "a CPU keeps keys and values in F32, not in BF16\nhint: `--kv-cache-dtype auto`"
        ));
        assert!(F16.on_cpu().is_err());
    }
}
