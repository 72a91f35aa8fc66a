//! What `serve` is asked over HTTP, and by whom.

use std::num::NonZero;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use firstlight_serve::Origin;

use crate::size::Size;

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
    #[arg(long, value_name = "NAME", env = "FIRSTLIGHT_SERVED_MODEL_NAME", value_parser = name)]
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
    /// Connections at once; for one more, the one is closed that is idle for longest
    #[arg(long, default_value = "1000", value_name = "N", env = "FIRSTLIGHT_CONNECTIONS")]
    pub(crate) connections: NonZero<u16>,
    /// How long a client may take to send a head or a body, and not to read what was sent
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
    /// End, with a code that is not 0, when the model cannot be loaded or fails; default: go on, and say why to who asks
    #[arg(long, env = "FIRSTLIGHT_EXIT_ON_FAILURE")]
    pub(crate) exit_on_failure: bool,
}

/// What can be called.
fn name(text: &str) -> Result<String, &'static str> {
    if text.trim().is_empty() { Err("a name has letters") } else { Ok(text.to_owned()) }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReadyWhen {
    /// As soon as requests are taken: they ride the load
    Accepting,
    /// When the model is loaded
    Loaded,
}
