//! The tokens that a model expects around every text, as `<s>` or `[CLS]` and `[SEP]`.

use std::collections::HashMap;

use serde::Deserialize;

use super::pre_tokenizer::ByteLevelFile;
use super::unknown::{Known, Unknown};

/// How a file describes them. Of pairs of texts only the shape is looked at.
#[derive(Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
pub(super) enum PostProcessorFile {
    Sequence {
        processors: Vec<PostProcessorFile>,
    },
    TemplateProcessing {
        single: Vec<Piece>,
        #[serde(rename = "pair")]
        _pair: Vec<Piece>,
        special_tokens: HashMap<String, SpecialToken>,
    },
    BertProcessing {
        sep: (String, u32),
        cls: (String, u32),
    },
    RobertaProcessing {
        sep: (String, u32),
        cls: (String, u32),
        #[serde(rename = "trim_offsets")]
        _trim_offsets: bool,
        #[serde(rename = "add_prefix_space")]
        _add_prefix_space: bool,
    },
    /// It moves offsets, which nobody asks for.
    ByteLevel(#[expect(dead_code, reason = "read to be checked")] ByteLevelFile),
}

/// A piece of a template: the text, or tokens by their name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) enum Piece {
    Sequence {
        id: TextName,
        #[serde(rename = "type_id")]
        _type_id: u32,
    },
    SpecialToken {
        id: String,
        #[serde(rename = "type_id")]
        _type_id: u32,
    },
}

/// The first text, or the second of a pair.
#[derive(Deserialize)]
pub(super) enum TextName {
    A,
    B,
}

/// A name in a template, and the ids that it stands for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SpecialToken {
    #[serde(rename = "id")]
    _id: String,
    ids: Vec<u32>,
    #[serde(rename = "tokens")]
    _tokens: Vec<String>,
}

/// The ids before and after a text.
#[derive(Debug, Default)]
pub(super) struct Affixes {
    pub(super) before: Vec<u32>,
    pub(super) after: Vec<u32>,
}

impl Affixes {
    pub(super) fn new(file: Option<PostProcessorFile>) -> Known<Self> {
        let mut found = Vec::new();
        if let Some(file) = file {
            push(file, &mut found)?;
        }
        let affixes = found.pop().unwrap_or_default();
        if !found.is_empty() {
            return Err(Unknown::new("several post-processors add tokens"));
        }
        Ok(affixes)
    }

    fn of_template(single: Vec<Piece>, tokens: &HashMap<String, SpecialToken>) -> Known<Self> {
        let mut affixes = Self::default();
        let mut texts = 0;
        for piece in single {
            match piece {
                Piece::Sequence { id: TextName::A, .. } => texts += 1,
                Piece::Sequence { id: TextName::B, .. } => texts = usize::MAX,
                Piece::SpecialToken { id, .. } => {
                    let token = tokens.get(&id);
                    let token =
                        token.ok_or_else(|| Unknown::new("a template names no known token"))?;
                    let side = if texts == 0 { &mut affixes.before } else { &mut affixes.after };
                    side.extend(&token.ids);
                }
            }
            if texts > 1 {
                break;
            }
        }
        if texts == 1 { Ok(affixes) } else { Err(Unknown::new("a template has not one text")) }
    }
}

fn push(file: PostProcessorFile, found: &mut Vec<Affixes>) -> Known<()> {
    match file {
        PostProcessorFile::Sequence { processors } => {
            return processors.into_iter().try_for_each(|file| push(file, found));
        }
        PostProcessorFile::TemplateProcessing { single, special_tokens, .. } => {
            found.push(Affixes::of_template(single, &special_tokens)?);
        }
        PostProcessorFile::BertProcessing { sep, cls }
        | PostProcessorFile::RobertaProcessing { sep, cls, .. } => {
            found.push(Affixes { before: vec![cls.1], after: vec![sep.1] });
        }
        PostProcessorFile::ByteLevel(_) => {}
    }
    Ok(())
}
