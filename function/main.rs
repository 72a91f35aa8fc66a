//! firstlight: from nothing running to the first token, in about the time that the model's bytes need to cross
//! the wire.
//!
//! # Layout, in the order of the data
//!
//! - [`args`]: the command line and the environment, typed; [`size`]: how much memory, as people write it;
//!   [`usage`]: how they are read, and how they are wrong; [`variables`]: those of the environment that nobody reads
//! - [`processor`]: what computes, chosen once
//! - [`start`]: everything that a cold start does at once: store, heads, small files, tokenizer, plan, load;
//!   [`embedding`]: what a pass reads of the table before it is there
//! - [`run`], [`serve`], [`embed`], [`inspect`], [`health`], [`demo`]: the commands; [`lambda`]: `serve` as a function
//! - [`subject`]: what `inspect` tells of a model by its kind
//! - [`prompt`], [`progress`], [`report`], [`log`]: what comes in from and goes out to whoever called
//! - [`engine`]: what answers many at once may use of this machine, and the model that it drives
//! - [`memory`]: what a model needs, and what this process may use; [`control_group`]: what is left of a limit
//! - [`failure`]: why a command ended otherwise

#![forbid(unsafe_code)]

mod args;
mod control_group;
#[cfg(feature = "demo")]
mod demo;
mod embed;
mod embedding;
mod engine;
mod failure;
mod health;
mod inspect;
mod lambda;
mod log;
mod memory;
mod processor;
mod progress;
mod prompt;
mod report;
mod run;
mod serve;
mod size;
mod start;
mod subject;
mod usage;
mod variables;

use std::process::ExitCode;

use firstlight_timeline::{Mark, Timeline};

use crate::args::{Command, LogLevel};
use crate::failure::Failure;

fn main() -> ExitCode {
    let clock = Timeline::monotonic_ns();
    let (cli, command) = match usage::read() {
        Ok(read) => read,
        Err(code) => return code,
    };
    log::start(&cli.log, cli.command.as_ref().map_or(LogLevel::Warn, Command::log_level));
    // A health check comes every few seconds, and the server has said it.
    if !matches!(cli.command, Some(Command::Health(_))) {
        variables::warn_of_unknown(&command);
    }
    match dispatch(cli.command, clock) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            log::failure(&cli.log, &failure);
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Option<Command>, main_ns: u64) -> Result<(), Failure> {
    match command {
        Some(Command::Run(args)) => {
            let timeline = Timeline::start(Some(args.report.t0_ns.unwrap_or(main_ns)));
            timeline.mark(Mark::Main);
            run::run(&args, &timeline)
        }
        Some(Command::Serve(args)) => {
            let timeline = Timeline::start(Some(args.report.t0_ns.unwrap_or(main_ns)));
            timeline.mark(Mark::Main);
            match args.function.runtime_api {
                Some(_) => lambda::function(*args, &timeline),
                None => serve::serve(*args, &timeline),
            }
        }
        Some(Command::Embed(args)) => {
            let timeline = Timeline::start(Some(args.report.t0_ns.unwrap_or(main_ns)));
            timeline.mark(Mark::Main);
            embed::embed(&args, &timeline)
        }
        Some(Command::Inspect(args)) => inspect::inspect(&args, &Timeline::start(Some(main_ns))),
        Some(Command::Health(args)) => health::health(&args),
        #[cfg(feature = "demo")]
        Some(Command::Demo(args)) => demo::demo(&args),
        #[cfg(feature = "demo")]
        None => demo::demo(&args::DemoArgs::of_environment()),
        #[cfg(not(feature = "demo"))]
        None => Err(Failure::NoCommand),
    }
}
