//! Which blocks of the cache are free.

/// The numbers of the blocks that nobody has.
#[derive(Debug)]
pub(super) struct Blocks {
    /// The one that was given back last is given out next: its memory is the likeliest to be near.
    free: Vec<u32>,
    total: usize,
    /// Positions that a block holds.
    positions: usize,
}

impl Blocks {
    /// `total` blocks of `positions` positions, all free.
    pub(super) fn new(total: usize, positions: usize) -> Self {
        assert!(positions > 0, "a block holds at least one position");
        let count = u32::try_from(total).expect("blocks are numbered by 32 bits");
        Self { free: (0..count).rev().collect(), total, positions }
    }

    /// How many there are.
    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// How many nobody has.
    pub(super) fn free(&self) -> usize {
        self.free.len()
    }

    /// How many hold `positions` positions.
    pub(super) fn holding(&self, positions: usize) -> usize {
        positions.div_ceil(self.positions)
    }

    /// Adds blocks to `held` until they hold `positions` positions; changes nothing and says `false`
    /// where there are not enough.
    pub(super) fn extend(&mut self, held: &mut Vec<u32>, positions: usize) -> bool {
        let missing = self.holding(positions).saturating_sub(held.len());
        let Some(rest) = self.free.len().checked_sub(missing) else { return false };
        held.extend(self.free.drain(rest..).rev());
        true
    }

    /// Takes back what `held` has.
    pub(super) fn give_back(&mut self, held: &mut Vec<u32>) {
        self.free.extend(held.drain(..).rev());
        debug_assert!(self.free.len() <= self.total, "a block was given back twice");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_block_is_lost_and_none_is_had_twice(
            acts in vec((0usize..5, 0usize..40), 0..200), total in 0usize..12,
            positions in 1usize..5,
        ) {
            let mut blocks = Blocks::new(total, positions);
            let mut holders = vec![Vec::new(); 5];
            for (who, wanted) in acts {
                if wanted == 0 {
                    blocks.give_back(&mut holders[who]);
                    continue;
                }
                let (before, free) = (holders[who].clone(), blocks.free());
                let missing = wanted.div_ceil(positions).saturating_sub(before.len());
                let was_given = blocks.extend(&mut holders[who], wanted);
                prop_assert_eq!(was_given, missing <= free);
                prop_assert_eq!(holders[who].len(), before.len() + if was_given { missing } else { 0 });
                prop_assert!(holders[who].starts_with(&before));
                let held: Vec<u32> = holders.concat();
                let distinct: BTreeSet<u32> = held.iter().copied().collect();
                prop_assert_eq!(distinct.len(), held.len());
                prop_assert_eq!(held.len() + blocks.free(), total);
                prop_assert!(held.iter().all(|&block| (block as usize) < total));
            }
            for held in &mut holders {
                blocks.give_back(held);
            }
            prop_assert_eq!(blocks.free(), total);
        }
    }
}
