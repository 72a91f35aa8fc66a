//! Text to words: where a model's merges may not reach across.
//!
//! Each step splits what the step before left, as a file's `pre_tokenizer` says. Byte-level models
//! end with a step that writes every byte as a visible character (a space is `Ġ`): their
//! vocabularies are spelled so.

use std::borrow::Cow;

use serde::Deserialize;
use unicode_categories::UnicodeCategories;

use super::byte_level;
use super::pattern::Pattern;
use super::unknown::{Known, Unknown};

/// How a file describes it.
#[derive(Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
pub(super) enum PreTokenizerFile {
    Sequence { pretokenizers: Vec<PreTokenizerFile> },
    ByteLevel(ByteLevelFile),
    Split { pattern: SplitPattern, behavior: String, invert: bool },
    Digits { individual_digits: bool },
    BertPreTokenizer {},
}

/// The fields of `ByteLevel`, wherever it stands. Offsets are never asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ByteLevelFile {
    add_prefix_space: bool,
    #[serde(rename = "trim_offsets")]
    _trim_offsets: bool,
    #[serde(default = "yes")]
    use_regex: bool,
}

/// What `Split` and `Replace` look for.
#[derive(Deserialize)]
pub(super) enum SplitPattern {
    String(String),
    Regex(String),
}

fn yes() -> bool {
    true
}

/// The steps in their order.
#[derive(Debug, Default)]
pub(super) struct PreTokenizer {
    steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Each match is a word.
    Pattern(Pattern),
    /// A space ends a word; of several spaces, each further one is a word.
    AfterSpace,
    /// Each digit is a word, and what stands between digits.
    EachDigit,
    /// As many digits as there are, and what stands between them.
    Digits,
    /// White space goes, punctuation is a word a character.
    Bert,
    /// A space comes before a word that has none.
    PrefixSpace,
    /// Bytes as visible characters.
    ByteLevel,
}

impl PreTokenizer {
    pub(super) fn new(file: Option<PreTokenizerFile>) -> Known<Self> {
        let mut steps = Vec::new();
        if let Some(file) = file {
            push_steps(file, &mut steps)?;
        }
        let bytes = steps.iter().position(|step| matches!(step, Step::ByteLevel));
        if bytes.is_some_and(|at| at + 1 < steps.len()) {
            return Err(Unknown::new("a pre-tokenizer follows `ByteLevel`"));
        }
        Ok(Self { steps })
    }

    /// Calls `word` with each word of `text`.
    pub(super) fn split(&self, text: &str, word: &mut dyn FnMut(&str)) {
        split(&self.steps, text, word);
    }
}

fn push_steps(file: PreTokenizerFile, steps: &mut Vec<Step>) -> Known<()> {
    match file {
        PreTokenizerFile::Sequence { pretokenizers } => {
            return pretokenizers.into_iter().try_for_each(|file| push_steps(file, steps));
        }
        PreTokenizerFile::ByteLevel(file) => {
            let prefix = file.add_prefix_space.then_some(Step::PrefixSpace);
            let regex = file.use_regex.then_some(Step::Pattern(Pattern::Gpt2));
            steps.extend(prefix.into_iter().chain(regex).chain([Step::ByteLevel]));
        }
        PreTokenizerFile::Split { pattern, behavior, invert } => {
            steps.push(split_step(&pattern, &behavior, invert)?);
        }
        PreTokenizerFile::Digits { individual_digits: true } => steps.push(Step::EachDigit),
        PreTokenizerFile::Digits { individual_digits: false } => steps.push(Step::Digits),
        PreTokenizerFile::BertPreTokenizer {} => steps.push(Step::Bert),
    }
    Ok(())
}

/// The known patterns match everything, so that to keep the matches and to remove what is between
/// them is the same.
fn split_step(pattern: &SplitPattern, behavior: &str, invert: bool) -> Known<Step> {
    match (pattern, behavior, invert) {
        (SplitPattern::Regex(regex), "Isolated", false)
        | (SplitPattern::Regex(regex), "Removed", true) => {
            let pattern = Pattern::written(regex).map(Step::Pattern);
            pattern.ok_or_else(|| Unknown::new(format!("it splits by the regex `{regex}`")))
        }
        (SplitPattern::String(text), "MergedWithPrevious", false) if text == " " => {
            Ok(Step::AfterSpace)
        }
        _ => Err(Unknown::new(format!("it splits with `{behavior}`"))),
    }
}

fn split(steps: &[Step], text: &str, word: &mut dyn FnMut(&str)) {
    if text.is_empty() {
        return;
    }
    let Some((step, rest)) = steps.split_first() else {
        return word(text);
    };
    let mut next = |piece: &str| split(rest, piece, word);
    match step {
        Step::Pattern(pattern) => by_pattern(*pattern, text, &mut next),
        Step::AfterSpace => after_space(text, &mut next),
        Step::EachDigit => each(text, char::is_numeric, &mut next),
        Step::Digits => runs(text, &mut next),
        Step::Bert => text.split(char::is_whitespace).for_each(|piece| {
            each(piece, is_punctuation, &mut next);
        }),
        Step::PrefixSpace => next(&with_prefix(text)),
        Step::ByteLevel => next(&byte_level::spelled(text)),
    }
}

#[inline]
fn by_pattern(pattern: Pattern, mut text: &str, next: &mut dyn FnMut(&str)) {
    while !text.is_empty() {
        let (piece, rest) = text.split_at(pattern.first(text));
        next(piece);
        text = rest;
    }
}

fn after_space(text: &str, next: &mut dyn FnMut(&str)) {
    let mut start = 0;
    for (at, _) in text.match_indices(' ') {
        // The first space belongs to the word before it, unless there is none.
        next(&text[start..=at]);
        start = at + 1;
    }
    next(&text[start..]);
}

/// Each character that `is_alone` is a piece, and so is what stands between them.
fn each(text: &str, is_alone: impl Fn(char) -> bool, next: &mut dyn FnMut(&str)) {
    let mut start = 0;
    for (at, alone) in text.match_indices(is_alone) {
        next(&text[start..at]);
        next(alone);
        start = at + alone.len();
    }
    next(&text[start..]);
}

/// Runs of numbers and runs of what is none.
fn runs(mut text: &str, next: &mut dyn FnMut(&str)) {
    while let Some(first) = text.chars().next() {
        let other = |character: char| character.is_numeric() != first.is_numeric();
        let (piece, rest) = text.split_at(text.find(other).unwrap_or(text.len()));
        next(piece);
        text = rest;
    }
}

fn is_punctuation(character: char) -> bool {
    character.is_ascii_punctuation() || character.is_punctuation()
}

fn with_prefix(text: &str) -> Cow<'_, str> {
    if text.starts_with(' ') { Cow::Borrowed(text) } else { Cow::Owned(format!(" {text}")) }
}
