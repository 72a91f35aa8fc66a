//! What is told of a start.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use firstlight_timeline::Rate;

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
