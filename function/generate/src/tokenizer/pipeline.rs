//! The tokenizers that are run here rather than by the library.
//!
//! ```text
//! text ── added tokens ── normalise ── added tokens ── words ── model ── ids
//!           cut out                      cut out
//! ```
//!
//! The library parses a `tokenizer.json` into trees of strings, which takes up to a second. Here it
//! is read once, from front to back, into a few flat tables; all but its vocabulary and its merges
//! is small. What comes out, ids and texts, is the same: the steps below are those of the library,
//! and a file in which anything is not known exactly is left to it.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use tokenizers::{PaddingParams, TruncationParams};

use super::added::{Added, AddedFile, Part};
use super::bpe::{Bpe, Rules, Workspace};
use super::decoder::{Decoder, DecoderFile};
use super::merges::Merges;
use super::normalizer::{Normalizer, NormalizerFile};
use super::post_processor::{Affixes, PostProcessorFile};
use super::pre_tokenizer::{PreTokenizer, PreTokenizerFile};
use super::scan::Scanner;
use super::unknown::{Known, Unknown};
use super::vocabulary::Vocabulary;
use super::wordpiece::WordPiece;

/// A tokenizer all of whose parts are known.
pub(super) struct Pipeline {
    added: Added,
    normalizer: Normalizer,
    pre_tokenizer: PreTokenizer,
    vocabulary: Vocabulary,
    model: Model,
    affixes: Affixes,
    decoder: Decoder,
}

enum Model {
    Bpe(Bpe),
    WordPiece(WordPiece),
}

impl Pipeline {
    pub(super) fn read(tokenizer_json: &[u8]) -> Known<Self> {
        let file = File::read(tokenizer_json)?;
        let (vocabulary, model) = file.model.ok_or_else(|| Unknown::new("there is no model"))?;
        let normalizer = Normalizer::new(file.normalizer)?;
        let added = Added::new(file.added_tokens, &vocabulary, &normalizer)?;
        Ok(Self {
            added,
            normalizer,
            pre_tokenizer: PreTokenizer::new(file.pre_tokenizer)?,
            vocabulary,
            model,
            affixes: Affixes::new(file.post_processor)?,
            decoder: Decoder::new(file.decoder)?,
        })
    }

    pub(super) fn encode(&self, text: &str, add_special: bool) -> Vec<u32> {
        let mut ids = Vec::with_capacity(text.len() / USUAL_TOKEN_BYTES);
        if add_special {
            ids.extend(&self.affixes.before);
        }
        let mut work = Workspace::default();
        self.added.split_raw(text, |part| match part {
            Part::Token(id) => ids.push(id),
            Part::Text(text) => self.encode_part(text, &mut work, &mut ids),
        });
        if add_special {
            ids.extend(&self.affixes.after);
        }
        ids
    }

    pub(super) fn encode_within(&self, text: &str, limit: usize) -> Vec<u32> {
        let Affixes { before, after } = &self.affixes;
        let mut ids = self.encode(text, true);
        if ids.len() > limit {
            ids.truncate(limit.saturating_sub(after.len()).max(before.len()));
            ids.extend(after);
        }
        ids
    }

    pub(super) fn decode(&self, ids: &[u32]) -> String {
        let shown = ids.iter().filter(|&&id| !self.is_special(id));
        self.decoder.decode(shown.filter_map(|&id| self.token(id)).map(Cow::Borrowed).collect())
    }

    pub(super) fn vocabulary_size(&self) -> usize {
        self.vocabulary.count() + self.added.new_count()
    }

    pub(super) fn token_id(&self, token: &str) -> Option<u32> {
        self.vocabulary.id(token.as_bytes()).or_else(|| self.added.new_id(token))
    }

    pub(super) fn token(&self, id: u32) -> Option<&str> {
        self.vocabulary.text(id).or_else(|| self.added.new_text(id))
    }

    pub(super) fn is_special(&self, id: u32) -> bool {
        self.added.is_special(id)
    }

    pub(super) fn special_ids(&self) -> &[u32] {
        self.added.special_ids()
    }

    /// A text between added tokens.
    fn encode_part(&self, text: &str, work: &mut Workspace, ids: &mut Vec<u32>) {
        let text = self.normalizer.normalize(text);
        self.added.split_normalized(&text, |part| match part {
            Part::Token(id) => ids.push(id),
            Part::Text(text) => self.pre_tokenizer.split(text, &mut |word| match &self.model {
                Model::Bpe(bpe) => bpe.encode(word, &self.vocabulary, work, ids),
                Model::WordPiece(pieces) => pieces.encode(word, &self.vocabulary, ids),
            }),
        });
    }
}

/// What a `tokenizer.json` says.
#[derive(Default)]
struct File<'a> {
    added_tokens: Vec<AddedFile<'a>>,
    normalizer: Option<NormalizerFile>,
    pre_tokenizer: Option<PreTokenizerFile>,
    post_processor: Option<PostProcessorFile>,
    decoder: Option<DecoderFile>,
    model: Option<(Vocabulary, Model)>,
}

impl<'a> File<'a> {
    fn read(tokenizer_json: &'a [u8]) -> Known<Self> {
        let mut scanner = Scanner::new(tokenizer_json);
        let mut file = Self::default();
        each_field(&mut scanner, |scanner, key| file.read_field(scanner, key))?;
        scanner.end()?;
        Ok(file)
    }

