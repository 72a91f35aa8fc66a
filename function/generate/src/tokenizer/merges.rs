//! The merges of byte-pair encoding: which two neighbours become one token, and which pair first.
//!
//! ```text
//! ranked  [(left, right, merged), ...]      by rank, the line in the file
//! index   [hash bits | rank, ...]           by hash of the pair; open addressing, linear probing
//! ```
//!
//! A file spells merges out, so each costs three look-ups by text: left, right, and both joined.
//! The third is guessed. Whoever wrote the file went through the vocabulary in order, so that the
//! token of a merge is the one of the merge before or follows it; a guess is compared, never trusted.

use std::hint::black_box;

use super::hash;
use super::scan::Scanner;
use super::unknown::{Known, Unknown};
use super::vocabulary::{BATCH, Sought, Vocabulary};

/// All merges of a model.
pub(super) struct Merges {
    ranked: Vec<Merge>,
    index: Vec<u32>,
    /// The bits of a slot that hold the rank; the others hold bits of the hash.
    rank_mask: u32,
}

/// Two tokens side by side, and the token that they become.
#[derive(Clone, Copy)]
struct Merge {
    left: u32,
    right: u32,
    merged: u32,
}

/// What a pair becomes, and how early.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub(super) rank: u32,
    pub(super) merged: u32,
}

impl Merges {
    /// Reads `["a b", ...]` or `[["a", "b"], ...]`.
    pub(super) fn read(file: &mut Scanner, vocabulary: &Vocabulary) -> Known<Self> {
        file.expect(b'[')?;
        let mut reader = Reader::new(vocabulary);
        let mut more = !file.is_empty(b']')?;
        let in_pairs = more && file.peek()? == b'[';
        while more {
            if in_pairs { reader.pair(file) } else { reader.line(file) }?;
            more = file.another(b']')?;
        }
        reader.flush()?;
        Self::indexed(reader.merges)
    }

    /// What `left` and `right` become.
    #[inline]
    pub(super) fn find(&self, left: u32, right: u32) -> Option<Found> {
        let hash = hash_of(left, right);
        let mask = self.index.len() - 1;
        let mut at = home(hash, mask);
        loop {
            let slot = self.index[at];
            if slot == EMPTY {
                return None;
            }
            if (slot ^ tag(hash)) & !self.rank_mask == 0 {
                let rank = slot & self.rank_mask;
                let merge = self.ranked[rank as usize];
                if merge.left == left && merge.right == right {
                    return Some(Found { rank, merged: merge.merged });
                }
            }
            at = (at + 1) & mask;
        }
    }

    fn indexed(ranked: Vec<Merge>) -> Known<Self> {
        let slots = (ranked.len() * 2).next_power_of_two().max(2);
        let limit = u32::try_from(slots).ok().filter(|&slots| slots <= MAX_SLOTS);
        let limit = limit.ok_or_else(|| Unknown::new("there are too many merges"))?;
        let mut table = Self { ranked, index: vec![EMPTY; slots], rank_mask: limit - 1 };
        let mut first = 0;
        while first < table.ranked.len() {
            first = table.insert_batch(first)?;
        }
        Ok(table)
    }

    /// Inserts a few merges from `first` on, having their memory come together, and returns the
    /// next.
    fn insert_batch(&mut self, first: usize) -> Known<usize> {
        let end = self.ranked.len().min(first + BATCH);
        let mask = self.index.len() - 1;
        let slots = self.ranked[first..end]
            .iter()
            .map(|merge| self.index[home(hash_of(merge.left, merge.right), mask)]);
        black_box(slots.fold(0, |sum, slot| sum ^ slot));
        for rank in first..end {
            #[expect(clippy::cast_possible_truncation, reason = "fewer than `MAX_SLOTS`")]
            self.insert(rank as u32)?;
        }
        Ok(end)
    }

    /// Where a pair is there twice, the later one holds, as in the library.
    #[inline]
    fn insert(&mut self, rank: u32) -> Known<()> {
        let merge = self.ranked[rank as usize];
        let hash = hash_of(merge.left, merge.right);
        let mask = self.index.len() - 1;
        let entry = tag(hash) & !self.rank_mask | rank;
        let home = home(hash, mask);
        for probe in 0..MAX_PROBES {
            let at = (home + probe) & mask;
            let slot = self.index[at];
            if slot == EMPTY || (slot ^ entry) & !self.rank_mask == 0 && self.is_at(slot, merge) {
                self.index[at] = entry;
                return Ok(());
            }
        }
        Err(Unknown::new("the merges collide"))
    }

    fn is_at(&self, slot: u32, merge: Merge) -> bool {
        let other = self.ranked[(slot & self.rank_mask) as usize];
        other.left == merge.left && other.right == merge.right
    }
}

