//! What of the machine is used.

use std::num::NonZero;
use std::str::FromStr;

use clap::Args;
use firstlight_device::{Isa, Team};

use super::ProcessorArgs;
use crate::size::Size;

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

fn isa(name: &str) -> Result<Isa, <Isa as FromStr>::Err> {
    if name == "auto" { Ok(Isa::best()) } else { name.parse() }
}
