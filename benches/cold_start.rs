//! Cold starts: fresh processes of the real binary against the embedded S3 server, over a link profile.
//!
//! For each run a new `firstlight run s3://…` is spawned, told the clock at which it was, and asked for its timeline as
//! JSON. The phases of all runs become a table of p50, p90 and max, and one JSON line a run.
//!
//! What to expect: TTFT >= weight bytes / link rate. The ratio of the two is the figure that counts.
//!
//! ```text
//! cargo bench --bench cold_start -- [--quick] [--runs N] [--model demo|qwen2.5-0.5b|llama-3.2-1b|FOLDER]
//!     [--link RATE] [--first-byte-ms MS] [--connection-rate RATE] [--prompt-tokens N] [--faults none|tail|flaky]
//!     [--save FILE.jsonl] [--page FILE.html]
//! ```
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a program for developers")]

#[path = "../tests/support/random_model.rs"]
mod random_model;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::Parser;
use firstlight_bucket::{Bucket, Faults, Link, Objects, Running};
use firstlight_timeline::{Counter, Mark, Rate, Report, Timeline};
use random_model::RandomModel;

#[derive(Parser)]
struct Args {
    /// Fresh processes
    #[arg(long, default_value_t = 30)]
    runs: usize,
    /// Five runs
    #[arg(long)]
    quick: bool,
    /// `demo`, a published shape with random weights, or a folder
    #[arg(long, default_value = "demo")]
    model: String,
    #[arg(long, default_value = "1gbit")]
    link: Rate,
    #[arg(long, default_value_t = 30)]
    first_byte_ms: u64,
    #[arg(long, default_value = "100MB")]
    connection_rate: Rate,
    /// About so many tokens of prompt
    #[arg(long, default_value_t = 32)]
    prompt_tokens: usize,
    /// What goes wrong on the way
    #[arg(long, default_value = "none", value_parser = ["none", "tail", "flaky"])]
    faults: String,
    /// Append the runs, one JSON line each
    #[arg(long)]
    save: Option<PathBuf>,
    /// Write the page of the median run
    #[arg(long)]
    page: Option<PathBuf>,
    /// What is put between `firstlight run` and its own arguments
    #[arg(long, allow_hyphen_values = true)]
    with: Vec<String>,
    /// `cargo bench -- --test`: two runs
    #[arg(long, hide = true)]
    test: bool,
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let args = Args::parse();
    let folder = model(&args.model);
    warm(&folder);
    let server = serve(&args, &folder);
    let runs = if args.test {
        2
    } else if args.quick {
        5
    } else {
        args.runs
    };
    println!(
        "{runs} cold starts of {} over {}, {} ms to a first byte, {} a connection, faults: {}",
        args.model, args.link, args.first_byte_ms, args.connection_rate, args.faults
    );
    let mut reports: Vec<Report> = (0..runs).map(|run| cold_start(&args, &server, run)).collect();
    print(&reports);
    if let Some(path) = &args.save {
        save(path, &args, &reports);
    }
    if let Some(path) = &args.page {
        reports.sort_by(|a, b| a.ttft_ms.unwrap().total_cmp(&b.ttft_ms.unwrap()));
        fs::write(path, reports[runs / 2].html()).unwrap();
    }
}

fn model(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cache = root.join("target/bench-models");
    match name {
        "demo" => root.join("tests/fixtures/demo-model"),
        "qwen2.5-0.5b" => RandomModel::qwen2_5_0_5b().folder_in(&cache).unwrap(),
        "llama-3.2-1b" => RandomModel::llama_3_2_1b().folder_in(&cache).unwrap(),
        folder => folder.into(),
    }
}

/// Brings the files into the page cache: the server's disk is not what is measured.
fn warm(folder: &Path) {
    for file in fs::read_dir(folder).unwrap().filter(|file| file.as_ref().unwrap().path().is_file())
    {
        let mut file = fs::File::open(file.unwrap().path()).unwrap();
        let mut sink = std::io::sink();
        std::io::copy(&mut file, &mut sink).unwrap();
    }
}

