//! The tokens of a model: id to spelling, spelling to id.
//!
//! ```text
//! texts   <s></s>▁the▁and...        one string, in the order of the file
//! spans   [0..3, 3..7, 7..13, ...]  by id
//! index   [key, id] slots           by hash of the key; open addressing, linear probing
//! ```
//!
//! The key of up to eleven bytes is the spelling itself, so that a look-up touches one line of memory
//! and no more: reading merges is a million look-ups all over the table. The key of a longer one is
//! its hash, and `texts` has the last word.
//!
//! A file whose ids have large holes, or in which two spellings share an id, is not known here.

use std::hint::black_box;
use std::ops::Range;

use super::hash;
use super::scan::Scanner;
use super::unknown::{Known, Unknown};

/// All tokens of a model's vocabulary.
#[derive(Default)]
pub(super) struct Vocabulary {
    texts: String,
    spans: Vec<Span>,
    index: Vec<Slot>,
    count: usize,
}

/// A text that is looked up, its key, and the first slot to look at.
#[derive(Clone, Copy)]
pub(super) struct Sought<'t> {
    text: &'t [u8],
    key: Key,
    home: usize,
}

/// What a token is found by, and its id.
#[derive(Clone, Copy)]
struct Slot {
    key: Key,
    id: u32,
}

/// A spelling, or the hash of a long one.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key {
    /// The first eight bytes, or the hash.
    head: u64,
    /// Three more bytes and the length; or `LONG`; or `NOTHING`.
    tail: u32,
}

/// Where in `texts` a token's spelling is.
#[derive(Clone, Copy)]
struct Span {
    start: u32,
    end: u32,
}

impl Vocabulary {
    /// Reads `{"spelling": id, ...}`.
    pub(super) fn read(file: &mut Scanner) -> Known<Self> {
        let mut texts = Vec::with_capacity(USUAL_TEXT_BYTES);
        let mut spans = Vec::with_capacity(USUAL_TOKENS);
        let mut count = 0;
        let id_limit = file.remaining() / ENTRY_BYTES + MAX_HOLES;
        file.expect(b'{')?;
        let mut more = !file.is_empty(b'}')?;
        while more {
            let start = offset(&texts)?;
            file.key()?.push_to(&mut texts)?;
            let id = file.number()? as usize;
            let span = Span { start, end: offset(&texts)? };
            if id >= id_limit {
                return Err(Unknown::new("an id is far beyond the number of tokens"));
            }
            count += 1;
            place(&mut spans, id, span)?;
            more = file.another(b'}')?;
        }
        check_boundaries(&texts, &spans)?;
        let texts = String::from_utf8(texts).map_err(|_| Unknown::new("a token is not UTF-8"))?;
        if spans.len() > count + MAX_HOLES {
            return Err(Unknown::new("the ids have large holes"));
        }
        Self { texts, spans, index: Vec::new(), count }.indexed()
    }

    /// How many tokens there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    #[inline]
    pub(super) fn text(&self, id: u32) -> Option<&str> {
        let span = self.spans.get(id as usize)?;
        self.texts.get(span.range())
    }

    #[inline]
    pub(super) fn id(&self, text: &[u8]) -> Option<u32> {
        self.find(self.seek(text))
    }

    /// The first half of a look-up: where to look.
    #[inline]
    pub(super) fn seek<'t>(&self, text: &'t [u8]) -> Sought<'t> {
        let key = Key::of(text);
        Sought { text, key, home: key.home(self.index.len().wrapping_sub(1)) }
    }

    /// Has the memory of many look-ups come at once. Each alone would wait for its own: which slot
    /// is next depends on what the one before holds.
    #[inline]
    pub(super) fn touch<'t>(&self, sought: impl Iterator<Item = &'t Sought<'t>>) {
        let ids = sought.filter_map(|sought| self.index.get(sought.home)).map(|slot| slot.id);
        black_box(ids.fold(0, |sum, id| sum ^ id));
    }

    /// The second half of a look-up.
    #[inline]
    pub(super) fn find(&self, sought: Sought) -> Option<u32> {
        let Sought { text, key, home: mut at } = sought;
        let mask = self.index.len().wrapping_sub(1);
        loop {
            let slot = *self.index.get(at)?;
            if slot.key == key && (key.is_whole() || self.bytes(slot.id) == text) {
                return Some(slot.id);
            }
            if slot.is_empty() {
                return None;
            }
            at = (at + 1) & mask;
        }
    }

    /// Whether `id` is `left` and `right` joined.
    #[inline]
    pub(super) fn joins(&self, id: u32, left: &[u8], right: &[u8]) -> bool {
        let text = self.bytes(id);
        text.len() == left.len() + right.len()
            && text.starts_with(left)
            && &text[left.len()..] == right
    }

    /// The spelling of `id`, which is empty where there is none.
    #[inline]
    fn bytes(&self, id: u32) -> &[u8] {
        let range = self.spans.get(id as usize).map(|span| span.range());
        range.and_then(|range| self.texts.as_bytes().get(range)).unwrap_or_default()
    }

    fn indexed(mut self) -> Known<Self> {
        let slots = (self.count * 2).next_power_of_two().max(2);
        let mut index = vec![Slot::EMPTY; slots];
        let mut batch = Vec::with_capacity(BATCH);
        for (first, spans) in (0..).step_by(BATCH).zip(self.spans.chunks(BATCH)) {
            let tokens = (first..).zip(spans).filter(|(_, span)| !span.is_hole());
            batch.clear();
            batch.extend(tokens.map(|(id, _)| Slot { key: Key::of(self.bytes(id)), id }));
            let homes = batch.iter().map(|slot| index[slot.key.home(slots - 1)].id);
            black_box(homes.fold(0, |sum, id| sum ^ id));
            batch.iter().try_for_each(|&slot| self.insert(slot, &mut index))?;
        }
        self.index = index;
        Ok(self)
    }

    #[inline]
    fn insert(&self, new: Slot, index: &mut [Slot]) -> Known<()> {
        let mask = index.len() - 1;
        let home = new.key.home(mask);
        for probe in 0..MAX_PROBES {
            let slot = &mut index[(home + probe) & mask];
            if slot.is_empty() {
                *slot = new;
                return Ok(());
            }
            let is_whole = new.key.is_whole();
            if slot.key == new.key && (is_whole || self.bytes(slot.id) == self.bytes(new.id)) {
                return Err(Unknown::new("a token is there twice"));
            }
        }
        Err(Unknown::new("the spellings collide"))
    }
}

