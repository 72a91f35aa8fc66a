//! Pass by pass, on the thread that computes.
//!
//! While nobody asks anything, the weights are taken as they arrive; whoever asks meanwhile is
//! computed with those that are there, and waits for the others layer by layer, where more
//! [join](super::joining). The pass that loads takes whole prompts: it waits for the link more than
//! for the processor. Once all weights are there, the worker sleeps until somebody asks.
//!
//! Whatever goes wrong with the model, or with the worker itself, is told to everybody who waits and
//! to everybody who asks from then on.

use std::sync::{Arc, MutexGuard};

use firstlight_model::{Passes, Rows};

use super::answer::Answer;
use super::blocks::Blocks;
use super::schedule::{Part, Schedule};
use super::{Shared, State, Statistics};
use crate::Error;
use crate::serving::{Next, failed, guarded};

/// The end of an engine that computes. Where it is dropped before it ran, all jobs fail.
pub struct Worker {
    shared: Arc<Shared>,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Answers until the engine is stopped, or until the model or the load fails: everybody who
    /// waits is told.
    pub fn run(self, model: impl Passes) -> Result<(), Arc<Error>> {
        let limits = &self.shared.limits;
        let blocks = Blocks::new(limits.kv_blocks, limits.block_positions);
        let schedule = Schedule::new(blocks, limits.max_running);
        let done = Statistics::default();
        let mut passes = Running { shared: &self.shared, schedule, model, is_loading: true, done };
        let ended = guarded(|| passes.serve());
        if let Err(error) = &ended {
            passes.fail(error);
        }
        ended
    }

    /// The model could not even begin to load: everybody is told.
    pub fn fail(self, error: Error) {
        self.shared.fail(&Arc::new(error));
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let error = self.shared.state().phase.without_worker();
        self.shared.fail(&Arc::new(error));
    }
}

impl Shared {
    /// Everybody who waits is told, and everybody who asks from now on, where nothing else is said
    /// to them already.
    fn fail(&self, error: &Arc<Error>) {
        let waiting = {
            let mut state = self.state();
            state.phase.fail(error);
            state.queue.take_all()
        };
        for mut answer in waiting {
            answer.fail(error);
        }
    }

    /// The answer that waits longest, if one of as many tokens may begin.
    fn first_if(&self, may_begin: impl FnOnce(usize) -> bool) -> Option<Answer> {
        let mut state = self.state();
        let length = state.queue.front()?.ids().len();
        if may_begin(length) { state.queue.pop() } else { None }
    }
}

/// A worker at work.
pub(super) struct Running<'a, M> {
    pub(super) shared: &'a Shared,
    pub(super) schedule: Schedule<Answer>,
    pub(super) model: M,
    /// Not all weights are there.
    is_loading: bool,
    /// What was done so far.
    done: Statistics,
}

