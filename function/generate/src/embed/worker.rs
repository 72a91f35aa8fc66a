//! Pass by pass, on the thread that computes.
//!
//! While nobody asks anything, the weights are taken as they arrive; a pass that is asked for
//! meanwhile waits for those that are still to come, layer by layer. Once all weights are there, the
//! worker sleeps until somebody asks.
//!
//! Whatever goes wrong with the model, or with the worker itself, is told to everybody who waits and
//! to everybody who asks from then on.

use std::mem;
use std::sync::Arc;
use std::time::Instant;

use firstlight_model::Embeds;

use super::turns::{Pick, Room, Turn, Turns};
use super::{Embeddings, Job, Shared};
use crate::Error;
use crate::serving::{Next, failed, guarded};

/// The end of an embedder that computes. Where it is dropped before it ran, all jobs fail.
pub struct Worker {
    shared: Arc<Shared>,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Computes until the embedder is stopped, or until the model or the load fails: everybody who
    /// waits is told.
    pub fn run(self, model: impl Embeds) -> Result<(), Arc<Error>> {
        let shared = &self.shared;
        let mut passes = Running { shared, turns: Turns::default(), model, is_loading: true };
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
    /// Everybody is told whose job the worker has not seen, and everybody who asks from now on,
    /// where nothing else is said to them already.
    fn fail(&self, error: &Arc<Error>) {
        let arrived = {
            let mut state = self.state();
            state.phase.fail(error);
            (state.statistics.waiting, state.statistics.waiting_tokens) = (0, 0);
            mem::take(&mut state.arrived)
        };
        for job in arrived {
            (job.out)(Err(Arc::clone(error)));
        }
    }
}

/// A worker at work.
struct Running<'a, M> {
    shared: &'a Shared,
    turns: Turns<Job>,
    model: M,
    /// Not all weights are there.
    is_loading: bool,
}

impl<M: Embeds> Running<'_, M> {
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
        self.let_in();
        self.let_go();
        let state = self.shared.state();
        let has_arrived = !state.arrived.is_empty();
        let next = state.phase.next(!self.turns.is_empty(), has_arrived, self.is_loading);
        if next == Next::Sleep {
            drop(self.shared.changed.wait(state));
        }
        next
    }

    fn let_in(&mut self) {
        let arrived = mem::take(&mut self.shared.state().arrived);
        for job in arrived {
            let lengths = job.texts.iter().map(Vec::len).collect();
            self.turns.push(job, lengths);
        }
    }

    /// Those whose vectors are all there are told; those who are not wanted any more go.
    fn let_go(&mut self) {
        let complete = self.turns.remove(Turn::is_complete);
        let cancelled = self.turns.remove(|turn| turn.job.cancelled.is_cancelled());
        let left: usize = cancelled.iter().map(Turn::rows_left).sum();
        {
            let statistics = &mut self.shared.state().statistics;
            statistics.waiting -= complete.len() + cancelled.len();
            statistics.waiting_tokens -= left;
            statistics.finished += complete.len() as u64;
            statistics.cancelled += cancelled.len() as u64;
        }
        // Nothing is told or dropped with the lock held: what that does is up to the client.
        for turn in complete {
            let (tokens, began) = (turn.rows(), turn.began.unwrap_or_else(Instant::now));
            let checked = check(&turn.vectors).map_err(Arc::new);
            if let Err(error) = &checked {
                tracing::warn!(%error, "a job failed, and others go on");
            }
            let vectors = turn.vectors;
            (turn.job.out)(checked.map(|()| Embeddings { vectors, tokens, began }));
        }
    }

    fn pass(&mut self) -> Result<(), Error> {
        let room = Room { rows: self.model.max_rows(), texts: self.model.max_texts() };
        let picks = self.turns.pick(room);
        let began = Instant::now();
        self.turns.begin(&picks, began);
        let text = |pick: &Pick| &*self.turns.job(pick.job).texts[pick.text];
        let texts: Vec<&[u32]> = picks.iter().map(text).collect();
        let rows = texts.iter().map(|ids| ids.len()).sum();
        let vectors = self.model.embed(&texts).map_err(failed)?;
        self.count(picks.len(), rows, began.elapsed().as_secs_f64());
        self.is_loading = false;
        self.turns.give(&picks, vectors);
        Ok(())
    }

    fn count(&self, texts: usize, rows: usize, took_s: f64) {
        let mut state = self.shared.state();
        state.statistics.texts += texts as u64;
        state.statistics.tokens += rows as u64;
        state.statistics.passes += 1;
        state.statistics.waiting_tokens -= rows;
        // The pass that loads says nothing of those that follow.
        if !self.is_loading {
            state.tokens_per_s = rows as f64 / took_s;
        }
    }

    /// Everybody is told why there will be no more.
    fn fail(&mut self, error: &Arc<Error>) {
        self.shared.fail(error);
        for turn in self.turns.remove(|_| true) {
            (turn.job.out)(Err(Arc::clone(error)));
        }
    }
}

/// What is not a number is nobody's embedding.
fn check(vectors: &[Vec<f32>]) -> Result<(), Error> {
    let is_bad = |vector: &Vec<f32>| !vector.iter().all(|value| value.is_finite());
    vectors.iter().position(is_bad).map_or(Ok(()), |text| Err(Error::BadEmbedding { text }))
}
