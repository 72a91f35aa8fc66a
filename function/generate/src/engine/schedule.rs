//! Which rows the next pass has.
//!
//! A sequence is the tokens of a prompt and of its answer so far. Those that are not in the cache
//! yet are its rows to come: many for a prompt, one for an answer that goes on. A pass takes
//!
//! 1. the row of every sequence that has just one, so that no answer waits for a prompt;
//! 2. of the others, the oldest first, as many rows as a pass has left, one at least: so no prompt
//!    waits for an answer either, and the oldest is the first to be done.
//!
//! **Blocks are taken as a sequence grows**, not reserved for the longest answer at the beginning:
//! most clients do not say how long an answer may be, and one that may fill the context would have a
//! cache to itself. The price is that the cache may run full. Then the youngest gives all of its
//! blocks back, and is computed anew, prompt and answer together, when there is room again: its next
//! token is the same as if nothing had happened. The oldest never gives way, and the cache holds the
//! longest sequence: so it ends, and so do all, one after the other.
//!
//! ```text
//! oldest [ holds blocks | holds blocks | .. | paused | paused ] youngest, then those who wait
//! ```

use std::ops::Range;

use super::blocks::Blocks;

/// The sequences that have begun, oldest first. `T` is whatever belongs to one.
#[derive(Debug)]
pub(super) struct Schedule<T> {
    sequences: Vec<Sequence<T>>,
    /// So many of `sequences`, from the first, hold blocks; the others are paused.
    holders: usize,
    blocks: Blocks,
    max_sequences: usize,
    preemptions: u64,
}

/// A sequence that has begun.
#[derive(Debug)]
struct Sequence<T> {
    of: T,
    /// Tokens that are known.
    length: usize,
    /// Tokens that it has at most when it ends.
    longest: usize,
    /// Tokens that are in the cache.
    computed: usize,
    blocks: Vec<u32>,
}

/// What a pass computes of one sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// Whose rows: its place among the sequences, until one is removed.
    pub(super) sequence: usize,
    /// Which of its tokens.
    pub(super) positions: Range<usize>,
    /// Whether these are its last: what follows them is asked for.
    pub(super) is_last: bool,
}