/// Turns spellings into ids, a batch at a time.
struct Reader<'v, 'a> {
    vocabulary: &'v Vocabulary,
    merges: Vec<Merge>,
    batch: Vec<[Sought<'a>; 2]>,
    /// The token of the latest merge.
    latest: u32,
    /// Both halves, where no guess was right.
    joined: Vec<u8>,
}

impl<'v, 'a> Reader<'v, 'a> {
    fn new(vocabulary: &'v Vocabulary) -> Self {
        let merges = Vec::with_capacity(2 * vocabulary.count());
        let batch = Vec::with_capacity(BATCH);
        Self { vocabulary, merges, batch, latest: 0, joined: Vec::new() }
    }

    #[inline]
    fn pair(&mut self, file: &mut Scanner<'a>) -> Known<()> {
        file.expect(b'[')?;
        let left = file.string()?;
        file.expect(b',')?;
        let right = file.string()?;
        file.expect(b']')?;
        if left.has_escapes || right.has_escapes {
            let (mut first, mut second) = (Vec::new(), Vec::new());
            left.push_to(&mut first)?;
            right.push_to(&mut second)?;
            return self.push_copied(&first, &second);
        }
        self.push(left.raw, right.raw)
    }

    #[inline]
    fn line(&mut self, file: &mut Scanner<'a>) -> Known<()> {
        let line = file.string()?;
        if line.has_escapes {
            let mut plain = Vec::new();
            line.push_to(&mut plain)?;
            let (left, right) = halves(&plain)?;
            return self.push_copied(left, right);
        }
        let (left, right) = halves(line.raw)?;
        self.push(left, right)
    }

    #[inline]
    fn push(&mut self, left: &'a [u8], right: &'a [u8]) -> Known<()> {
        self.batch.push([left, right].map(|text| self.vocabulary.seek(text)));
        if self.batch.len() == BATCH { self.flush() } else { Ok(()) }
    }

    /// Halves that do not lie in the file as they are cannot wait.
    fn push_copied(&mut self, left: &[u8], right: &[u8]) -> Known<()> {
        self.flush()?;
        self.resolve([left, right].map(|text| self.vocabulary.seek(text)))
    }

    fn flush(&mut self) -> Known<()> {
        self.vocabulary.touch(self.batch.iter().flatten());
        let batch = std::mem::take(&mut self.batch);
        batch.iter().try_for_each(|&halves| self.resolve(halves))?;
        self.batch = batch;
        self.batch.clear();
        Ok(())
    }

    #[inline]
    fn resolve(&mut self, halves: [Sought; 2]) -> Known<()> {
        let find =
            |half: Sought| self.vocabulary.find(half).ok_or_else(|| unknown_token(half.text()));
        let [left, right] = halves;
        let (left_id, right_id) = (find(left)?, find(right)?);
        self.latest = self.join(left.text(), right.text())?;
        self.merges.push(Merge { left: left_id, right: right_id, merged: self.latest });
        Ok(())
    }

    /// The token of both halves together.
    #[inline]
    fn join(&mut self, left: &[u8], right: &[u8]) -> Known<u32> {
        let next = self.latest.wrapping_add(1);
        for guess in [next, self.latest] {
            if self.vocabulary.joins(guess, left, right) {
                return Ok(guess);
            }
        }
        self.joined.clear();
        self.joined.extend_from_slice(left);
        self.joined.extend_from_slice(right);
        self.vocabulary.id(&self.joined).ok_or_else(|| unknown_token(&self.joined))
    }
}

fn halves(line: &[u8]) -> Known<(&[u8], &[u8])> {
    let space = line.iter().position(|&byte| byte == b' ');
    let (left, right) = space.map(|at| (&line[..at], &line[at + 1..])).ok_or_else(odd_line)?;
    if right.contains(&b' ') || line.starts_with(b"#version") {
        return Err(odd_line());
    }
    Ok((left, right))
}

#[cold]
fn odd_line() -> Unknown {
    Unknown::new("a merge is not two tokens")
}

#[cold]
fn unknown_token(text: &[u8]) -> Unknown {
    Unknown::new(format!("a merge names `{}`, which is no token", String::from_utf8_lossy(text)))
}

#[inline]
fn hash_of(left: u32, right: u32) -> u64 {
    hash::of_two(u64::from(left), u64::from(right))
}

#[inline]
fn home(hash: u64, mask: usize) -> usize {
    #[expect(clippy::cast_possible_truncation, reason = "the low half of the hash")]
    let low = hash as u32;
    low as usize & mask
}

/// The half of the hash of which slots keep some bits.
#[inline]
fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// All bits: the highest rank of all, which `MAX_SLOTS` excludes.
const EMPTY: u32 = u32::MAX;

/// Twice the merges, rounded up: thirty times what the largest vocabulary of today needs, and a few
/// bits of each slot are left for the hash.
const MAX_SLOTS: u32 = 1 << 28;

/// In a table that is half full the longest search is some dozens of slots.
const MAX_PROBES: usize = 512;
