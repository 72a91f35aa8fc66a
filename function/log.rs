//! The log, on standard error: lines for people, or one JSON object a line.

use std::io::Write;

use tracing_subscriber::filter::LevelFilter;

use crate::args::{LogArgs, LogForm, LogLevel};
use crate::failure::Failure;

/// Begins to log. Standard output is the answer's alone.
pub(crate) fn start(args: &LogArgs) {
    let level = match args.log_level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let subscriber = tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(level);
    match args.log {
        LogForm::Text => subscriber.without_time().with_target(false).init(),
        LogForm::Json => subscriber.json().init(),
    }
}

/// The last word of a command that failed.
pub(crate) fn failure(args: &LogArgs, failure: &Failure) {
    match args.log {
        LogForm::Json => tracing::error!(error = %failure, "failed"),
        // Nothing can be done where standard error is closed.
        LogForm::Text => drop(writeln!(std::io::stderr(), "error: {failure}")),
    }
}
