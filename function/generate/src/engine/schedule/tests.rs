//! Whole lives of sequences, in random order, without a model.

use std::collections::{BTreeSet, VecDeque};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const BLOCK: usize = 4;
const BLOCKS: usize = 12;

/// What a client wants, and when it leaves.
#[derive(Debug, Clone)]
struct Wish {
    prompt: usize,
    answer: usize,
    /// Steps after which it leaves, whatever it has.
    patience: usize,
    arrives: usize,
}

/// A sequence whose answer is being written.
#[derive(Debug)]
struct Life {
    wish: Wish,
    answered: usize,
    begun: usize,
}

impl Life {
    fn length(&self) -> usize {
        self.wish.prompt + self.answered
    }

    fn leaves(&self, step: usize) -> bool {
        self.answered == self.wish.answer || step - self.begun >= self.wish.patience
    }
}

/// No prompt and answer together are longer than the cache.
fn wishes(count: usize) -> impl Strategy<Value = Vec<Wish>> {
    let longest = BLOCK * BLOCKS;
    let patience = prop_oneof![2 => Just(usize::MAX), 1 => 0usize..30];
    let wish = (1..longest, 1usize..longest, patience, 0usize..60);
    vec(wish, 1..=count).prop_map(move |wishes| {
        let wish = |(prompt, answer, patience, arrives): (usize, usize, _, _)| {
            let answer = answer.min(longest - prompt);
            Wish { prompt, answer, patience, arrives }
        };
        wishes.into_iter().map(wish).collect()
    })
}

/// Runs all wishes to their ends, and looks at every step.
fn live(mut wishes: Vec<Wish>, max_rows: usize, max_sequences: usize) -> Schedule<Life> {
    wishes.sort_by_key(|wish| wish.arrives);
    let (mut to_come, mut waiting) = (VecDeque::from(wishes), VecDeque::new());
    let mut schedule: Schedule<Life> = Schedule::new(Blocks::new(BLOCKS, BLOCK), max_sequences);
    let mut step = 0;
    while !(to_come.is_empty() && waiting.is_empty() && schedule.is_empty()) {
        assert!(step < 20_000, "some sequence never ends");
        while to_come.front().is_some_and(|wish: &Wish| wish.arrives <= step) {
            waiting.extend(to_come.pop_front());
        }
        schedule.remove(|life| life.leaves(step));
        while waiting.front().is_some_and(|wish: &Wish| schedule.has_room(wish.prompt)) {
            let wish: Wish = waiting.pop_front().unwrap();
            let (length, longest) = (wish.prompt, wish.prompt + wish.answer);
            schedule.begin(Life { wish, answered: 0, begun: step }, length, longest);
        }
        pass(&mut schedule, max_rows);
        step += 1;
    }
    schedule
}

fn pass(schedule: &mut Schedule<Life>, max_rows: usize) {
    let parts = schedule.plan(max_rows);
    check_blocks(schedule);
    check_parts(schedule, &parts, max_rows);
    for part in &parts {
        schedule.computed(part);
        if part.is_last {
            schedule.push(part.sequence);
            schedule.get_mut(part.sequence).answered += 1;
        }
    }
}

fn check_blocks(schedule: &Schedule<Life>) {
    let held: Vec<u32> =
        schedule.sequences.iter().flat_map(|sequence| sequence.blocks.clone()).collect();
    assert_eq!(held.iter().collect::<BTreeSet<_>>().len(), held.len(), "a block is had twice");
    assert_eq!(held.len() + schedule.blocks.free(), BLOCKS, "a block is lost");
    for (place, sequence) in schedule.sequences.iter().enumerate() {
        let needed = if place < schedule.holders { sequence.length.div_ceil(BLOCK) } else { 0 };
        assert_eq!(sequence.blocks.len(), needed, "blocks of sequence {place}");
        assert_eq!(sequence.length, sequence.of.length());
    }
}

fn check_parts(schedule: &Schedule<Life>, parts: &[Part], max_rows: usize) {
    assert_eq!(parts.is_empty(), schedule.is_empty(), "somebody goes on in every pass");
    let to_come = |place: usize| schedule.sequences[place].to_come();
    let is_answer = |part: &&Part| to_come(part.sequence) == 1;
    let answers: Vec<usize> = parts.iter().filter(is_answer).map(|part| part.sequence).collect();
    let going_on: Vec<usize> = (0..schedule.holders).filter(|&place| to_come(place) == 1).collect();
    assert_eq!(answers, going_on, "no answer waits for a prompt");
    let prompts: Vec<&Part> = parts.iter().filter(|part| !is_answer(part)).collect();
    let rows: usize = prompts.iter().map(|part| part.positions.len()).sum();
    let most: usize = (0..schedule.holders).map(to_come).filter(|&rows| rows > 1).sum();
    let left = max_rows.saturating_sub(answers.len()).max(1);
    assert_eq!(rows, most.min(left), "prompts have the rows that a pass has for them");
    assert!(prompts[..prompts.len().saturating_sub(1)].iter().all(|part| part.is_last), "in order");
}