impl<M: Passes> Running<'_, M> {
    fn serve(&mut self) -> Result<(), Error> {
        loop {
            match self.next() {
                Next::Pass => self.pass()?,
                Next::Pull => self.is_loading = self.model.pull().map_err(failed)?,
                Next::LetIn | Next::Sleep => {}
                Next::End => {
                    self.fail(&Arc::new(Error::EngineStopped));
                    return Ok(());
                }
            }
        }
    }

    /// Sleeps where there is nothing to do.
    fn next(&mut self) -> Next {
        self.let_go();
        self.let_in(usize::MAX);
        let state = self.publish();
        let has_arrived = !state.queue.is_empty();
        let next = state.phase.next(!self.schedule.is_empty(), has_arrived, self.is_loading);
        if next == Next::Sleep {
            drop(self.shared.changed.wait(state));
        }
        next
    }

    /// Those who are not wanted any more go.
    fn let_go(&mut self) {
        let running = self.schedule.remove(Answer::is_cancelled);
        self.done.cancelled += running.len() as u64;
        self.let_go_waiting();
    }

    /// Those who wait and are not wanted any more leave.
    pub(super) fn let_go_waiting(&self) {
        // Nothing is dropped with the lock held: what that does is up to the client.
        let waiting = self.shared.state().cancelled();
        drop(waiting);
    }

    /// Those who wait begin, as far as there is room and their prompts have `rows` tokens together:
    /// how many they have.
    pub(super) fn let_in(&mut self, rows: usize) -> usize {
        let mut taken = 0;
        let may_begin = |schedule: &Schedule<_>, length, taken| {
            length <= rows - taken && schedule.has_room(length)
        };
        while let Some(mut answer) =
            self.shared.first_if(|length| may_begin(&self.schedule, length, taken))
        {
            answer.begin();
            let (length, longest) = (answer.ids().len(), answer.longest());
            self.schedule.begin(answer, length, longest);
            taken += length;
        }
        taken
    }

    pub(super) fn publish(&self) -> MutexGuard<'_, State> {
        let blocks = self.schedule.blocks();
        let mut state = self.shared.state();
        state.statistics = Statistics {
            running: self.schedule.len(),
            kv_blocks: blocks.total(),
            kv_blocks_used: blocks.total() - blocks.free(),
            preemptions: self.schedule.preemptions(),
            cancelled: self.done.cancelled + state.cancelled_waiting,
            ..self.done
        };
        state
    }

    fn pass(&mut self) -> Result<(), Error> {
        let rows = if self.is_loading { LOAD_ROWS } else { self.shared.limits.step_rows };
        let parts = self.schedule.plan(rows);
        let (scored, others): (Vec<_>, Vec<_>) =
            parts.into_iter().partition(|part| self.is_scored(part));
        if !self.forward(others)? {
            return Ok(());
        }
        scored.iter().try_for_each(|part| self.score(part))?;
        if self.is_loading {
            self.is_loading = self.model.pull().map_err(failed)?;
        }
        self.done.steps += 1;
        self.let_finish();
        Ok(())
    }

    /// Computes `parts` together, and chooses a token for each that is its sequence's last. Whether
    /// the pass went to its end.
    fn forward(&mut self, mut parts: Vec<Part>) -> Result<bool, Error> {
        if parts.is_empty() {
            return Ok(true);
        }
        if self.is_loading {
            parts = self.forward_joined(parts)?;
        } else {
            let rows: Vec<_> = parts.iter().map(|part| rows(&self.schedule, part)).collect();
            self.model.forward(&rows).map_err(failed)?;
        }
        for part in &parts {
            self.schedule.computed(part);
        }
        let last = parts.iter().filter(|part| part.is_last).map(|part| part.sequence);
        self.choose_all(&last.collect::<Vec<_>>())?;
        Ok(!parts.is_empty())
    }

    /// Chooses a token for each of these sequences, whose logits are those of the pass: on the
    /// device, where it can.
    fn choose_all(&mut self, sequences: &[usize]) -> Result<(), Error> {
        if sequences.is_empty() {
            return Ok(());
        }
        let draw = |&sequence: &usize| self.schedule.get_mut(sequence).draw();
        let draws: Vec<_> = sequences.iter().map(draw).collect();
        let tokens = self.model.draw(&draws).map_err(failed)?;
        let are_drawn = tokens.iter().all(Option::is_some);
        let mut logits =
            if are_drawn { Vec::new() } else { self.model.logits().map_err(failed)? };
        let mut rows = logits.chunks_exact_mut(self.shared.limits.vocabulary_size);
        for (&sequence, token) in sequences.iter().zip(tokens) {
            match (rows.next(), token) {
                (_, Some(token)) => self.choose(sequence, |answer| answer.accept(token)),
                (logits, None) => {
                    let logits = logits.expect("where a row was not drawn, all were read");
                    self.choose(sequence, |answer| answer.choose(logits));
                }
            }
        }
        Ok(())
    }

    /// Computes `part` alone, with the logits of each of its rows.
    fn score(&mut self, part: &Part) -> Result<(), Error> {
        let vocabulary = self.shared.limits.vocabulary_size;
        for first in part.positions.clone().step_by(SCORED_ROWS) {
            let end = part.positions.end.min(first + SCORED_ROWS);
            let is_last = part.is_last && end == part.positions.end;
            let piece = Part { positions: first..end, is_last, ..*part };
            let logits = self.model.forward_all(rows(&self.schedule, &piece));
            let mut logits = logits.map_err(failed)?;
            if self.is_loading {
                // The other pieces need all of a table that comes last sooner than row by row.
                self.is_loading = self.model.pull().map_err(failed)?;
            }
            self.schedule.computed(&piece);
            self.schedule.get_mut(piece.sequence).score(first, &logits, vocabulary);
            if is_last {
                let rest = logits.len() - vocabulary;
                self.choose(piece.sequence, |answer| answer.choose(&mut logits[rest..]));
            }
        }
        Ok(())
    }

    /// Has an answer choose its next token.
    fn choose(&mut self, sequence: usize, choose: impl FnOnce(&mut Answer)) {
        let answer = self.schedule.get_mut(sequence);
        let before = answer.ids().len();
        choose(answer);
        if before == answer.prompt_tokens() {
            self.done.prompt_tokens += before as u64;
        }
        if answer.ids().len() > before {
            self.done.generated_tokens += 1;
            self.schedule.push(sequence);
        }
    }

    /// Those whose answers are complete go.
    fn let_finish(&mut self) {
        let at_once = self.schedule.len();
        let ended = self.schedule.remove(Answer::has_ended);
        self.done.finished += ended.len() as u64;
        let pace = &mut self.shared.state().pace;
        for answer in &ended {
            pace.ended(answer.took_s(), at_once);
        }
    }

    /// Everybody is told why there will be no more, once nothing is held for them.
    fn fail(&mut self, error: &Arc<Error>) {
        let running = self.schedule.remove(|_| true);
        drop(self.publish());
        self.shared.fail(error);
        for mut answer in running {
            answer.fail(error);
        }
    }
}

pub(super) fn rows<'a>(schedule: &'a Schedule<Answer>, part: &Part) -> Rows<'a> {
    Rows {
        ids: &schedule.get(part.sequence).ids()[part.positions.clone()],
        first: part.positions.start,
        blocks: schedule.blocks_of(part.sequence),
        logits: part.is_last,
    }
}

/// Rows of prompts in a pass that waits for weights. What it keeps of a row is one vector of the
/// residual stream: at a width of 4096 this is 64 MiB,
/// and the rows of those who join come on top.
pub const LOAD_ROWS: usize = 4096;

/// Rows whose logits are there at once: 16 MB of them, where a vocabulary has 256,000 tokens.
const SCORED_ROWS: usize = 16;
