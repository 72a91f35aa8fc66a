//! The timeline of a start, to files and to the terminal.

use std::fs;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::{Path, PathBuf};

use firstlight_timeline::Report;

use crate::args::When;
use crate::failure::Failure;

/// Columns where the terminal does not tell: what a mail or a log shows.
const COLUMNS: u16 = 100;

/// How a report is written, by the name of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Page,
    Trace,
    Line,
}

/// Refuses the names of files whose form is not known, before anything is started.
pub(crate) fn check(files: &[PathBuf]) -> Result<(), Failure> {
    files.iter().try_for_each(|path| form(path).map(drop))
}

/// Writes `report` to each of `files`.
pub(crate) fn write(report: &Report, files: &[PathBuf]) -> Result<(), Failure> {
    for path in files {
        let text = match form(path)? {
            Form::Page => String::new(),  /*TMP report.html()*/
            Form::Trace => String::new(), /*TMP report.perfetto()*/
            Form::Line => report.json_line(true) + "\n",
        };
        fs::write(path, text).map_err(Failure::io(path.display().to_string()))?;
    }
    Ok(())
}

/// Draws `report` to standard error.
pub(crate) fn draw(report: &Report, when: When) {
    let terminal = stderr().is_terminal();
    if when == When::Always || (when == When::Auto && terminal) {
        let text = report.waterfall(columns(), terminal);
        // Nothing can be done where standard error is closed.
        drop(write!(stderr(), "\n{text}"));
    }
}

/// Draws `report` to standard output.
pub(crate) fn print(report: &Report) -> Result<(), Failure> {
    let text = report.waterfall(columns(), stdout().is_terminal());
    let mut out = stdout().lock();
    writeln!(out, "\n{text}").map_err(Failure::io("standard output"))
}

/// The width of the terminal, within what can be read.
fn columns() -> usize {
    let (_, columns) = console::Term::stdout().size_checked().unwrap_or((0, COLUMNS));
    usize::from(columns).clamp(60, 140)
}

fn form(path: &Path) -> Result<Form, Failure> {
    let name = path.display().to_string();
    match &name {
        name if name.ends_with(".html") => Ok(Form::Page),
        name if name.ends_with(".trace.json") => Ok(Form::Trace),
        name if name.ends_with(".json") => Ok(Form::Line),
        _ => Err(Failure::TimelineForm { name }),
    }
}
