//! The command line and the environment, read; and what is wrong with them, told in the form of the log.
//!
//! Options are also variables, and most functions are set by those alone: what is wrong with one is told by its name.

use std::env;
use std::ffi::OsString;
use std::io::{Write, stderr};
use std::process::ExitCode;

use clap::builder::BoolishValueParser;
use clap::error::{ContextKind, ContextValue, Error};
use clap::{Arg, ArgAction, Command, CommandFactory, FromArgMatches};

use crate::args::{Cli, LogArgs, LogForm, LogLevel};
use crate::failure::Failure;
use crate::log;

/// What was asked for, and all that could have been.
pub(crate) fn read() -> Result<(Cli, Command), ExitCode> {
    let mut command = forgiving(Cli::command());
    let mut cli = parse(&mut command, env::args_os());
    // As Lambda starts it, without a command: then it serves.
    if env::var_os("AWS_LAMBDA_RUNTIME_API").is_some()
        && matches!(cli, Ok(Cli { command: None, .. }))
    {
        let serve = ["firstlight", "serve"].map(OsString::from);
        cli = parse(&mut command, serve.into_iter());
    }
    match cli {
        Ok(cli) => Ok((cli, command)),
        Err(error) => Err(tell(&error, &command)),
    }
}

/// Flags are switched by variables that say 1 or 0, yes or no, on or off as well.
pub(crate) fn forgiving(command: Command) -> Command {
    let is_flag = |it: &Arg| matches!(it.get_action(), ArgAction::SetTrue);
    let flags =
        move |it: Arg| if is_flag(&it) { it.value_parser(BoolishValueParser::new()) } else { it };
    command.mut_args(flags).mut_subcommands(forgiving)
}

fn parse(command: &mut Command, line: impl Iterator<Item = OsString>) -> Result<Cli, Error> {
    Cli::from_arg_matches(&command.try_get_matches_from_mut(line)?)
}

/// The last word: help that was asked for, or an error of usage.
fn tell(error: &Error, command: &Command) -> ExitCode {
    if !error.use_stderr() {
        error.exit();
    }
    let line: Vec<String> =
        env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let hint = variable(error, command, &line)
        .map(|name| format!("hint: the value is that of the variable `{name}`\n"))
        .unwrap_or_default();
    if is_json(&line, env::var("FIRSTLIGHT_LOG").ok().as_deref()) {
        let args = LogArgs { log: LogForm::Json, log_level: None };
        log::start(&args, LogLevel::Error);
        let text = format!("{}\n{hint}", error.render().to_string().trim_end());
        let text = text.trim_start_matches("error: ").trim_end().to_owned();
        log::failure(&args, &Failure::Usage(text));
    } else {
        // Nothing can be done where standard error is closed.
        drop(error.print());
        drop(stderr().write_all(hint.as_bytes()));
    }
    ExitCode::from(USAGE)
}

/// The variable that a wrong value comes from, if it is not from the command line.
fn variable(error: &Error, command: &Command, line: &[String]) -> Option<String> {
    let said = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text),
        _ => None,
    };
    let (shown, value) = (said(ContextKind::InvalidArg)?, said(ContextKind::InvalidValue)?);
    // Such as `--top-p <P>`.
    let flag = shown.split([' ', '=', '[']).next()?;
    let name = env_of(command, flag.strip_prefix("--")?)?;
    let is_flag = |argument: &String| argument.split('=').next() == Some(flag);
    let is_given = line.iter().any(is_flag);
    let is_set = env::var(name).is_ok_and(|set| set == *value);
    (is_set && !is_given).then(|| name.to_owned())
}

/// The variable of an option of `command`, or of those below it.
fn env_of<'a>(command: &'a Command, long: &str) -> Option<&'a str> {
    let own = command.get_arguments().find(|option| option.get_long() == Some(long));
    let own = own.and_then(|option| option.get_env()?.to_str());
    own.or_else(|| command.get_subcommands().find_map(|below| env_of(below, long)))
}

/// Whether the log is to be JSON, as far as that can be told where not all is understood.
fn is_json(line: &[String], variable: Option<&str>) -> bool {
    let given = line.iter().zip(line.iter().skip(1).map(String::as_str).chain([""]));
    let given = given.filter_map(|(argument, next)| match argument.as_str() {
        "--log" => Some(next),
        argument => argument.strip_prefix("--log="),
    });
    given.last().or(variable) == Some("json")
}

/// What clap ends with.
const USAGE: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_the_log_is_known_without_all_the_rest() {
        let is_json = |line: &str, variable| {
            let line: Vec<String> = line.split(' ').map(str::to_owned).collect();
            is_json(&line, variable)
        };
        assert!(is_json("firstlight run --nope --log json", None));
        assert!(is_json("firstlight --log=json --nope", Some("text")));
        assert!(is_json("firstlight --nope", Some("json")));
        assert!(!is_json("firstlight --log text --nope", Some("json")));
        assert!(!is_json("firstlight --nope --log", None));
    }

    #[test]
    fn no_two_options_disagree() {
        forgiving(Cli::command()).debug_assert();
    }
}
