//! Tokens that were added to a vocabulary: `<|im_end|>`, and words that no merge reaches.
//!
//! They are cut out of a text before anything else happens to it, the longest first where several
//! begin at one place. Two lists are searched: one in the text as it came, one, of tokens that ask
//! for it, in the normalised text.
//!
//! A list is sorted by spelling. Those that begin with the bytes read so far stand side by side in
//! it, and each further byte narrows them down, so that a search needs no other structure: Gemma
//! adds 6,415 tokens, and a start should not build an automaton for them.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;

use super::normalizer::Normalizer;
use super::unknown::{Known, Unknown};
use super::vocabulary::Vocabulary;

/// How a file describes one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "these are the fields of the file")]
pub(super) struct AddedFile<'a> {
    /// What the file's author expected; the vocabulary decides.
    #[serde(rename = "id")]
    _id: u32,
    #[serde(borrow)]
    content: Cow<'a, str>,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
    normalized: bool,
    special: bool,
}

/// All added tokens.
#[derive(Default)]
pub(super) struct Added {
    tokens: Vec<Token>,
    /// Ascending; most have none.
    special_ids: Vec<u32>,
    /// Those that the vocabulary does not have.
    new_ids: HashMap<String, u32>,
    new_texts: HashMap<u32, String>,
    raw: Search,
    normalized: Search,
}

#[derive(Clone, Copy)]
struct Token {
    id: u32,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
}

/// A part of a text.
pub(super) enum Part<'t> {
    Token(u32),
    Text(&'t str),
}

impl Added {
    pub(super) fn new(
        list: Vec<AddedFile>,
        vocabulary: &Vocabulary,
        normalizer: &Normalizer,
    ) -> Known<Self> {
        let mut added = Self::default();
        let (mut as_is, mut changed) = (Vec::new(), Vec::new());
        for file in list {
            let index = added.tokens.len();
            added.push(&file, vocabulary)?;
            if file.normalized {
                changed.push((normalizer.normalize(&file.content).into_owned(), index));
            } else {
                as_is.push((file.content.into_owned(), index));
            }
        }
        added.special_ids.sort_unstable();
        added.check_once()?;
        added.raw = Search::new(as_is)?;
        added.normalized = Search::new(changed)?;
        Ok(added)
    }

    fn push(&mut self, file: &AddedFile, vocabulary: &Vocabulary) -> Known<()> {
        let known = vocabulary.id(file.content.as_bytes());
        let id = match known.or_else(|| self.new_id(&file.content)) {
            Some(id) => id,
            None => self.push_new(&file.content, vocabulary)?,
        };
        if file.special {
            self.special_ids.push(id);
        }
        let (single_word, lstrip, rstrip) = (file.single_word, file.lstrip, file.rstrip);
        self.tokens.push(Token { id, single_word, lstrip, rstrip });
        Ok(())
    }

    /// What the vocabulary does not have gets the ids after it.
    fn push_new(&mut self, content: &str, vocabulary: &Vocabulary) -> Known<u32> {
        let id = u32::try_from(vocabulary.count() + self.new_ids.len());
        let id = id.ok().filter(|&id| vocabulary.text(id).is_none());
        let id = id.ok_or_else(|| Unknown::new("an added token takes the id of another"))?;
        self.new_ids.insert(content.to_owned(), id);
        self.new_texts.insert(id, content.to_owned());
        Ok(id)
    }