fn serve(args: &Args, folder: &Path) -> Running {
    let objects = Objects::new();
    objects.serve_folder("bench", "model/", folder).unwrap();
    let link = Link {
        rate: Some(args.link),
        first_byte: Duration::from_millis(args.first_byte_ms),
        connection_rate: Some(args.connection_rate),
    };
    let faults = match args.faults.as_str() {
        "tail" => Faults::tail(1),
        "flaky" => Faults::flaky(1),
        _ => Faults::default(),
    };
    Bucket::builder()
        .objects(objects)
        .link(link)
        .faults(faults)
        .start_on_own_thread("127.0.0.1:0")
        .unwrap()
}

fn cold_start(args: &Args, server: &Running, run: usize) -> Report {
    let line = std::env::temp_dir().join(format!("cold-start-{}-{run}.json", std::process::id()));
    let prompt = vec!["once"; args.prompt_tokens].join(" ");
    let output = Command::new(env!("CARGO_BIN_EXE_firstlight"))
        .args([
            "run",
            "s3://bench/model",
            &prompt,
            "--max-tokens=4",
            "--temperature=0",
            "--ignore-eos",
        ])
        .args(&args.with)
        .arg("--timeline")
        .arg(&line)
        .envs(server.environment())
        .env("FIRSTLIGHT_LINK", args.link.to_string())
        .env("FIRSTLIGHT_T0_NS", Timeline::monotonic_ns().to_string())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report = serde_json::from_str(&fs::read_to_string(&line).unwrap()).unwrap();
    fs::remove_file(&line).unwrap();
    report
}

/// The rows of the table: what was reached when, then what it cost.
fn figures(report: &Report) -> Vec<(&'static str, f64)> {
    let mark = |mark: Mark| report.marks_ms.get(&mark).copied().unwrap_or(f64::NAN);
    let said = |key: &str| report.description.get(key).and_then(|text| text.parse::<f64>().ok());
    let counted = |counter: Counter| report.counters[&counter] as f64;
    let marks = [
        Mark::FirstRequest,
        Mark::ConfigRead,
        Mark::HeadersRead,
        Mark::Planned,
        Mark::FirstWeightByte,
        Mark::TokenizerReady,
        Mark::FirstLayerResident,
        Mark::FirstLayerComputed,
        Mark::LastWeightByte,
        Mark::FirstToken,
    ];
    let mut figures: Vec<_> = marks.map(|at| (at.name(), mark(at))).into();
    figures.extend([
        ("floor", report.floor_ms.unwrap_or(f64::NAN)),
        ("TTFT / floor", report.ttft_over_floor.unwrap_or(f64::NAN)),
        ("requests", counted(Counter::Requests)),
        ("retries", counted(Counter::Retries)),
        ("hedges", counted(Counter::Hedges)),
        ("bytes fetched twice", counted(Counter::BytesTwice)),
        ("CPU ms", said("cpu_ms").unwrap_or(f64::NAN)),
        (
            "peak RSS - weights, MB",
            said("peak_rss_bytes").map_or(f64::NAN, |rss| (rss - report.weight_bytes as f64) / 1e6),
        ),
    ]);
    figures
}

fn print(reports: &[Report]) {
    let mut columns = BTreeMap::<usize, (&str, Vec<f64>)>::new();
    for report in reports {
        for (row, (name, value)) in figures(report).into_iter().enumerate() {
            columns.entry(row).or_insert((name, Vec::new())).1.push(value);
        }
    }
    println!("\n{:<24} {:>10} {:>10} {:>10}", "ms since exec", "p50", "p90", "max");
    for (name, mut values) in columns.into_values() {
        values.sort_by(f64::total_cmp);
        let at = |share: f64| percentile(&values, share);
        println!("{name:<24} {:>10.3} {:>10.3} {:>10.3}", at(0.5), at(0.9), at(1.0));
    }
}

/// The nearest-rank percentile of sorted values.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank within a slice"
    )]
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

fn save(path: &Path, args: &Args, reports: &[Report]) {
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    for report in reports {
        let mut line: serde_json::Value = serde_json::from_str(&report.json_line(false)).unwrap();
        line["profile"] = serde_json::json!({
            "model": args.model,
            "link": args.link.to_string(),
            "first_byte_ms": args.first_byte_ms,
            "connection_rate": args.connection_rate.to_string(),
            "prompt_tokens": args.prompt_tokens,
            "faults": args.faults,
        });
        writeln!(file, "{line}").unwrap();
    }
}
