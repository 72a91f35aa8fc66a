//! The timeline of a start, to files and to the terminal.

use std::fs;
use std::io::{IsTerminal, Write, stderr};
use std::path::{Path, PathBuf};

use firstlight_timeline::{Report, Timeline};

use crate::args::{ReportArgs, When};
use crate::failure::Failure;
use crate::memory;

/// Columns where the terminal does not tell: what a mail or a log shows.
const COLUMNS: u16 = 100;

/// How a report is written, by the name of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Page,
    Trace,
    Line,
}

/// Begins a start of which is told as `args` say.
pub(crate) fn begin(timeline: &Timeline, args: &ReportArgs) -> Result<(), Failure> {
    check(&args.timeline)?;
    if let Some(link) = args.link {
        timeline.set_link(link.bytes_per_s());
    }
    Ok(())
}

/// Tells of a start that `ended`.
pub(crate) fn tell(
    timeline: &Timeline,
    args: &ReportArgs,
    ended: Result<(), Failure>,
) -> Result<(), Failure> {
    describe_cost(timeline);
    let report = timeline.report();
    let written = write(&report, &args.timeline);
    ended?;
    written?;
    draw(&report, args.waterfall);
    Ok(())
}

/// What the start took of the machine.
fn describe_cost(timeline: &Timeline) {
    if let Some(bytes) = memory::peak_bytes() {
        timeline.describe("peak_rss_bytes", bytes.to_string());
    }
    timeline.describe("cpu_ms", Timeline::process_cpu_ms().to_string());
}

/// Refuses files whose form is not known, or for which there is no folder, before anything is started.
pub(crate) fn check(files: &[PathBuf]) -> Result<(), Failure> {
    for path in files {
        form(path)?;
        let folder = path.parent().unwrap_or(path);
        if !folder.as_os_str().is_empty() && !folder.is_dir() {
            let (name, folder) = (path.display().to_string(), folder.display().to_string());
            return Err(Failure::TimelineFolder { name, folder });
        }
    }
    Ok(())
}

/// Writes `report` to each of `files`.
pub(crate) fn write(report: &Report, files: &[PathBuf]) -> Result<(), Failure> {
    for path in files {
        let text = match form(path)? {
            Form::Page => report.html(),
            Form::Trace => report.perfetto(),
            Form::Line => report.json_line(true) + "\n",
        };
        fs::write(path, text).map_err(Failure::io(path.display().to_string()))?;
    }
    Ok(())
}

/// Draws `report` to standard error.
fn draw(report: &Report, when: When) {
    let terminal = stderr().is_terminal();
    if when == When::Always || (when == When::Auto && terminal) {
        let text = report.waterfall(columns(), terminal);
        // Nothing can be done where standard error is closed.
        drop(write!(stderr(), "\n{text}"));
    }
}

/// Draws `report` to standard output.
#[cfg(feature = "demo")]
pub(crate) fn print(report: &Report) -> Result<(), Failure> {
    let text = report.waterfall(columns(), std::io::stdout().is_terminal());
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{text}").map_err(Failure::io("standard output"))
}

/// The width of the terminal, within what can be read.
fn columns() -> usize {
    let (_, columns) = console::Term::stdout().size_checked().unwrap_or((0, COLUMNS));
    usize::from(columns).clamp(60, 140)
}

fn form(path: &Path) -> Result<Form, Failure> {
    let is_trace =
        path.file_stem().is_some_and(|stem| Path::new(stem).extension() == Some("trace".as_ref()));
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("html") => Ok(Form::Page),
        Some("json") if is_trace => Ok(Form::Trace),
        Some("json") => Ok(Form::Line),
        _ => Err(Failure::TimelineForm { name: path.display().to_string() }),
    }
}
