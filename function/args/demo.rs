//! What the demo shows.

use std::path::PathBuf;

use clap::Args;
use firstlight_timeline::Rate;

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
