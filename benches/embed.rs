//! Embeddings: fresh processes of the real binary on the folder of all-MiniLM-L6-v2, whose files are in the page cache.
//!
//! Of a start with one sentence the phases are shown, p50 and p90. How many tokens a second follows from two starts, one
//! with few texts and one with many: what they have in common cancels out.
//!
//! What to expect: the first embedding is due after the boot, the parse of the tokenizer and the residence of the files,
//! plus some milliseconds. From then on two operations for each weight of the layers and each token:
//! `tokens/s <= peak / (2 * 10.6 million)`, without attention.
//!
//! ```text
//! cargo bench --bench embed
//! cargo bench --bench embed -- --model path/to/folder --runs 20
//! ```
#![expect(clippy::print_stdout, reason = "a program for developers")]

#[path = "cold_start/page_cache.rs"]
mod page_cache;
#[path = "cold_start/statistics.rs"]
#[expect(dead_code, reason = "cold_start uses its verdicts as well")]
mod statistics;
#[path = "../tests/support/mod.rs"]
mod support;

use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Parser;
use firstlight_timeline::{Mark, Report, Timeline};
use statistics::{median, percentile, sorted};

#[derive(Debug, Parser)]
struct Args {
    /// A folder; without it all-MiniLM-L6-v2 is fetched, once
    #[arg(long)]
    model: Option<PathBuf>,
    /// Starts of each kind
    #[arg(long, default_value_t = 10)]
    runs: usize,
    /// Threads that compute
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// One short start of each kind: whether it works, not how fast
    #[arg(long)]
    test: bool,
    /// The binary to measure
    #[arg(long, default_value = env!("CARGO_BIN_EXE_firstlight"))]
    binary: PathBuf,
    /// What cargo tells every bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let folder = match &args.model {
        Some(folder) => folder.clone(),
        None => support::published::minilm().map_err(|missing| missing.to_string())?,
    };
    page_cache::warm(&folder)?;
    first_embedding(&args, &folder)?;
    for words in WORDS {
        tokens_per_s(&args, &folder, words)?;
    }
    Ok(())
}

fn runs(args: &Args) -> usize {
    if args.test { 1 } else { args.runs.max(1) }
}

fn first_embedding(args: &Args, folder: &Path) -> Result<(), Box<dyn Error>> {
    let starts = (0..runs(args)).map(|_| start(args, folder, 1, 8));
    let reports = starts.collect::<Result<Vec<_>, _>>()?;
    println!("one sentence, {} starts{:>18} {:>9}", reports.len(), "p50 ms", "p90 ms");
    for mark in Mark::ALL {
        let values = sorted(reports.iter().filter_map(|it| it.marks_ms.get(&mark).copied()));
        if !values.is_empty() {
            let name = if mark == Mark::FirstToken { "first embedding" } else { mark.name() };
            println!("  {name:<24} {:>9.2} {:>9.2}", median(&values), percentile(&values, 90.0));
        }
    }
    Ok(())
}

fn tokens_per_s(args: &Args, folder: &Path, words: usize) -> Result<(), Box<dyn Error>> {
    let (few, many) = if args.test { (1, 2) } else { (64, 64 + TOKENS / words) };
    let mut rates = Vec::new();
    for _ in 0..runs(args) {
        let (few, many) = (start(args, folder, few, words)?, start(args, folder, many, words)?);
        rates.push(
            (tokens(&many) - tokens(&few)) / (embedded_ms(&many)? - embedded_ms(&few)?) * 1e3,
        );
    }
    let (rates, threads) = (sorted(rates), args.threads);
    println!("texts of {words} words, {threads} threads: {:.0} tokens/s (p50)", median(&rates));
    Ok(())
}

fn tokens(report: &Report) -> f64 {
    report.counter(firstlight_timeline::Counter::PromptTokens) as f64
}

fn embedded_ms(report: &Report) -> Result<f64, &'static str> {
    report.marks_ms.get(&Mark::FirstToken).copied().ok_or("nothing was embedded")
}

/// One fresh process with so many texts of so many words.
fn start(args: &Args, folder: &Path, texts: usize, words: usize) -> Result<Report, Box<dyn Error>> {
    let file = tempfile::Builder::new().suffix(".json").tempfile()?;
    let mut command = Command::new(&args.binary);
    command.arg("embed").arg(folder).arg("--timeline").arg(file.path()).env_clear();
    command.arg("--threads").arg(args.threads.to_string()).arg("--device=cpu");
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    let text = "the ".repeat(words - 1) + "end\n";
    let mut child =
        command.env("FIRSTLIGHT_T0_NS", Timeline::monotonic_ns().to_string()).spawn()?;
    child.stdin.take().ok_or("it is piped")?.write_all(text.repeat(texts).as_bytes())?;
    let status = child.wait()?;
    if !status.success() {
        return Err(format!("{command:?}: {status}").into());
    }
    Ok(serde_json::from_str(&fs::read_to_string(file.path())?)?)
}

/// Each is a token; two more stand around a text. The model takes 256 at most.
const WORDS: [usize; 3] = [14, 126, 254];

/// Some seconds of work.
const TOKENS: usize = 40_000;
