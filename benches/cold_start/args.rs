//! The command line of the bench.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::profile::{Profile, ProfileError};

/// Cold starts in fresh processes over named links.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) measure: Measure,
    /// What `cargo bench` adds
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// What the runs in file B say of those in file A, which ran the same profile and model
    Compare { a: PathBuf, b: PathBuf },
    /// The tables of files with runs, and a page of them
    Show {
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Write a page
        #[arg(long, value_name = "FILE.html")]
        page: Option<PathBuf>,
    },
}

#[derive(Args)]
pub(crate) struct Measure {
    /// Fresh processes of each set
    #[arg(long, default_value_t = 30)]
    runs: usize,
    /// Five of them
    #[arg(long)]
    quick: bool,
    /// Two, and nothing is to be learnt from them
    #[arg(long)]
    test: bool,
    /// `demo`, `smollm2-135m`, `qwen2.5-0.5b`, `llama-3.2-1b` (random weights in true shapes), or a folder
    #[arg(long, default_value = "demo")]
    pub(crate) model: String,
    /// A link of `benches/links`, or a file like them; several take turns
    #[arg(long, default_value = "1gbit", value_name = "NAME|FILE.toml")]
    profile: Vec<String>,
    /// The whole link, in place of the profile's
    #[arg(long, value_name = "RATE")]
    link: Option<String>,
    #[arg(long, value_name = "MS")]
    first_byte_ms: Option<u64>,
    #[arg(long, value_name = "RATE")]
    connection_rate: Option<String>,
    /// The first run's faults are drawn from it, the next run's from the next number
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// About so many tokens of prompt
    #[arg(long, default_value_t = 32, value_name = "N")]
    pub(crate) prompt_tokens: usize,
    /// An argument of `firstlight run`; may be repeated
    #[arg(long, allow_hyphen_values = true, value_name = "ARGUMENT")]
    pub(crate) with: Vec<String>,
    /// The same for a second set, which takes turns with the first
    #[arg(long, allow_hyphen_values = true, value_name = "ARGUMENT")]
    pub(crate) against: Vec<String>,
    /// Another build of firstlight for the first set
    #[arg(long, value_name = "FILE")]
    pub(crate) binary: Option<PathBuf>,
    /// Another build for the second set
    #[arg(long, value_name = "FILE")]
    pub(crate) against_binary: Option<PathBuf>,
    /// Add the runs to PROFILE-MODEL.jsonl in this folder
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, default_missing_value = RESULTS)]
    pub(crate) save: Option<PathBuf>,
    /// Write a page with the waterfalls of the median and the slowest run of each set
    #[arg(long, value_name = "FILE.html")]
    pub(crate) page: Option<PathBuf>,
}

impl Measure {
    pub(crate) fn runs(&self) -> usize {
        match self {
            Self { test: true, .. } => 2,
            Self { quick: true, .. } => 5,
            _ => self.runs.max(1),
        }
    }

    /// The profiles, with what is said otherwise in their names.
    pub(crate) fn profiles(&self) -> Result<Vec<Profile>, ProfileError> {
        self.profile.iter().map(|name| self.profile(name)).collect()
    }

    fn profile(&self, name: &str) -> Result<Profile, ProfileError> {
        let Self { link, first_byte_ms, connection_rate, .. } = self;
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/links");
        Profile::find(name, &folder)?.but(link.as_ref(), *first_byte_ms, connection_rate.as_ref())
    }
}

const RESULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/results");
