//! Cold starts: fresh processes of the real binary against the embedded S3 server, over the links of `benches/links`.
//!
//! For each run a new `firstlight run s3://…` is spawned, told the clock at which it was, and asked for its timeline as
//! JSON; what it answers has to be what the model answers from a local folder. The phases of all runs become a table of
//! p50, p90, p99 and max, one JSON line a run, and a page.
//!
//! What to expect: TTFT >= weight bytes / link rate. The ratio of the two is the figure that counts.
//!
//! ```text
//! cargo bench --bench cold_start -- --profile lambda --model smollm2-135m --page lambda.html
//! cargo bench --bench cold_start -- --profile tail --model smollm2-135m --against=--hedge-percent=0
//! cargo bench --bench cold_start -- --against-binary ../before/target/release/firstlight
//! cargo bench --bench cold_start -- --quick --save before && … && cargo bench --bench cold_start -- \
//!     compare before/1gbit-demo.jsonl after/1gbit-demo.jsonl
//! ```
//!
//! # Layout
//!
//! - [`args`], [`profile`], [`model`]: what is asked for; [`page_cache`], where its files are
//! - [`contest`] -> [`start`]: sets that take turns; one fresh process
//! - [`record`], [`figures`]: a run as a line, and as numbers; [`machine`]: where it ran
//! - [`statistics`]: percentiles, and a verdict that knows noise
//! - [`table`], [`page`]: for the terminal, for a browser
#![expect(clippy::print_stdout, reason = "a program for developers")]

mod args;
mod contest;
mod figures;
mod machine;
mod model;
mod page;
mod page_cache;
mod profile;
#[path = "../../tests/support/random_model.rs"]
mod random_model;
mod record;
mod start;
mod statistics;
mod table;

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use args::{Cli, Command, Measure};
use clap::Parser;
use contest::Contestant;
use page::Shown;
use record::Set;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        None => measure(&cli.measure),
        Some(Command::Compare { a, b }) => compare(a, b),
        Some(Command::Show { files, page }) => show(files, page.as_deref()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &Measure) -> Result<(), Box<dyn Error>> {
    let profiles = args.profiles()?;
    let folder = model::folder(&args.model)?;
    page_cache::warm(&folder)?;
    let mut contestants = contest::contestants(args, &profiles, &folder);
    contest::run(args, &folder, &mut contestants);
    if let Some(folder) = &args.save {
        save(folder, &contestants)?;
    }
    let sets: Vec<Set> = contestants.iter().map(Contestant::records).collect();
    print(&sets);
    if let Some(path) = &args.page {
        let shown = contestants.iter().zip(&sets);
        let shown = shown.map(|(contestant, set)| Shown::with_waterfalls(set, &contestant.runs));
        fs::write(path, page::page(&shown.collect::<Vec<_>>()))?;
    }
    Ok(())
}

fn save(folder: &Path, contestants: &[Contestant]) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    for contestant in contestants {
        let setting = contestant.setting();
        let model = setting.model.rsplit('/').next().unwrap_or_default();
        let name = format!("{}-{model}.jsonl", setting.profile.replace([' ', '=', '/'], "_"));
        record::append(&folder.join(name), &contestant.records())?;
    }
    Ok(())
}

/// The tables of all sets; sets of the same task are compared, each with the one before it.
fn print(sets: &[Set]) {
    for set in sets {
        let setting = &set[0].setting;
        println!(
            "\n{} · {} · {} cold starts · commit {}{}\n{}\n{}",
            setting.name(),
            setting.model,
            set.len(),
            setting.commit,
            if setting.dirty { " and changes" } else { "" },
            setting.machine,
            table::percentiles(set)
        );
    }
    for pair in sets.windows(2) {
        if pair[0][0].setting.task() == pair[1][0].setting.task() {
            println!("\n{}", table::comparison(&pair[0], &pair[1]));
        }
    }
}

fn compare(a: &Path, b: &Path) -> Result<(), Box<dyn Error>> {
    let (first, second) = (record::read(a)?, record::read(b)?);
    let mut compared = 0;
    for a in &first {
        let (task, variant) = (a[0].setting.task(), &a[0].setting.variant);
        let of_a = |b: &&Set| b[0].setting.task() == task && b[0].setting.variant == *variant;
        for b in second.iter().filter(of_a) {
            println!(
                "\n{} · {}\n{}",
                a[0].setting.profile,
                a[0].setting.model,
                table::comparison(a, b)
            );
            compared += 1;
        }
    }
    let nothing = || {
        format!(
            "`{}` and `{}` have no profile, model and arguments in common",
            a.display(),
            b.display()
        )
    };
    if compared == 0 { Err(nothing().into()) } else { Ok(()) }
}

fn show(files: &[impl AsRef<Path>], page: Option<&Path>) -> Result<(), Box<dyn Error>> {
    let mut sets = Vec::new();
    for file in files {
        sets.extend(record::read(file.as_ref())?);
    }
    print(&sets);
    if let Some(path) = page {
        let shown: Vec<_> = sets.iter().map(Shown::without_waterfalls).collect();
        fs::write(path, page::page(&shown))?;
    }
    Ok(())
}