proptest! {
    #[test]
    fn everybody_is_answered_or_gone_and_no_block_stays_behind(
        wishes in wishes(24), max_rows in 1usize..20, max_sequences in 1usize..9,
    ) {
        let schedule = live(wishes, max_rows, max_sequences);
        prop_assert_eq!(schedule.blocks.free(), BLOCKS);
        prop_assert_eq!(schedule.holders, 0);
    }

    #[test]
    fn sixty_four_clients_that_leave_as_they_like_leave_nothing_behind(wishes in wishes(64)) {
        let schedule = live(wishes, 16, 64);
        prop_assert_eq!(schedule.blocks.free(), BLOCKS);
    }
}

/// A schedule with sequences of these lengths, all of which have begun and may fill the cache.
fn begun(lengths: &[usize]) -> Schedule<usize> {
    let mut schedule = Schedule::new(Blocks::new(BLOCKS, BLOCK), 4);
    for (of, &length) in lengths.iter().enumerate() {
        schedule.begin(of, length, BLOCKS * BLOCK);
    }
    schedule
}

/// Plans and computes: the sequences and positions of the pass.
fn passed(schedule: &mut Schedule<usize>, max_rows: usize) -> Vec<(usize, Range<usize>)> {
    let parts = schedule.plan(max_rows);
    for part in &parts {
        schedule.computed(part);
        if part.is_last {
            schedule.push(part.sequence);
        }
    }
    parts.into_iter().map(|part| (part.sequence, part.positions)).collect()
}

#[test]
fn prompts_are_cut_into_pieces_and_answers_go_on_beside_them() {
    let mut schedule = begun(&[2, 9, 3]);
    assert_eq!(passed(&mut schedule, 5), [(0, 0..2), (1, 0..3)]);
    assert_eq!(passed(&mut schedule, 5), [(0, 2..3), (1, 3..7)]);
    assert_eq!(passed(&mut schedule, 5), [(0, 3..4), (1, 7..9), (2, 0..2)]);
    assert_eq!(passed(&mut schedule, 5), [(0, 4..5), (1, 9..10), (2, 2..3)]);
    assert_eq!(passed(&mut schedule, 2), [(0, 5..6), (1, 10..11), (2, 3..4)]);
}

#[test]
fn where_the_cache_is_full_the_youngest_gives_way_and_comes_back_with_all_its_tokens() {
    let mut schedule = begun(&[20, 16]);
    assert_eq!(passed(&mut schedule, 99), [(0, 0..20), (1, 0..16)]);
    for step in 0..4 {
        assert_eq!(
            passed(&mut schedule, 99),
            [(0, 20 + step..21 + step), (1, 16 + step..17 + step)]
        );
    }
    // 25 and 21 tokens need 7 and 6 blocks, of 12.
    assert_eq!(passed(&mut schedule, 99), [(0, 24..25)]);
    assert_eq!(schedule.preemptions(), 1);
    assert_eq!(passed(&mut schedule, 99), [(0, 25..26)]);
    assert!(!schedule.has_room(1), "nobody overtakes who is paused");
    assert_eq!(schedule.remove(|&of| of == 0), [0]);
    assert_eq!(passed(&mut schedule, 99), [(0, 0..21)], "all its tokens are computed anew");
    assert_eq!(schedule.preemptions(), 1);
}

#[test]
fn a_sequence_begins_where_the_others_can_grow_beside_it() {
    let schedule = begun(&[BLOCK * 9]);
    assert!(schedule.has_room(2 * BLOCK) && !schedule.has_room(2 * BLOCK + 1));
    let schedule = begun(&[BLOCK * 4, BLOCK * 4]);
    assert!(schedule.has_room(2 * BLOCK) && !schedule.has_room(3 * BLOCK));
    let mut schedule = begun(&[]);
    schedule.begin(0, BLOCK * 4 - 1, BLOCK * 4);
    assert!(schedule.has_room(8 * BLOCK), "the one beside it has all that it may need");
    assert!(begun(&[]).has_room(BLOCKS * BLOCK), "alone it may have all of them");
    assert!(!begun(&[1; 4]).has_room(1), "no more at once than were asked for");
}
