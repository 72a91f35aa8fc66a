//! Text to the text that the vocabulary was made from.
//!
//! Each step is the library's, character for character, by the same tables: those of
//! `unicode-normalization-alignments` for composed and decomposed forms, of `unicode_categories` for
//! marks and controls, of the standard library for lower case.

use std::borrow::Cow;

use serde::Deserialize;
use unicode_categories::UnicodeCategories;
use unicode_normalization_alignments::UnicodeNormalization;

use super::pre_tokenizer::SplitPattern;
use super::unknown::{Known, Unknown};

/// How a file describes it.
#[derive(Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
pub(super) enum NormalizerFile {
    Sequence {
        normalizers: Vec<NormalizerFile>,
    },
    #[serde(rename = "NFC")]
    Nfc {},
    Replace {
        pattern: SplitPattern,
        content: String,
    },
    Prepend {
        prepend: String,
    },
    BertNormalizer(BertFile),
}

/// What BERT does to a text.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BertFile {
    clean_text: bool,
    handle_chinese_chars: bool,
    strip_accents: Option<bool>,
    lowercase: bool,
}

/// The steps in their order.
#[derive(Debug, Default)]
pub(super) struct Normalizer {
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    /// Composed characters in place of a letter and its marks.
    Nfc,
    /// What stands in place of each space.
    ReplaceSpace(String),
    /// What comes before a text that is not empty.
    Prepend(String),
    Bert(BertFile),
}

impl Normalizer {
    pub(super) fn new(file: Option<NormalizerFile>) -> Known<Self> {
        let mut steps = Vec::new();
        if let Some(file) = file {
            push_steps(file, &mut steps)?;
        }
        Ok(Self { steps })
    }

    pub(super) fn normalize<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut text = Cow::Borrowed(text);
        for step in &self.steps {
            if let Some(changed) = step.apply(&text) {
                text = Cow::Owned(changed);
            }
        }
        text
    }
}

fn push_steps(file: NormalizerFile, steps: &mut Vec<Step>) -> Known<()> {
    steps.push(match file {
        NormalizerFile::Sequence { normalizers } => {
            return normalizers.into_iter().try_for_each(|file| push_steps(file, steps));
        }
        NormalizerFile::Nfc {} => Step::Nfc,
        NormalizerFile::Replace { pattern: SplitPattern::String(space), content }
            if space == " " =>
        {
            Step::ReplaceSpace(content)
        }
        NormalizerFile::Replace { .. } => return Err(Unknown::new("it replaces more than spaces")),
        NormalizerFile::Prepend { prepend } => Step::Prepend(prepend),
        NormalizerFile::BertNormalizer(bert) => Step::Bert(bert),
    });
    Ok(())
}

impl Step {
    /// The changed text, or nothing if it stays as it is.
    fn apply(&self, text: &str) -> Option<String> {
        match self {
            Self::Nfc => nfc(text),
            Self::ReplaceSpace(content) => text.contains(' ').then(|| text.replace(' ', content)),
            Self::Prepend(prefix) => (!text.is_empty()).then(|| format!("{prefix}{text}")),
            Self::Bert(bert) => Some(bert.apply(text)),
        }
    }
}

/// Below U+0300 no character composes with one before it, nor changes alone.
fn nfc(text: &str) -> Option<String> {
    let may_change = text.chars().any(|character| character >= '\u{300}');
    may_change.then(|| text.nfc().map(|(character, _)| character).collect())
}

impl BertFile {
    fn apply(self, text: &str) -> String {
        let mut text = Cow::Borrowed(text);
        if self.clean_text {
            text = text.chars().filter(|&c| !is_removed(c)).map(one_space).collect();
        }
        if self.handle_chinese_chars && text.chars().any(is_chinese) {
            text = Cow::Owned(with_chinese_apart(&text));
        }
        if self.strip_accents.unwrap_or(self.lowercase) && !text.is_ascii() {
            let marked = text.nfd().map(|(character, _)| character);
            text = Cow::Owned(marked.filter(|c| !c.is_mark_nonspacing()).collect());
        }
        if self.lowercase {
            text = text.chars().flat_map(char::to_lowercase).collect();
        }
        text.into_owned()
    }
}

fn is_removed(character: char) -> bool {
    match character {
        '\0' | '\u{FFFD}' => true,
        '\t' | '\n' | '\r' => false,
        _ => character.is_other(),
    }
}

fn one_space(character: char) -> char {
    if character.is_whitespace() { ' ' } else { character }
}

fn with_chinese_apart(text: &str) -> String {
    let mut apart = String::with_capacity(text.len() * 2);
    for character in text.chars() {
        if is_chinese(character) {
            apart.extend([' ', character, ' ']);
        } else {
            apart.push(character);
        }
    }
    apart
}

/// The blocks of ideographs that BERT was trained with; the library leaves out U+2B820 to U+2B91F.
fn is_chinese(character: char) -> bool {
    matches!(
        character,
        '\u{4E00}'..='\u{9FFF}'
            | '\u{3400}'..='\u{4DBF}'
            | '\u{20000}'..='\u{2A6DF}'
            | '\u{2A700}'..='\u{2B73F}'
            | '\u{2B740}'..='\u{2B81F}'
            | '\u{2B920}'..='\u{2CEAF}'
            | '\u{F900}'..='\u{FAFF}'
            | '\u{2F800}'..='\u{2FA1F}'
    )
}