    fn read_field(&mut self, scanner: &mut Scanner<'a>, key: &[u8]) -> Known<()> {
        match key {
            b"version" if scanner.value::<Cow<str>>()? == "1.0" => {}
            b"truncation" => scanner.checked::<Option<TruncationParams>>()?,
            b"padding" => scanner.checked::<Option<PaddingParams>>()?,
            b"added_tokens" => self.added_tokens = scanner.value()?,
            b"normalizer" => self.normalizer = scanner.value()?,
            b"pre_tokenizer" => self.pre_tokenizer = scanner.value()?,
            b"post_processor" => self.post_processor = scanner.value()?,
            b"decoder" => self.decoder = scanner.value()?,
            b"model" => self.model = Some(ModelFile::read(scanner)?.model()?),
            _ => return Err(Unknown::new(format!("its field `{}`", key.escape_ascii()))),
        }
        Ok(())
    }
}

/// Both models' fields, those of the other being absent.
#[derive(Default)]
struct ModelFile<'a> {
    algorithm: Cow<'a, str>,
    vocabulary: Vocabulary,
    /// Where the merges begin: the vocabulary is needed to read them.
    merges: Option<Scanner<'a>>,
    read_merges: Option<Merges>,
    unknown: Option<Cow<'a, str>>,
    prefix: Option<String>,
    suffix: Option<String>,
    max_characters: Option<usize>,
    rules: Rules,
}

impl<'a> ModelFile<'a> {
    fn read(scanner: &mut Scanner<'a>) -> Known<Self> {
        let mut file = Self::default();
        each_field(scanner, |scanner, key| file.read_field(scanner, key))?;
        Ok(file)
    }

    fn read_field(&mut self, scanner: &mut Scanner<'a>, key: &[u8]) -> Known<()> {
        match key {
            b"type" => self.algorithm = scanner.value()?,
            b"vocab" => self.vocabulary = Vocabulary::read(scanner)?,
            b"merges" => self.read_merges(scanner)?,
            b"unk_token" => self.unknown = scanner.value()?,
            b"continuing_subword_prefix" => self.prefix = scanner.value()?,
            b"end_of_word_suffix" => self.suffix = scanner.value()?,
            b"max_input_chars_per_word" => self.max_characters = scanner.value()?,
            b"fuse_unk" => self.rules.fuse_unknown = flag(scanner)?,
            b"byte_fallback" => self.rules.byte_fallback = flag(scanner)?,
            b"ignore_merges" => self.rules.ignore_merges = flag(scanner)?,
            b"dropout" => scanner.value()?,
            _ => return Err(Unknown::new(format!("the model's `{}`", key.escape_ascii()))),
        }
        Ok(())
    }

    /// At once where the vocabulary has been read, as in all files that the library wrote.
    fn read_merges(&mut self, scanner: &mut Scanner<'a>) -> Known<()> {
        if self.vocabulary.count() > 0 {
            self.read_merges = Some(Merges::read(scanner, &self.vocabulary)?);
        } else {
            self.merges = Some(scanner.clone());
            scanner.checked::<IgnoredAny>()?;
        }
        Ok(())
    }

    fn model(mut self) -> Known<(Vocabulary, Model)> {
        let model = match &*self.algorithm {
            "BPE" => Model::Bpe(self.bpe()?),
            "WordPiece" => Model::WordPiece(self.word_piece()?),
            other => return Err(Unknown::new(format!("the model is `{other}`"))),
        };
        Ok((self.vocabulary, model))
    }

    fn bpe(&mut self) -> Known<Bpe> {
        let is_plain = |affix: &Option<String>| affix.as_ref().is_none_or(String::is_empty);
        if !is_plain(&self.prefix) || !is_plain(&self.suffix) || self.max_characters.is_some() {
            return Err(Unknown::new("the parts of a word are marked"));
        }
        if let Some(mut scanner) = self.merges.take() {
            self.read_merges = Some(Merges::read(&mut scanner, &self.vocabulary)?);
        }
        let merges = self.read_merges.take().ok_or_else(|| Unknown::new("there are no merges"))?;
        let unknown = self.unknown.is_some().then(|| self.unknown_id()).transpose()?;
        Ok(Bpe::new(merges, Rules { unknown, ..self.rules }, &self.vocabulary))
    }

    fn word_piece(&mut self) -> Known<WordPiece> {
        let has_merges = self.read_merges.is_some() || self.merges.is_some();
        if has_merges || self.rules != Rules::default() || self.suffix.is_some() {
            return Err(Unknown::new("WordPiece has fields of BPE"));
        }
        let missing = || Unknown::new("WordPiece lacks a field");
        Ok(WordPiece {
            unknown: self.unknown_id()?,
            prefix: self.prefix.take().ok_or_else(missing)?,
            max_characters: self.max_characters.ok_or_else(missing)?,
        })
    }

    fn unknown_id(&self) -> Known<u32> {
        let id = self.unknown.as_ref().and_then(|token| self.vocabulary.id(token.as_bytes()));
        id.ok_or_else(|| Unknown::new("the unknown token is no token"))
    }
}

/// Reads the fields of an object, each of which is there once.
fn each_field<'a>(
    scanner: &mut Scanner<'a>,
    mut read: impl FnMut(&mut Scanner<'a>, &[u8]) -> Known<()>,
) -> Known<()> {
    scanner.expect(b'{')?;
    let mut seen = Vec::new();
    let mut more = !scanner.is_empty(b'}')?;
    while more {
        let key = scanner.key()?.raw;
        if seen.contains(&key) {
            return Err(Unknown::new(format!("`{}` is there twice", key.escape_ascii())));
        }
        seen.push(key);
        read(scanner, key)?;
        more = scanner.another(b'}')?;
    }
    Ok(())
}

fn flag(scanner: &mut Scanner) -> Known<bool> {
    Ok(scanner.value::<Option<bool>>()?.unwrap_or_default())
}

/// English has four bytes a token; other languages grow the list a little later.
const USUAL_TOKEN_BYTES: usize = 4;
