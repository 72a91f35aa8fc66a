//! What computes, and what it keeps keys and values in.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use firstlight_device::DType;

use crate::failure::Failure;

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
