//! The command line. Every option is also an environment variable, named in its help.
#![expect(clippy::doc_markdown, reason = "these comments are help texts, read on a terminal")]

#[cfg(feature = "demo")]
mod demo;
mod engine;
mod function;
mod http;
mod machine;
mod place;
mod processor;
mod report;
mod sampling;
mod store;

use std::num::NonZero;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use firstlight_timeline::Rate;

#[cfg(feature = "demo")]
pub(crate) use demo::DemoArgs;
pub(crate) use engine::EngineArgs;
pub(crate) use function::{FunctionArgs, InvokeMode, S3Place, S3Task};
pub(crate) use http::{HttpArgs, ReadyWhen};
pub(crate) use machine::MachineArgs;
pub(crate) use place::PlaceArgs;
pub(crate) use processor::{KvCacheDtype, ProcessorArgs, Wanted};
pub(crate) use report::{ReportArgs, When};
pub(crate) use sampling::SamplingArgs;
pub(crate) use store::StoreArgs;

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

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Where the model is: s3://…, https://…, hf://… or a folder
    #[arg(env = "MODEL")]
    pub(crate) model: String,
    /// What `MODEL` says where the command line names another one
    #[arg(long, hide = true, env = "MODEL")]
    pub(crate) model_variable: Option<String>,
    /// What to go on from; `-` (or nothing, where standard input is no terminal) reads standard input
    #[arg(env = "FIRSTLIGHT_PROMPT")]
    pub(crate) prompt: Option<String>,
    /// The prompt is a user's message, put into the model's chat template
    #[arg(long, env = "FIRSTLIGHT_CHAT")]
    pub(crate) chat: bool,
    /// A system message that stands before the prompt (with --chat)
    #[arg(long, value_name = "TEXT", requires = "chat", env = "FIRSTLIGHT_SYSTEM")]
    pub(crate) system: Option<String>,
    /// A chat template, in place of the model's (with --chat)
    #[arg(long, value_name = "FILE", requires = "chat", env = "FIRSTLIGHT_CHAT_TEMPLATE")]
    pub(crate) chat_template: Option<PathBuf>,
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
    /// A chat template, in place of the model's
    #[arg(long, value_name = "FILE", env = "FIRSTLIGHT_CHAT_TEMPLATE")]
    pub(crate) chat_template: Option<PathBuf>,
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
