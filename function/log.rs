//! The log, on standard error: lines for people, or one JSON object a line.

use std::io::{IsTerminal, Write, stderr};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::args::{LogArgs, LogForm, LogLevel};
use crate::failure::Failure;

/// Begins to log, at `level` where none was asked for. Standard output is the answer's alone.
pub(crate) fn start(args: &LogArgs, level: LogLevel) {
    let layer =
        tracing_subscriber::fmt::layer().with_writer(stderr).with_ansi(stderr().is_terminal());
    let registry = tracing_subscriber::registry().with(targets(args.log_level.unwrap_or(level)));
    match args.log {
        LogForm::Text => registry.with(layer.without_time().with_target(false)).init(),
        LogForm::Json => registry.with(layer.json()).init(),
    }
}

/// What is logged: of the libraries only what somebody who debugs asks for. What they warn of on the way to an error
/// stands in the error; the embedded server calls every file that is not there one.
fn targets(level: LogLevel) -> Targets {
    let own = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let libraries = if own >= LevelFilter::DEBUG { own } else { LevelFilter::OFF };
    Targets::new().with_target("firstlight", own).with_default(libraries)
}

/// The last word of a command that failed.
pub(crate) fn failure(args: &LogArgs, failure: &Failure) {
    match args.log {
        LogForm::Json => tracing::error!(error = %failure, "failed"),
        // Nothing can be done where standard error is closed.
        LogForm::Text => drop(writeln!(stderr(), "error: {failure}")),
    }
}