impl<'t> Sought<'t> {
    pub(super) fn text(self) -> &'t [u8] {
        self.text
    }
}

impl Key {
    #[inline]
    fn of(text: &[u8]) -> Self {
        if text.len() > WHOLE_BYTES {
            return Self { head: hash::of_bytes(text), tail: LONG };
        }
        let (head, rest) = match text.split_first_chunk::<8>() {
            Some((head, rest)) => (u64::from_le_bytes(*head), small(rest)),
            None => (small(text), 0),
        };
        #[expect(clippy::cast_possible_truncation, reason = "at most 3 bytes, and a length of 11")]
        let tail = rest as u32 | (text.len() as u32) << 24;
        Self { head, tail }
    }

    /// Whether this is all of the spelling.
    #[inline]
    fn is_whole(self) -> bool {
        self.tail != LONG
    }

    /// The first slot to look at.
    #[inline]
    fn home(self, mask: usize) -> usize {
        let hash = hash::of_two(self.head, u64::from(self.tail));
        #[expect(clippy::cast_possible_truncation, reason = "the low half of the hash")]
        let low = hash as u32;
        low as usize & mask
    }
}

impl Slot {
    const EMPTY: Self = Self { key: Key { head: 0, tail: NOTHING }, id: 0 };

    #[inline]
    fn is_empty(self) -> bool {
        self.key.tail == NOTHING
    }
}

/// Up to seven bytes as a number.
#[inline]
fn small(bytes: &[u8]) -> u64 {
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let shift = (bytes.len() - 4) * 8;
        let last = u64::from(u32::from_le_bytes(*last));
        return u64::from(u32::from_le_bytes(*first)) | last << shift;
    }
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

impl Span {
    const HOLE: Self = Self { start: u32::MAX, end: u32::MAX };

    #[inline]
    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    fn is_hole(self) -> bool {
        self.start == u32::MAX
    }
}

#[inline]
fn offset(texts: &[u8]) -> Known<u32> {
    let offset = u32::try_from(texts.len()).ok().filter(|&offset| offset < u32::MAX);
    offset.ok_or_else(|| Unknown::new("the spellings have more than 4 GiB"))
}

#[inline]
fn place(spans: &mut Vec<Span>, id: usize, span: Span) -> Known<()> {
    if id == spans.len() {
        spans.push(span);
        return Ok(());
    }
    if id > spans.len() {
        spans.resize(id + 1, Span::HOLE);
    }
    if !spans[id].is_hole() {
        return Err(Unknown::new("two tokens have one id"));
    }
    spans[id] = span;
    Ok(())
}

/// Tokens that are UTF-8 together are so each alone if none begins inside of a character.
fn check_boundaries(texts: &[u8], spans: &[Span]) -> Known<()> {
    let begins_inside =
        |span: &Span| texts.get(span.start as usize).is_some_and(|byte| byte & 0xC0 == 0x80);
    if spans.iter().any(begins_inside) {
        return Err(Unknown::new("a token is not UTF-8"));
    }
    Ok(())
}

/// Look-ups whose memory comes together: more than a core can wait for at once, few enough that all
/// of it stays in the first cache.
pub(super) const BATCH: usize = 32;

/// What fits into a key, beside a length in its last byte.
const WHOLE_BYTES: usize = 11;

/// No key has a length beyond 11 in its last byte.
const LONG: u32 = 0xFF << 24;
const NOTHING: u32 = 0xFE << 24;

/// Ids that no token has, in honest files: a few that were kept free, or a handful of tokens that
/// moved to the added ones.
const MAX_HOLES: usize = 1 << 16;

/// The shortest way to write a token: `"":0,`.
const ENTRY_BYTES: usize = 5;

/// In a table that is half full the longest search is some dozens of slots.
const MAX_PROBES: usize = 512;

/// Enough for a vocabulary of today without growing: the memory is not touched before it is used.
const USUAL_TOKENS: usize = 1 << 18;
const USUAL_TEXT_BYTES: usize = 4 << 20;
