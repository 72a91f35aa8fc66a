//! How a model is read.

use clap::Args;
use firstlight_timeline::Rate;

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
