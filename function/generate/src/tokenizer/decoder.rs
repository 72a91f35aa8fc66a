//! Spellings of tokens to text.

use std::borrow::Cow;

use serde::Deserialize;

use super::byte_level;
use super::pre_tokenizer::{ByteLevelFile, SplitPattern};
use super::unknown::{Known, Unknown};

/// How a file describes it.
#[derive(Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
pub(super) enum DecoderFile {
    Sequence { decoders: Vec<DecoderFile> },
    ByteLevel(#[expect(dead_code, reason = "read to be checked")] ByteLevelFile),
    WordPiece { prefix: String, cleanup: bool },
    Replace { pattern: SplitPattern, content: String },
    ByteFallback {},
    Fuse {},
    Strip { content: char, start: usize, stop: usize },
}

/// The steps in their order; without a decoder there is a space between tokens.
#[derive(Debug)]
pub(super) struct Decoder {
    steps: Option<Vec<Step>>,
}

#[derive(Debug)]
enum Step {
    /// Spellings to bytes, all of them to one text.
    ByteLevel,
    /// A token without the prefix begins a word; `cleanup` undoes what English tokenizers did.
    WordPiece {
        prefix: String,
        cleanup: bool,
    },
    /// What stands for each `▁`.
    ReplaceMark(String),
    /// `<0xE2>` is a byte.
    ByteFallback,
    Fuse,
    /// A character is taken from the beginning of each text, so many times.
    StripStart(char, usize),
}

type Texts<'t> = Vec<Cow<'t, str>>;

impl Decoder {
    pub(super) fn new(file: Option<DecoderFile>) -> Known<Self> {
        let Some(file) = file else {
            return Ok(Self { steps: None });
        };
        let mut steps = Vec::new();
        push_steps(file, &mut steps)?;
        Ok(Self { steps: Some(steps) })
    }

    pub(super) fn decode(&self, mut texts: Texts) -> String {
        let Some(steps) = &self.steps else {
            return texts.join(" ");
        };
        for step in steps {
            texts = step.apply(texts);
        }
        texts.concat()
    }
}

fn push_steps(file: DecoderFile, steps: &mut Vec<Step>) -> Known<()> {
    steps.push(match file {
        DecoderFile::Sequence { decoders } => {
            return decoders.into_iter().try_for_each(|file| push_steps(file, steps));
        }
        DecoderFile::ByteLevel(_) => Step::ByteLevel,
        DecoderFile::WordPiece { prefix, cleanup } => Step::WordPiece { prefix, cleanup },
        DecoderFile::Replace { pattern: SplitPattern::String(mark), content } if mark == "▁" => {
            Step::ReplaceMark(content)
        }
        DecoderFile::ByteFallback {} => Step::ByteFallback,
        DecoderFile::Fuse {} => Step::Fuse,
        DecoderFile::Strip { content, start, stop: 0 } => Step::StripStart(content, start),
        DecoderFile::Replace { .. } => {
            return Err(Unknown::new("a decoder replaces more than `▁`"));
        }
        DecoderFile::Strip { .. } => return Err(Unknown::new("a decoder strips the end")),
    });
    Ok(())
}

impl Step {
    fn apply<'t>(&self, texts: Texts<'t>) -> Texts<'t> {
        match self {
            Self::ByteLevel => vec![Cow::Owned(from_bytes(&texts))],
            Self::WordPiece { prefix, cleanup } => from_pieces(&texts, prefix, *cleanup),
            Self::ReplaceMark(content) => {
                each(texts, |text| text.contains('▁').then(|| text.replace('▁', content)))
            }
            Self::ByteFallback => from_byte_tokens(texts),
            Self::Fuse => vec![Cow::Owned(texts.concat())],
            Self::StripStart(character, most) => {
                each(texts, |text| stripped(text, *character, *most))
            }
        }
    }
}

/// Changes the texts for which `change` gives another.
fn each(texts: Texts, change: impl Fn(&str) -> Option<String>) -> Texts {
    texts.into_iter().map(|text| change(&text).map_or(text, Cow::Owned)).collect()
}

fn from_bytes(texts: &Texts) -> String {
    let mut bytes = Vec::new();
    for text in texts {
        byte_level::push_bytes(text, &mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn from_pieces<'t>(texts: &Texts, prefix: &str, cleanup: bool) -> Texts<'t> {
    let words = texts.iter().enumerate().map(|(place, text)| {
        let word = match text.strip_prefix(prefix) {
            _ if place == 0 => text.clone().into_owned(),
            Some(rest) => rest.to_owned(),
            None => format!(" {text}"),
        };
        Cow::Owned(if cleanup { cleaned(word) } else { word })
    });
    words.collect()
}

/// One after the other, in this order, as the library does it.
fn cleaned(text: String) -> String {
    const REPLACED: [(&str, &str); 11] = [
        (" .", "."),
        (" ?", "?"),
        (" !", "!"),
        (" ,", ","),
        (" ' ", "'"),
        (" n't", "n't"),
        (" 'm", "'m"),
        (" do not", " don't"),
        (" 's", "'s"),
        (" 've", "'ve"),
        (" 're", "'re"),
    ];
    REPLACED.iter().fold(text, |text, (from, to)| text.replace(from, to))
}

/// Runs of byte tokens become their text, or U+FFFD for each byte where the run is not UTF-8.
fn from_byte_tokens(texts: Texts) -> Texts {
    let mut joined = Vec::with_capacity(texts.len());
    let mut bytes = Vec::new();
    for text in texts {
        if let Some(byte) = byte_of(&text) {
            bytes.push(byte);
        } else {
            flush(&mut bytes, &mut joined);
            joined.push(text);
        }
    }
    flush(&mut bytes, &mut joined);
    joined
}

fn flush(bytes: &mut Vec<u8>, texts: &mut Texts) {
    match String::from_utf8(std::mem::take(bytes)) {
        Ok(text) if text.is_empty() => {}
        Ok(text) => texts.push(Cow::Owned(text)),
        Err(wrong) => texts.extend(wrong.as_bytes().iter().map(|_| Cow::Borrowed("\u{FFFD}"))),
    }
}

/// `<0xE2>`, and whatever else the standard library takes for two digits.
pub(super) fn byte_of(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    u8::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 2)
}

fn stripped(text: &str, character: char, most: usize) -> Option<String> {
    let rest = (0..most).try_fold(text, |rest, _| match rest.strip_prefix(character) {
        Some(shorter) => Ok(shorter),
        None => Err(rest),
    });
    let rest = rest.unwrap_or_else(|rest| rest);
    (rest.len() < text.len()).then(|| rest.to_owned())
}
