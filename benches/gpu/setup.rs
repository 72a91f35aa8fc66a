//! Where everything is that a part needs.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::{env, fs};

use firstlight_device::{Cuda, cuda::Context};

use super::bench::Result;
use super::machine;
use super::record::Place;
use super::sizes::Sizes;
use super::start::Variant;
use super::suites;

/// Of one run.
pub(crate) struct Setup {
    pub(crate) sizes: Sizes,
    /// The number of the GPU.
    pub(crate) device: usize,
    /// `firstlight`.
    pub(crate) program: PathBuf,
    /// What processes find the driver by.
    pub(crate) environment: Vec<(&'static str, OsString)>,
    /// Where models and files are made.
    pub(crate) models: PathBuf,
    /// The repository, or a folder that has of it what tests need.
    pub(crate) root: PathBuf,
    /// Test programs, with folders as in the repository beside them.
    pub(crate) tests: Option<PathBuf>,
}

impl Setup {
    /// The program on the device, with such variables.
    pub(crate) fn variant(&self, variables: &[(&'static str, &str)]) -> Variant {
        let mut environment = self.environment.clone();
        environment.extend(variables.iter().map(|(name, value)| (*name, OsString::from(value))));
        Variant {
            program: self.program.clone(),
            arguments: vec![format!("--device=cuda:{}", self.device)],
            environment,
        }
    }

    /// Whether the program has a variable of that name.
    pub(crate) fn knows(&self, variable: &str) -> Result<bool> {
        let output =
            Command::new(&self.program).args(["run", "--help"]).stdin(Stdio::null()).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).contains(variable))
    }

    pub(crate) fn fixtures(&self) -> PathBuf {
        suites::fixtures_of(&self.root)
    }

    /// The device initialised, for as long as it takes to ask for its name.
    pub(crate) fn place(&self) -> Result<Place> {
        Cuda::probe()?;
        let context = Context::open(self.device)?;
        let (commit, dirty) = commit();
        Ok(Place {
            device: context.name().to_owned(),
            architecture: context.capability().to_string(),
            cuda: context.driver().to_string(),
            driver: driver(),
            machine: machine::machine(),
            commit: format!("{commit}{}", if dirty { " and changes" } else { "" }),
            date: machine::date(),
            sizes: self.sizes.name.to_owned(),
        })
    }
}

/// That which was packed, or that which is checked out.
fn commit() -> (String, bool) {
    match env::var("FIRSTLIGHT_COMMIT") {
        Ok(commit) => (commit, false),
        Err(_) => machine::commit(),
    }
}

/// The version of the kernel's module, which the driver API does not tell.
fn driver() -> String {
    let text = fs::read_to_string("/proc/driver/nvidia/version").unwrap_or_default();
    let is_version =
        |word: &&str| word.split('.').count() > 1 && word.starts_with(char::is_numeric);
    text.split_whitespace().find(is_version).unwrap_or_default().to_owned()
}
