//! Local starts: fresh processes of the real binary on a folder, with its files in the page cache and without them.
//!
//! The phases of all runs become a table of p50 and p90. Beside them stand the limits, measured in the same run: how long
//! the files take to become resident in this process, and how long a plain read of them takes.
//!
//! What to expect: warm, the first token is due after the boot, the parse of the tokenizer or the residence of the files
//! (whichever is longer), and one pass over the weights at the speed of memory. Cold, the disk is the link.
//!
//! ```text
//! cargo bench --bench local -- --model smollm2-135m
//! cargo bench --bench local -- --model path/to/folder --prompt "Once upon a time" --runs 20
//! ```
#![expect(clippy::print_stdout, reason = "a program for developers")]

#[path = "cold_start/model.rs"]
mod model;
#[path = "cold_start/page_cache.rs"]
mod page_cache;
#[path = "../tests/support/random_model.rs"]
mod random_model;
#[path = "cold_start/statistics.rs"]
#[expect(dead_code, reason = "cold_start uses its verdicts as well")]
mod statistics;

use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use clap::Parser;
use firstlight_device::resident;
use firstlight_store::{Location, Settings, Store, connect};
use firstlight_timeline::{Mark, Report, Timeline};
use rustix::fs::{Advice, fadvise, fdatasync};
use statistics::{median, percentile, sorted};

#[derive(Debug, Parser)]
struct Args {
    /// demo, smollm2-135m, qwen2.5-0.5b, llama-3.2-1b (shapes with random weights), or a folder
    #[arg(long, default_value = "demo")]
    model: String,
    /// Five tokens of most tokenizers
    #[arg(long, default_value = "Once upon a time,")]
    prompt: String,
    /// Starts of each kind
    #[arg(long, default_value_t = 10)]
    runs: usize,
    /// One start of each kind: whether it works, not how fast
    #[arg(long)]
    test: bool,
    /// The binary to measure
    #[arg(long, default_value = env!("CARGO_BIN_EXE_firstlight"))]
    binary: PathBuf,
    /// What cargo tells every bench
    #[arg(long, hide = true)]
    bench: bool,
}

/// What of the page cache a start finds.
#[derive(Clone, Copy, Debug)]
enum Cache {
    Warm,
    Cold,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let folder = model::folder(&args.model)?;
    println!("{}: {} MB", args.model, bytes(&folder)? / 1_000_000);
    for cache in [Cache::Warm, Cache::Cold] {
        measure(&args, &folder, cache)?;
    }
    Ok(())
}

fn measure(args: &Args, folder: &Path, cache: Cache) -> Result<(), Box<dyn Error>> {
    let runs = if args.test { 1 } else { args.runs.max(1) };
    let (mut reports, mut resident_ms, mut read_ms) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        // The limits take turns with the starts: a machine that drifts drifts for all of them.
        prepare(folder, cache)?;
        resident_ms.push(make_resident_ms(folder)?);
        prepare(folder, cache)?;
        read_ms.push(timed_ms(|| page_cache::warm(folder))?);
        prepare(folder, cache)?;
        reports.push(start(args, folder)?);
    }
    println!("\n{cache:?}, {runs} starts{:>22} {:>9}", "p50 ms", "p90 ms");
    for mark in Mark::ALL {
        let at = |report: &Report| report.marks_ms.get(&mark).copied();
        row(mark.name(), reports.iter().filter_map(at));
    }
    row("limit: files resident", resident_ms);
    row("limit: files read", read_ms);
    Ok(())
}

fn row(name: &str, values: impl IntoIterator<Item = f64>) {
    let values = sorted(values);
    if !values.is_empty() {
        println!("  {name:<24} {:>9.2} {:>9.2}", median(&values), percentile(&values, 90.0));
    }
}

/// One fresh process, asked for one token and its timeline.
fn start(args: &Args, folder: &Path) -> Result<Report, Box<dyn Error>> {
    let file = tempfile::Builder::new().suffix(".json").tempfile()?;
    let mut command = Command::new(&args.binary);
    command.arg("run").arg(folder).args([&args.prompt, "--temperature=0", "--max-tokens=2"]);
    command.arg("--ignore-eos").arg("--timeline").arg(file.path()).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let status = command.env("FIRSTLIGHT_T0_NS", Timeline::monotonic_ns().to_string()).status()?;
    if !status.success() {
        return Err(format!("{command:?}: {status}").into());
    }
    Ok(serde_json::from_str(&fs::read_to_string(file.path())?)?)
}

fn prepare(folder: &Path, cache: Cache) -> io::Result<()> {
    match cache {
        Cache::Warm => page_cache::warm(folder),
        Cache::Cold => files(folder)?.iter().try_for_each(|path| {
            let file = File::open(path)?;
            // Pages that are still to be written cannot be dropped.
            fdatasync(&file)?;
            Ok(fadvise(&file, 0, None, Advice::DontNeed)?)
        }),
    }
}

/// Maps the weights as a start does, and has the kernel make all of them resident.
fn make_resident_ms(folder: &Path) -> Result<f64, Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let location = Location::Folder { path: folder.into() };
    let store: Arc<dyn Store> = runtime.block_on(connect(&location, &Settings::default()))?;
    let weights = files(folder)?.into_iter().filter(|path| is_weights(path));
    let mut ms = 0.0;
    for path in weights {
        let key = path.file_name().and_then(|name| name.to_str()).ok_or("a name in UTF-8")?;
        let object = runtime.block_on(store.open(key, 1))?.object;
        let mapped = store.map(&object)?.ok_or("a folder's files can be mapped")?;
        ms += timed_ms(|| resident::populate(&mapped).map(drop))?;
    }
    Ok(ms)
}

fn timed_ms(work: impl FnOnce() -> io::Result<()>) -> io::Result<f64> {
    let began = Instant::now();
    work()?;
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

fn bytes(folder: &Path) -> io::Result<u64> {
    files(folder)?.iter().map(|path| Ok(fs::metadata(path)?.len())).sum()
}

fn is_weights(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "safetensors")
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries: io::Result<Vec<_>> = fs::read_dir(folder)?.collect();
    Ok(entries?.iter().map(fs::DirEntry::path).filter(|path| path.is_file()).collect())
}
