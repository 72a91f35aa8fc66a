//! Byte-pair encoding: a word begins as its characters, and the pair that comes first among the
//! merges becomes one token, again and again.
//!
//! ```text
//! symbols  l o w e r      a list, linked by position, so that a merge moves nothing
//! queue    (rank, position) of every pair that could merge, the lowest first
//! ```
//!
//! A pair in the queue may be gone when its turn comes: its symbols have merged with others. Then
//! what stands there now merges into another token, if at all, and the entry is dropped. Each merge
//! costs a logarithm of the word's length, so that a megabyte without a space is no trap.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::merges::Merges;
use super::vocabulary::Vocabulary;

/// The model of byte-pair encoding.
pub(super) struct Bpe {
    merges: Merges,
    rules: Rules,
    characters: Characters,
}

/// What becomes of a word apart from merging.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Rules {
    /// Stands for a character that is no token.
    pub(super) unknown: Option<u32>,
    /// One stands for several in a row.
    pub(super) fuse_unknown: bool,
    /// The tokens of its bytes stand for a character that is no token.
    pub(super) byte_fallback: bool,
    /// A word that is a token is not merged.
    pub(super) ignore_merges: bool,
}

/// The tokens that a word can begin as.
struct Characters {
    /// Of the first characters of Unicode, among them those of the byte-level alphabet.
    common: Vec<Option<u32>>,
    /// Of bytes, where a character that is no token falls back to them.
    bytes: Option<Vec<Option<u32>>>,
}

/// What encoding needs besides the model; kept from word to word.
#[derive(Default)]
pub(super) struct Workspace {
    symbols: Vec<Symbol>,
    queue: BinaryHeap<Reverse<u64>>,
}

#[derive(Clone, Copy)]
struct Symbol {
    id: u32,
    previous: u32,
    next: u32,
    is_merged_away: bool,
}

impl Bpe {
    pub(super) fn new(merges: Merges, rules: Rules, vocabulary: &Vocabulary) -> Self {
        let characters = Characters::new(vocabulary, rules.byte_fallback);
        Self { merges, rules, characters }
    }

    /// Appends the ids of one word.
    pub(super) fn encode(
        &self,
        word: &str,
        vocabulary: &Vocabulary,
        space: &mut Workspace,
        ids: &mut Vec<u32>,
    ) {
        if self.rules.ignore_merges
            && let Some(id) = vocabulary.id(word.as_bytes())
        {
            ids.push(id);
            return;
        }
        self.begin(word, vocabulary, space);
        self.merge(space);
        let kept = space.symbols.iter().filter(|symbol| !symbol.is_merged_away);
        ids.extend(kept.map(|symbol| symbol.id));
    }

    /// The word as characters. As in the library, one that is neither a token nor bytes is left out
    /// if there is no unknown token, and bytes go ahead of an unknown one that is still open.
    fn begin(&self, word: &str, vocabulary: &Vocabulary, space: &mut Workspace) {
        space.symbols.clear();
        let mut open_unknown = None;
        for character in word.chars() {
            if let Some(id) = self.characters.id(character, vocabulary) {
                space.extend(open_unknown.take());
                space.push(id);
            } else if let Some(bytes) = self.characters.bytes_of(character) {
                space.extend(bytes);
            } else if let Some(unknown) = self.rules.unknown {
                if !self.rules.fuse_unknown {
                    space.extend(open_unknown);
                }
                open_unknown = Some(unknown);
            }
        }
        space.extend(open_unknown);
        if let Some(last) = space.symbols.last_mut() {
            last.next = NONE;
        }
    }

    fn merge(&self, work: &mut Workspace) {
        work.queue.clear();
        for left in 1..work.symbols.len() {
            self.enqueue(work, position(left - 1));
        }
        while let Some(Reverse(entry)) = work.queue.pop() {
            #[expect(clippy::cast_possible_truncation, reason = "the lower half is a position")]
            let (rank, at) = ((entry >> 32) as u32, entry as u32);
            self.merge_at(work, rank, at);
        }
    }

    /// Merges the symbol at `at` with the next, if they are still those that were meant.
    #[inline]
    fn merge_at(&self, work: &mut Workspace, rank: u32, at: u32) {
        let left = work.symbols[at as usize];
        if left.is_merged_away || left.next == NONE {
            return;
        }
        let right = work.symbols[left.next as usize];
        let Some(found) = self.merges.find(left.id, right.id).filter(|found| found.rank == rank)
        else {
            return;
        };
        work.symbols[left.next as usize].is_merged_away = true;
        work.symbols[at as usize] = Symbol { id: found.merged, next: right.next, ..left };
        if right.next != NONE {
            work.symbols[right.next as usize].previous = at;
            self.enqueue(work, at);
        }
        if left.previous != NONE {
            self.enqueue(work, left.previous);
        }
    }

    #[inline]
    fn enqueue(&self, work: &mut Workspace, at: u32) {
        let left = work.symbols[at as usize];
        let right = work.symbols[left.next as usize];
        if let Some(found) = self.merges.find(left.id, right.id) {
            work.queue.push(Reverse(u64::from(found.rank) << 32 | u64::from(at)));
        }
    }
}

impl Characters {
    fn new(vocabulary: &Vocabulary, byte_fallback: bool) -> Self {
        let id = |character: char| vocabulary.id(character.encode_utf8(&mut [0; 4]).as_bytes());
        let common = (0..COMMON).map(|code| char::from_u32(code).and_then(id)).collect();
        let byte = |byte: u8| vocabulary.id(format!("<0x{byte:02X}>").as_bytes());
        let bytes = byte_fallback.then(|| (0..=u8::MAX).map(byte).collect());
        Self { common, bytes }
    }

    #[inline]
    fn id(&self, character: char, vocabulary: &Vocabulary) -> Option<u32> {
        match self.common.get(character as usize) {
            Some(id) => *id,
            None => vocabulary.id(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }

    /// The tokens of the bytes of `character`, if all of them have one.
    fn bytes_of(&self, character: char) -> Option<impl Iterator<Item = u32>> {
        let table = self.bytes.as_ref()?;
        let mut buffer = [0; 4];
        let length = character.encode_utf8(&mut buffer).len();
        let mut ids = [0; 4];
        for (id, byte) in ids.iter_mut().zip(&buffer[..length]) {
            *id = table[usize::from(*byte)]?;
        }
        Some(ids.into_iter().take(length))
    }
}

impl Workspace {
    #[inline]
    fn push(&mut self, id: u32) {
        let at = position(self.symbols.len());
        let previous = at.wrapping_sub(1); // of the first symbol this is `NONE`
        self.symbols.push(Symbol { id, previous, next: at + 1, is_merged_away: false });
    }

    fn extend(&mut self, ids: impl IntoIterator<Item = u32>) {
        ids.into_iter().for_each(|id| self.push(id));
    }
}

#[inline]
fn position(index: usize) -> u32 {
    u32::try_from(index).expect("a text has at most `MAX_TEXT_BYTES`, and few more once normalised")
}

/// No position: the word ends here.
const NONE: u32 = u32::MAX;

/// ASCII, Latin, and the alphabet of byte-level models, which ends at U+0143.
const COMMON: u32 = 0x200;
