//! Which texts are in the next pass: one of each job in turn, until its rows are taken.
//!
//! So a job of one text waits for a pass or two, however many texts others have, and a job alone has
//! all rows for itself.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

/// Jobs under way.
#[derive(Debug)]
pub(super) struct Turns<T> {
    jobs: HashMap<u64, Turn<T>>,
    /// Those that have texts to give; whose turn it is comes first.
    order: VecDeque<u64>,
    next_id: u64,
}

/// A job and where it stands.
#[derive(Debug)]
pub(super) struct Turn<T> {
    pub(super) job: T,
    /// Rows of each text.
    lengths: Vec<usize>,
    /// Texts that were given, which are the first ones.
    given: usize,
    /// When the first of them was computed.
    pub(super) began: Option<Instant>,
    /// One for each text that was computed.
    pub(super) vectors: Vec<Vec<f32>>,
}

/// What a pass can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) rows: usize,
    pub(super) texts: usize,
}

/// A text of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pick {
    pub(super) job: u64,
    pub(super) text: usize,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { jobs: HashMap::new(), order: VecDeque::new(), next_id: 0 }
    }
}

impl<T> Turns<T> {
    /// A job with texts of these lengths, behind the others.
    pub(super) fn push(&mut self, job: T, lengths: Vec<usize>) {
        let turn = Turn { job, lengths, given: 0, began: None, vectors: Vec::new() };
        self.order.push_back(self.next_id);
        self.jobs.insert(self.next_id, turn);
        self.next_id += 1;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    pub(super) fn job(&self, id: u64) -> &T {
        &self.jobs[&id].job
    }

    /// The texts of the next pass. No text is longer than a pass.
    pub(super) fn pick(&mut self, mut room: Room) -> Vec<Pick> {
        let mut picks = Vec::new();
        while let Some(id) = self.order.front().copied() {
            let turn = self.jobs.get_mut(&id).expect("those in order are under way");
            let Some(&rows) = turn.lengths.get(turn.given) else {
                self.order.pop_front();
                continue;
            };
            if rows > room.rows || room.texts == 0 {
                break;
            }
            picks.push(Pick { job: id, text: turn.given });
            room = Room { rows: room.rows - rows, texts: room.texts - 1 };
            turn.given += 1;
            self.order.rotate_left(1);
        }
        picks
    }

    /// The picked texts are computed from `now` on.
    pub(super) fn begin(&mut self, picks: &[Pick], now: Instant) {
        for pick in picks {
            let turn = self.jobs.get_mut(&pick.job).expect("nobody leaves during a pass");
            turn.began.get_or_insert(now);
        }
    }

    /// What became of the picked texts.
    pub(super) fn give(&mut self, picks: &[Pick], vectors: Vec<Vec<f32>>) {
        assert_eq!(picks.len(), vectors.len(), "a vector for each text");
        for (pick, vector) in picks.iter().zip(vectors) {
            let turn = self.jobs.get_mut(&pick.job).expect("nobody leaves during a pass");
            assert_eq!(turn.vectors.len(), pick.text, "texts are computed in their order");
            turn.vectors.push(vector);
        }
    }

    /// Those leave that `leaves` is true for.
    pub(super) fn remove(&mut self, mut leaves: impl FnMut(&Turn<T>) -> bool) -> Vec<Turn<T>> {
        let gone: Vec<_> = self.jobs.extract_if(|_, turn| leaves(turn)).collect();
        self.order.retain(|id| self.jobs.contains_key(id));
        gone.into_iter().map(|(_, turn)| turn).collect()
    }
}

impl<T> Turn<T> {
    pub(super) fn is_complete(&self) -> bool {
        self.vectors.len() == self.lengths.len()
    }

    /// Rows of all its texts.
    pub(super) fn rows(&self) -> usize {
        self.lengths.iter().sum()
    }

    /// Rows of those that were not computed.
    pub(super) fn rows_left(&self) -> usize {
        self.lengths[self.vectors.len()..].iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const ROOM: Room = Room { rows: 20, texts: 5 };

    proptest! {
        #[test]
        fn every_text_is_in_one_pass_and_no_pass_is_beyond_its_room(
            jobs in vec(vec(1_usize..=20, 0..30), 1..8),
            leaves in any::<prop::sample::Index>(),
        ) {
            let mut turns = Turns::default();
            for (job, lengths) in jobs.iter().enumerate() {
                turns.push(job, lengths.clone());
            }
            let leaver = leaves.index(jobs.len());
            let mut complete = turns.remove(Turn::is_complete);
            for pass in 0.. {
                if pass == 1 {
                    turns.remove(|turn| turn.job == leaver);
                }
                let picks = turns.pick(ROOM);
                if picks.is_empty() {
                    break;
                }
                prop_assert!(picks.len() <= ROOM.texts);
                let rows = picks.iter().map(|pick| jobs[*turns.job(pick.job)][pick.text]);
                prop_assert!(rows.sum::<usize>() <= ROOM.rows);
                let vector = |pick: &Pick| vec![*turns.job(pick.job) as f32, pick.text as f32];
                let vectors = picks.iter().map(vector).collect();
                turns.give(&picks, vectors);
                complete.extend(turns.remove(Turn::is_complete));
            }
            prop_assert!(turns.is_empty());
            for turn in &complete {
                let expected: Vec<_> =
                    (0..jobs[turn.job].len()).map(|text| vec![turn.job as f32, text as f32]).collect();
                prop_assert_eq!(&turn.vectors, &expected);
            }
            let others = (0..jobs.len()).filter(|job| *job != leaver);
            prop_assert!(others.into_iter().all(|job| complete.iter().any(|turn| turn.job == job)));
        }
    }

    #[test]
    fn a_job_of_one_text_does_not_wait_for_one_of_many() {
        let mut turns = Turns::default();
        turns.push("many", vec![4; 100]);
        assert_eq!(turns.pick(ROOM).len(), 5, "alone it has all rows");
        turns.push("one", vec![7]);
        let picks = turns.pick(ROOM);
        let jobs: Vec<_> = picks.iter().map(|pick| *turns.job(pick.job)).collect();
        assert_eq!(jobs, ["many", "one", "many", "many"]);
    }
}
