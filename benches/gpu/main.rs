//! What a GPU makes of the kernels, the copy path and whole cold starts, beside what it can do at most.
//!
//! Each part is a process of its own and writes its figures into `gpu-check.json` as it goes; `table` makes the page of
//! it, where all that is not in there reads "not measured". `tests/gpu/check` runs all of them, and `tests/gpu/pack`
//! takes them along to a machine that has a GPU and no Rust.
//!
//! What to expect: a product of one row reads its weights as fast as the device copies (each figure stands beside the
//! copy bandwidth of the same process); one of 512 rows comes to half of what `mma.sync` does from registers; a cold
//! start takes as long as its bytes on the slower of the two ways to the device.
//!
//! ```text
//! cargo bench --bench gpu -- run limits products --out results
//! cargo bench --bench gpu -- table results/gpu-check.json
//! ```
//!
//! # Layout
//!
//! - [`sizes`], [`sections`]: how much is measured, and which figures come of it
//! - [`parts`] -> [`ceilings`], [`suites`], [`products`], [`attention`], [`passes`], [`ring`], [`peer`], [`starts`]
//! - [`bench`], [`inputs`]: the device and its clock; numbers to compute with
//! - [`setup`], [`record`]: where things are; what was measured
//! - [`table`], [`aims`]: the page
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for developers")]

pub(crate) mod aims;
mod attention;
mod bench;
mod ceilings;
mod inputs;
#[path = "../cold_start/machine.rs"]
mod machine;
#[path = "../cold_start/page_cache.rs"]
mod page_cache;
pub(crate) mod parts;
mod passes;
mod peer;
mod products;
#[path = "../../tests/support/random_model.rs"]
pub(crate) mod random_model;
pub(crate) mod record;
mod ring;
pub(crate) mod sections;
pub(crate) mod setup;
pub(crate) mod sizes;
#[path = "../cold_start/start.rs"]
mod start;
mod starts;
#[path = "../cold_start/statistics.rs"]
#[expect(dead_code, reason = "nothing is compared with another build here")]
mod statistics;
pub(crate) mod suites;
pub(crate) mod table;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use clap::{Args, Parser, Subcommand};
use firstlight_device::Cuda;
use firstlight_device::cuda::Context;

use self::bench::Result;
use self::record::Record;
use self::setup::Setup;
use self::sizes::Sizes;

/// Measures a GPU
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// What `cargo bench` adds
    #[arg(long, hide = true, global = true)]
    bench: bool,
    /// What `cargo bench` is asked for where nothing is to be measured
    #[arg(long, hide = true)]
    test: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Measure some parts into FOLDER/gpu-check.json, one after the other
    Run(Run),
    /// The names of all parts
    Parts,
    /// Whether there is a GPU that can be used, and which
    Probe {
        #[arg(long, value_name = "N", default_value_t = 0)]
        device: usize,
    },
    /// The page of such files; the later ones count
    Table {
        files: Vec<PathBuf>,
        /// Put the page between the marks in this file, in place of printing it
        #[arg(long, value_name = "FILE.md")]
        into: Option<PathBuf>,
        /// Put all into one file of JSON as well
        #[arg(long, value_name = "FILE.json")]
        merged: Option<PathBuf>,
    },
}

#[derive(Args)]
struct Run {
    #[arg(required = true)]
    parts: Vec<String>,
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    out: PathBuf,
    /// The number of the GPU
    #[arg(long, value_name = "N", default_value_t = 0)]
    device: usize,
    /// `true`, or `tiny` to see whether everything runs
    #[arg(long, value_name = "NAME", default_value = "true")]
    sizes: String,
    /// `firstlight`, where it is not the one that was built with this
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_firstlight"))]
    program: PathBuf,
    /// Where models and files are made, up to 25 GB
    #[arg(long, value_name = "FOLDER")]
    models: Option<PathBuf>,
    /// Where the programs `device` and `model` are, the tests of these crates
    #[arg(long, value_name = "FOLDER")]
    tests: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Some(Command::Run(run)) => measure(run),
        Some(Command::Parts) => {
            println!("{}", parts::names(&Sizes::of_gpus()).join("\n"));
            Ok(())
        }
        Some(Command::Probe { device }) => probe(device),
        Some(Command::Table { files, into, merged }) => {
            show(&files, into.as_deref(), merged.as_deref())
        }
        None => {
            println!("nothing was asked for, and nothing measured: `tests/gpu/check` measures all");
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(run: Run) -> Result<()> {
    let sizes = Sizes::named(&run.sizes).ok_or_else(|| format!("no sizes `{}`", run.sizes))?;
    let root = random_model::root();
    let setup = Setup {
        sizes,
        device: run.device,
        program: run.program,
        environment: inherited(),
        models: run.models.unwrap_or_else(|| env::temp_dir().join("firstlight-gpu-check")),
        root,
        tests: run.tests,
    };
    fs::create_dir_all(&run.out)?;
    for part in &run.parts {
        parts::run(&setup, part, &run.out.join("gpu-check.json"))?;
    }
    Ok(())
}

fn probe(device: usize) -> Result<()> {
    Cuda::probe()?;
    let context = Context::open(device)?;
    println!("{} ({}), CUDA {}", context.name(), context.capability(), context.driver());
    Ok(())
}

/// Where the dynamic linker looks for the driver, and which devices that one shows.
fn inherited() -> Vec<(&'static str, OsString)> {
    let names = ["LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "FIRSTLIGHT_STAND_IN"];
    names.into_iter().filter_map(|name| Some((name, env::var_os(name)?))).collect()
}

fn show(files: &[PathBuf], into: Option<&Path>, merged: Option<&Path>) -> Result<()> {
    let mut record = Record::default();
    for file in files {
        record.parts.extend(Record::read(file)?.parts);
    }
    if let Some(path) = merged {
        record.write(path)?;
    }
    let page = table::page(&record);
    let Some(path) = into else {
        println!("{page}");
        return Ok(());
    };
    let text = table::within(&fs::read_to_string(path)?, &page);
    Ok(fs::write(path, text.ok_or("there are no marks")?)?)
}
