//! The prompt, from the command line or from standard input.

use std::io::{IsTerminal, Read, stdin};

use crate::failure::Failure;

/// Far more than any context holds: a million tokens are about four megabytes of English.
const LIMIT_BYTES: u64 = 16 << 20;

/// The prompt as it was given; `-` stands for standard input.
pub(crate) fn read(argument: Option<&str>) -> Result<String, Failure> {
    let text = match argument {
        Some("-") => from_stdin()?,
        Some(text) => text.to_owned(),
        None if !stdin().is_terminal() => from_stdin()?,
        None => return Err(Failure::NoPrompt),
    };
    if text.is_empty() { Err(Failure::NoPrompt) } else { Ok(text) }
}

fn from_stdin() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let read = stdin().lock().take(LIMIT_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(Failure::io("standard input"))?;
    if bytes.len() as u64 > LIMIT_BYTES {
        return Err(Failure::PromptTooLong { limit: LIMIT_BYTES });
    }
    String::from_utf8(bytes).map_err(|error| Failure::PromptText { source: error.utf8_error() })
}