    fn check_once(&self) -> Known<()> {
        let mut ids: Vec<u32> = self.tokens.iter().map(|token| token.id).collect();
        ids.sort_unstable();
        if ids.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Unknown::new("an added token is there twice"));
        }
        Ok(())
    }

    /// How many tokens the vocabulary does not have.
    pub(super) fn new_count(&self) -> usize {
        self.new_ids.len()
    }

    /// The id of a token that the vocabulary does not have.
    pub(super) fn new_id(&self, text: &str) -> Option<u32> {
        self.new_ids.get(text).copied()
    }

    pub(super) fn new_text(&self, id: u32) -> Option<&str> {
        self.new_texts.get(&id).map(String::as_str)
    }

    pub(super) fn is_special(&self, id: u32) -> bool {
        self.special_ids.binary_search(&id).is_ok()
    }

    pub(super) fn special_ids(&self) -> &[u32] {
        &self.special_ids
    }

    /// Splits a text as it came.
    pub(super) fn split_raw<'t>(&self, text: &'t str, part: impl FnMut(Part<'t>)) {
        self.split(&self.raw, text, part);
    }

    /// Splits a normalised text.
    pub(super) fn split_normalized<'t>(&self, text: &'t str, part: impl FnMut(Part<'t>)) {
        self.split(&self.normalized, text, part);
    }

    fn split<'t>(&self, search: &Search, text: &'t str, mut part: impl FnMut(Part<'t>)) {
        let (mut done, mut from) = (0, 0);
        while let Some(found) = search.next(text, from) {
            from = found.end;
            let token = self.tokens[found.index];
            if token.single_word && !stands_alone(text, found.start, found.end) {
                continue;
            }
            let start =
                if token.lstrip { text[..found.start].trim_end().len() } else { found.start };
            if done < start {
                part(Part::Text(&text[done..start]));
            }
            part(Part::Token(token.id));
            done = if token.rstrip { end_of_space(text, found.end) } else { found.end };
        }
        if done < text.len() {
            part(Part::Text(&text[done..]));
        }
    }
}

/// The spellings to look for, in ascending order.
#[derive(Default)]
struct Search {
    spellings: Vec<(String, usize)>,
    /// Whether any spelling begins with the byte.
    begins: Vec<bool>,
}

struct Match {
    start: usize,
    end: usize,
    /// Among all added tokens.
    index: usize,
}

impl Search {
    fn new(mut spellings: Vec<(String, usize)>) -> Known<Self> {
        spellings.sort_unstable();
        let is_repeated = spellings.windows(2).any(|pair| pair[0].0 == pair[1].0);
        if is_repeated || spellings.first().is_some_and(|(first, _)| first.is_empty()) {
            return Err(Unknown::new("an added token is empty, or two are one once normalised"));
        }
        let mut begins = vec![false; 256];
        for (spelling, _) in &spellings {
            begins[usize::from(spelling.as_bytes()[0])] = true;
        }
        Ok(Self { spellings, begins })
    }

    /// The next match at `from` or later: the first place at which any begins, there the longest.
    fn next(&self, text: &str, from: usize) -> Option<Match> {
        if self.spellings.is_empty() {
            return None;
        }
        let bytes = text.as_bytes();
        (from..bytes.len()).filter(|&at| self.begins[usize::from(bytes[at])]).find_map(|start| {
            let (length, index) = self.longest(&bytes[start..])?;
            Some(Match { start, end: start + length, index })
        })
    }

    /// The longest spelling that `text` begins with: its length and its token.
    fn longest(&self, text: &[u8]) -> Option<(usize, usize)> {
        let mut candidates = &self.spellings[..];
        let mut longest = None;
        for (depth, &byte) in text.iter().enumerate() {
            let at_depth =
                |(spelling, _): &(String, usize)| spelling.as_bytes().get(depth).copied();
            let first = candidates.partition_point(|one| at_depth(one) < Some(byte));
            let count = candidates[first..].partition_point(|one| at_depth(one) == Some(byte));
            candidates = &candidates[first..first + count];
            match candidates.first() {
                Some((spelling, index)) if spelling.len() == depth + 1 => {
                    longest = Some((depth + 1, *index));
                }
                Some(_) => {}
                None => break,
            }
        }
        longest
    }
}

/// Whether no word goes on at either end.
fn stands_alone(text: &str, start: usize, end: usize) -> bool {
    let before = text[..start].chars().next_back();
    let after = text[end..].chars().next();
    !before.is_some_and(is_of_word) && !after.is_some_and(is_of_word)
}

/// `\w` of the regex crate. Without its tables nothing would compile.
fn is_of_word(character: char) -> bool {
    regex_syntax::try_is_word_character(character).expect("the feature `unicode-perl` is on")
}

fn end_of_space(text: &str, from: usize) -> usize {
    text.len() - text[from..].trim_start().len()
}
