//! Why a command ended without what was asked for, and how that is said.

use std::io;
use std::sync::Arc;

use crate::memory::Needs;

/// Every crate's errors, as they are, and those of the command line itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Store(#[from] firstlight_store::Error),
    #[error(transparent)]
    Plan(#[from] firstlight_plan::Error),
    #[error(transparent)]
    Load(#[from] firstlight_load::Error),
    #[error(transparent)]
    Device(#[from] firstlight_device::Error),
    #[error(transparent)]
    Generate(#[from] firstlight_generate::Error),
    #[error("text {number}: {source}")]
    Text { number: usize, source: firstlight_generate::Error },
    #[error("{}", with_causes(.0))]
    Model(#[from] firstlight_model::Error),
    #[error("`{location}`: {}", with_causes(.source))]
    Config { location: String, source: firstlight_model::Error },
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error(
        "`{location}` has no config.json: it is not a model's folder\nhint: it must hold the files of a Hugging \
         Face repository, flat: config.json, tokenizer.json, *.safetensors"
    )]
    NoConfig { location: String },
    #[error(
        "`{location}` has no tokenizer.json\nhint: save it with transformers: \
         AutoTokenizer.from_pretrained('IN').save_pretrained('OUT')"
    )]
    NoTokenizer { location: String },
    #[error("`{name}`: {source}")]
    ChatTemplate { name: String, source: firstlight_generate::Error },
    #[error(
        "no model was named: MODEL and STORAGE_URI are not set, and /mnt/models has no config.json\nhint: firstlight \
         serve s3://bucket/prefix"
    )]
    NoModel,
    #[error("{url}: {source}")]
    Unreachable { url: String, source: io::Error },
    #[error("{url}: status {status}: {said}")]
    Unwell { url: String, status: u16, said: String },
    #[error("{0}")]
    Embedder(Arc<firstlight_generate::Error>),
    #[error(
        "there are no texts\nhint: firstlight embed MODEL 'Some text', or give one a line on standard input"
    )]
    NoTexts,
    #[error("the prompt is not UTF-8: {source}")]
    PromptText { source: std::str::Utf8Error },
    #[error("the prompt has more than {limit} bytes")]
    PromptTooLong { limit: u64 },
    #[error(
        "there is no prompt\nhint: firstlight run MODEL 'Once upon a time', or give it on standard input"
    )]
    NoPrompt,
    #[error("`{name}`: a timeline is written as .html, .trace.json or .json")]
    TimelineForm { name: String },
    #[error(
        "the model needs {} bytes of {place}, of which {free_bytes} are free: {needs}\n\
         hint: fewer positions (`--max-tokens`, a shorter prompt, `--kv-cache-memory`), a smaller model, or more memory",
        needs.bytes()
    )]
    Memory { needs: Needs, free_bytes: u64, place: String },
    #[error(
        "keys and values of {positions} positions need {needed_bytes} bytes of memory, {available_bytes} are there for \
         them\nhint: more memory, or a smaller model; --kv-cache-memory says how much to use"
    )]
    KvMemory { positions: usize, needed_bytes: u64, available_bytes: u64 },
    #[error("the engine failed: {}", with_causes(.0))]
    Engine(#[from] Arc<firstlight_generate::Error>),
    #[error(
        "`{name}` has no API key: it is blank\nhint: one key a line, lines that begin with `#` are comments; where \
         neither --api-key nor --api-key-file is given, everybody may ask"
    )]
    NoKeys { name: String },
    #[error(
        "a CPU keeps keys and values in F32, not in {dtype}\nhint: `--kv-cache-dtype auto`, or `--device cuda` where \
         there is a GPU"
    )]
    KvCacheOnCpu { dtype: firstlight_device::DType },
    #[error(transparent)]
    Lambda(#[from] firstlight_serve::lambda::Error),
    #[error(
        "AWS_LAMBDA_RUNTIME_API is set, but {variable} is not\nhint: Lambda sets both; whoever stands in for it must too"
    )]
    NoFunction { variable: &'static str },
    #[error("the thread that opens the GPU could not be started, or it ended early")]
    NoCudaThread,
    #[error("{0}")]
    Usage(String),
    #[error(
        "{failure}\nhint: `{model}` was taken as the model, in place of `{variable}`, which MODEL says: name both, the model \
             and the prompt"
    )]
    PromptAsModel { model: String, variable: String, failure: Box<Self> },
    #[error(
        "--max-model-len is {asked}, and the model was made for {limit} positions\nhint: leave it out, or ask for no more"
    )]
    ContextTooLong { asked: u32, limit: usize },
    #[error("`{name}`: there is no folder `{folder}` to write the timeline to")]
    TimelineFolder { name: String, folder: String },
    #[error("a part of the start ended early: {0}")]
    Task(#[from] tokio::task::JoinError),
    #[cfg(feature = "demo")]
    #[error("{0}")]
    Child(String),
    #[cfg(not(feature = "demo"))]
    #[error(
        "no command was given, and this build has no demo\nhint: firstlight run MODEL 'Once upon a time'"
    )]
    NoCommand,
}

impl Failure {
    /// Names what could not be read or written.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what: what.into(), source }
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}
