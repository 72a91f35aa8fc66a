//! The instruction sets of this machine.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use thiserror::Error;

#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512, Avx512Bf16};
use crate::simd::{Bf16Dot as _, Bf16Kernel, Kernel, Portable, Simd as _};
#[cfg(target_arch = "aarch64")]
use crate::simd::{Neon, NeonBf16};

/// An instruction set that this machine was seen to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Level);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Portable(Portable),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16(Avx512Bf16),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    #[cfg(target_arch = "aarch64")]
    NeonBf16(NeonBf16),
}

/// There is no instruction set to use.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// A name that none of this machine's has.
    #[error("no instruction set `{name}` on this machine, which has {}", names())]
    NotHere {
        /// What was asked for.
        name: String,
    },
}

impl Isa {
    /// The fastest.
    #[must_use]
    pub fn best() -> Self {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| *Self::available().last().expect("the portable code always runs"))
    }

    /// All of them, the fastest last.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let levels = [
            Some(Level::Portable(Portable)),
            #[cfg(target_arch = "x86_64")]
            Avx2::detect().map(Level::Avx2),
            #[cfg(target_arch = "x86_64")]
            Avx512::detect().map(Level::Avx512),
            #[cfg(target_arch = "x86_64")]
            Avx512Bf16::detect().map(Level::Avx512Bf16),
            #[cfg(target_arch = "aarch64")]
            Neon::detect().map(Level::Neon),
            #[cfg(target_arch = "aarch64")]
            NeonBf16::detect().map(Level::NeonBf16),
        ];
        levels.into_iter().flatten().map(Self).collect()
    }

    /// What to call it by, in options and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            Level::Portable(_) => "portable",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Level::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Level::Avx512Bf16(_) => "avx512-bf16",
            #[cfg(target_arch = "aarch64")]
            Level::Neon(_) => "neon",
            #[cfg(target_arch = "aarch64")]
            Level::NeonBf16(_) => "neon-bf16",
        }
    }

    /// Whether products with bf16 weights round their activations to bf16.
    #[must_use]
    pub fn has_bf16_dot(self) -> bool {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512Bf16(_) => true,
            #[cfg(target_arch = "aarch64")]
            Level::NeonBf16(_) => true,
            _ => false,
        }
    }

    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            Level::Portable(simd) => simd.vectorize(kernel),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2(simd) => simd.vectorize(kernel),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512(simd) => simd.vectorize(kernel),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512Bf16(dot) => dot.simd().vectorize(kernel),
            #[cfg(target_arch = "aarch64")]
            Level::Neon(simd) => simd.vectorize(kernel),
            #[cfg(target_arch = "aarch64")]
            Level::NeonBf16(dot) => dot.simd().vectorize(kernel),
        }
    }

    /// Only where [`has_bf16_dot`](Self::has_bf16_dot).
    pub(crate) fn run_bf16<K: Bf16Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512Bf16(dot) => dot.vectorize(kernel),
            #[cfg(target_arch = "aarch64")]
            Level::NeonBf16(dot) => dot.vectorize(kernel),
            _ => unreachable!("{self} has no products of bf16"),
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Isa {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let mut here = Self::available().into_iter();
        here.find(|isa| isa.name() == name).ok_or_else(|| Error::NotHere { name: name.to_owned() })
    }
}

/// Of all instruction sets that are here.
fn names() -> String {
    let names: Vec<_> = Isa::available().into_iter().map(Isa::name).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back() {
        for isa in Isa::available() {
            assert_eq!(isa.name().parse(), Ok(isa));
        }
        assert_eq!("portable".parse(), Ok(Isa::available()[0]));
        let error = "mmx".parse::<Isa>().unwrap_err().to_string();
        assert!(error.contains("`mmx`") && error.contains("portable"), "{error}");
    }
}