impl<T> Schedule<T> {
    pub(super) fn new(blocks: Blocks, max_sequences: usize) -> Self {
        assert!(max_sequences > 0, "at least one sequence is computed at once");
        Self { sequences: Vec::new(), holders: 0, blocks, max_sequences, preemptions: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.sequences.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }

    pub(super) fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    /// How often a sequence had to give way.
    pub(super) fn preemptions(&self) -> u64 {
        self.preemptions
    }

    /// Whether a sequence of so many tokens may begin now: nobody who began waits for room, and
    /// afterwards each that may need one can take one more block before anybody must give way.
    pub(super) fn has_room(&self, length: usize) -> bool {
        self.len() < self.max_sequences && self.holders == self.len() && self.fits(length)
    }

    /// A sequence of `length` tokens begins, which will have `longest` at most: there must be room.
    pub(super) fn begin(&mut self, of: T, length: usize, longest: usize) {
        assert!(length > 0 && self.has_room(length), "who begins has room");
        let mut blocks = Vec::new();
        assert!(self.blocks.extend(&mut blocks, length), "a cache holds the longest sequence");
        self.sequences.push(Sequence { of, length, longest, computed: 0, blocks });
        self.holders += 1;
    }

    /// What the next pass computes: `max_rows` rows at most, where not more answers than that go on.
    /// Not empty, where there is a sequence.
    pub(super) fn plan(&mut self, max_rows: usize) -> Vec<Part> {
        self.grow();
        self.resume();
        let holders = &self.sequences[..self.holders];
        let answers = holders.iter().filter(|sequence| sequence.to_come() == 1).count();
        let mut left = max_rows.saturating_sub(answers).max(1);
        let parts = holders.iter().enumerate().map(|(place, sequence)| {
            let to_come = sequence.to_come();
            let rows = if to_come == 1 { 1 } else { to_come.min(left) };
            left -= if to_come == 1 { 0 } else { rows };
            let end = sequence.computed + rows;
            let positions = sequence.computed..end;
            Part { sequence: place, positions, is_last: end == sequence.length }
        });
        parts.filter(|part| !part.positions.is_empty()).collect()
    }

    /// All that is to come of a sequence, which holds blocks: for a pass that has begun already.
    pub(super) fn whole(&self, sequence: usize) -> Part {
        assert!(sequence < self.holders, "who is computed has blocks");
        let Sequence { length, computed, .. } = self.sequences[sequence];
        Part { sequence, positions: computed..length, is_last: true }
    }

    /// The blocks of a sequence.
    pub(super) fn blocks_of(&self, sequence: usize) -> &[u32] {
        &self.sequences[sequence].blocks
    }

    pub(super) fn get(&self, sequence: usize) -> &T {
        &self.sequences[sequence].of
    }

    pub(super) fn get_mut(&mut self, sequence: usize) -> &mut T {
        &mut self.sequences[sequence].of
    }

    /// The rows of `part` are in the cache.
    pub(super) fn computed(&mut self, part: &Part) {
        let sequence = &mut self.sequences[part.sequence];
        assert_eq!(sequence.computed, part.positions.start, "rows are computed in their order");
        sequence.computed = part.positions.end;
    }

    /// A sequence has one more token.
    pub(super) fn push(&mut self, sequence: usize) {
        self.sequences[sequence].length += 1;
    }

    /// Those whom `ends` is true for are gone, and their blocks free.
    pub(super) fn remove(&mut self, mut ends: impl FnMut(&T) -> bool) -> Vec<T> {
        let (mut ended, mut place) = (Vec::new(), 0);
        while place < self.len() {
            if !ends(&self.sequences[place].of) {
                place += 1;
                continue;
            }
            let mut sequence = self.sequences.remove(place);
            self.blocks.give_back(&mut sequence.blocks);
            self.holders -= usize::from(place < self.holders);
            ended.push(sequence.of);
        }
        ended
    }

    /// Each holder gets the blocks for its tokens, the oldest first, if need be from the youngest.
    fn grow(&mut self) {
        let mut place = 0;
        while place < self.holders {
            let Sequence { length, blocks, .. } = &mut self.sequences[place];
            if self.blocks.extend(blocks, *length) {
                place += 1;
            } else {
                self.pause_youngest();
            }
        }
    }

    /// Who holds blocks and began last gives them back.
    fn pause_youngest(&mut self) {
        self.holders -= 1;
        let youngest = &mut self.sequences[self.holders];
        self.blocks.give_back(&mut youngest.blocks);
        youngest.computed = 0;
        self.preemptions += 1;
    }

    /// Those who are paused go on, the oldest first, while there is room.
    fn resume(&mut self) {
        while self.holders < self.len() && self.fits(self.sequences[self.holders].length) {
            let Sequence { length, blocks, .. } = &mut self.sequences[self.holders];
            assert!(self.blocks.extend(blocks, *length), "a cache holds the longest sequence");
            self.holders += 1;
        }
    }

    /// Whether there are blocks for `length` tokens, and one more for each that has blocks and may
    /// need more. Alone, a sequence always fits.
    fn fits(&self, length: usize) -> bool {
        let may_grow =
            |holder: &&Sequence<T>| self.blocks.holding(holder.longest) > holder.blocks.len();
        let growing = self.sequences[..self.holders].iter().filter(may_grow).count();
        self.holders == 0 || self.blocks.holding(length) + growing <= self.blocks.free()
    }
}

impl<T> Sequence<T> {
    /// Tokens that are not in the cache.
    fn to_come(&self) -> usize {
        self.length - self.computed
    }
}

#[cfg(test)]
mod tests;
