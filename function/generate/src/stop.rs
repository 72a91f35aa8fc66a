//! When an answer ends.

use crate::{Error, Result};

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model said that it is done: one of the stop ids. That token is not shown.
    Stop,
    /// The text came to one of the stop strings. It is not shown.
    StopString,
    /// The answer has as many tokens as were asked for.
    Length,
    /// Prompt and answer together fill the model's context.
    ContextFull,
}

/// What ends an answer, besides the end of the context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopRules {
    strings: Vec<String>,
    ids: Vec<u32>,
    max_tokens: u32,
    min_tokens: u32,
}

impl StopRules {
    /// Checks that the rules can be kept: no empty or overlong stop string, at least one token.
    pub fn new(strings: Vec<String>, ids: Vec<u32>, max_tokens: u32) -> Result<Self> {
        if strings.len() > MAX_STOP_STRINGS {
            return Err(Error::TooManyStopStrings {
                count: strings.len(),
                limit: MAX_STOP_STRINGS,
            });
        }
        for (position, string) in (1..).zip(&strings) {
            check_string(position, string)?;
        }
        if max_tokens == 0 {
            return Err(Error::OptionRange {
                option: "max_tokens",
                value: 0.0,
                allowed: "1 or more",
            });
        }
        Ok(Self { strings, ids, max_tokens, min_tokens: 0 })
    }

    /// The same, where no stop string and no stop id ends an answer before it has so many tokens.
    pub fn not_before(self, min_tokens: u32) -> Result<Self> {
        if min_tokens > self.max_tokens {
            return Err(Error::OptionRange {
                option: "min_tokens",
                value: min_tokens.into(),
                allowed: "`max_tokens` or less",
            });
        }
        Ok(Self { min_tokens, ..self })
    }

    /// The strings that end an answer.
    #[must_use]
    pub fn strings(&self) -> &[String] {
        &self.strings
    }

    /// Whether the token ends an answer.
    #[must_use]
    pub fn stops_at(&self, id: u32) -> bool {
        self.ids.contains(&id)
    }

    /// The tokens that end an answer.
    #[must_use]
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The tokens that an answer has before anything but its length ends it.
    #[must_use]
    pub fn min_tokens(&self) -> u32 {
        self.min_tokens
    }

    /// The most tokens of an answer.
    #[must_use]
    pub fn max_tokens(&self) -> u32 {
        self.max_tokens
    }
}

fn check_string(position: usize, string: &str) -> Result<()> {
    match string.len() {
        0 => Err(Error::EmptyStopString { position }),
        bytes if bytes > MAX_STOP_BYTES => {
            Err(Error::StopStringTooLong { position, bytes, limit_bytes: MAX_STOP_BYTES })
        }
        _ => Ok(()),
    }
}

/// `OpenAI` allows four. Each is searched for after every token.
const MAX_STOP_STRINGS: usize = 16;

/// Text of this length may be held back before it is shown. Stop strings are markers, not
/// paragraphs.
const MAX_STOP_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(strings: &[String], max_tokens: u32) -> String {
        StopRules::new(strings.to_vec(), Vec::new(), max_tokens).unwrap_err().to_string()
    }

    #[test]
    fn rules_that_cannot_be_kept_are_refused_with_their_numbers() {
        let some = |text: &str, count| vec![text.to_owned(); count];
        assert_eq!(refused(&["a".to_owned(), String::new()], 1), "stop string 2 is empty");
        assert!(
            refused(&some(&"a".repeat(257), 1), 1).contains("257 bytes long, the limit is 256")
        );
        assert_eq!(refused(&some("a", 17), 1), "17 stop strings were given, the limit is 16");
        assert_eq!(refused(&[], 0), "`max_tokens` is `0`, allowed is 1 or more");
        let rules = StopRules::new(some(&"a".repeat(256), 16), Vec::new(), 1).unwrap();
        assert!(rules.clone().not_before(1).is_ok());
        let longer = rules.not_before(2).unwrap_err().to_string();
        assert_eq!(longer, "`min_tokens` is `2`, allowed is `max_tokens` or less");
    }
}
