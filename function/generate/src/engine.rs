//! Many answers at once, by one thread that computes.
//!
//! ```text
//! submit ──► queue ──► schedule ──► one pass over the model ──► a token each ──► out
//!   any thread  │         ▲                                          │
//!               │         └───── those that go on ◄──────────────────┘
//!               └ bounded: past its limit a job is refused
//! ```
//!
//! [`Engine::new`] gives two ends. The [`Engine`] is what everybody submits jobs to; the [`Worker`]
//! goes to the thread that computes, which gives it the model and has it run until the engine is
//! stopped or the model fails.
//!
//! # Layout
//!
//! - `job`: what is asked, and what is told of it; `refusal`: why a job is not taken
//! - `queue`: those who wait
//! - `schedule`: who is computed in the next pass; `blocks`: the places in the cache
//! - `worker`: pass by pass, until the end; `joining`: the pass that loads; `answer`: what a pass
//!   means for one job
//! - `statistics`: what the engine has done; `pace`: how soon a place is free

mod answer;
mod blocks;
mod job;
mod joining;
mod pace;
mod queue;
mod refusal;
mod schedule;
mod statistics;
mod worker;

pub use job::{Cancelled, Event, Job, Out, Token, Usage};
pub use refusal::Refusal;
pub use statistics::Statistics;
pub use worker::{LOAD_ROWS, Worker};

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::serving::Phase;
use crate::{Error, Generation, GenerationRequest, Tokenizer};
use answer::Answer;
use pace::Pace;
use queue::Queue;

/// What an engine may use, and what its model can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most tokens of a prompt and its answer.
    pub context_length: usize,
    /// Tokens that the model knows.
    pub vocabulary_size: usize,
    /// Blocks of the cache.
    pub kv_blocks: usize,
    /// Positions that a block holds.
    pub block_positions: usize,
    /// Answers that are computed at once.
    pub max_running: usize,
    /// Jobs that may wait for that.
    pub max_waiting: usize,
    /// Rows of a pass: prompts are cut into pieces so that the answers beside them go on.
    pub step_rows: usize,
}

/// Where jobs are given. Clones are the same engine.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

/// What both ends have.
struct Shared {
    tokenizer: Tokenizer,
    limits: Limits,
    state: Mutex<State>,
    /// A job came, or the engine is to stop.
    changed: Condvar,
}

struct State {
    queue: Queue<Answer>,
    phase: Phase,
    statistics: Statistics,
    /// Answers whose listeners went away before they began.
    cancelled_waiting: u64,
    pace: Pace,
}

impl Engine {
    /// The two ends of an engine.
    #[must_use]
    pub fn new(tokenizer: Tokenizer, limits: Limits) -> (Self, Worker) {
        let statistics = Statistics { kv_blocks: limits.kv_blocks, ..Statistics::default() };
        let queue = Queue::new(limits.max_waiting);
        let state = Mutex::new(State {
            queue,
            phase: Phase::Serving,
            statistics,
            cancelled_waiting: 0,
            pace: Pace::default(),
        });
        let shared = Arc::new(Shared { tokenizer, limits, state, changed: Condvar::new() });
        (Self { shared: Arc::clone(&shared) }, Worker::new(shared))
    }

    /// What it may use.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// Takes a job, if it can be answered and there is room for it to wait. The weights need not be
    /// there: it rides the load.
    pub fn submit(&self, job: Job) -> Result<(), Refusal> {
        self.shared.make_room();
        self.shared.state().check()?;
        let generation = self.generation(&job).map_err(|error| Refusal::Prompt(Arc::new(error)))?;
        self.shared.state().take(Answer::new(job, generation))?;
        self.shared.changed.notify_one();
        Ok(())
    }

    fn generation(&self, job: &Job) -> Result<Generation, Error> {
        let Shared { tokenizer, limits, .. } = &*self.shared;
        let cache_positions = limits.kv_blocks.saturating_mul(limits.block_positions);
        let prompt_tokens = job.prompt_ids.len();
        let context_length = if prompt_tokens < cache_positions {
            limits.context_length.min(cache_positions)
        } else if prompt_tokens < limits.context_length {
            return Err(Error::PromptBeyondCache { prompt_tokens, cache_positions });
        } else {
            limits.context_length
        };
        let request = GenerationRequest {
            prompt_ids: &job.prompt_ids,
            sampling: job.sampling,
            stop: job.stop.clone(),
            context_length,
            vocabulary_size: limits.vocabulary_size,
        };
        Generation::new(tokenizer, request)
    }

    /// What it is doing.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let state = self.shared.state();
        Statistics { waiting: state.queue.len(), ..state.statistics }
    }

    /// Why it failed, if it did.
    #[must_use]
    pub fn failure(&self) -> Option<Arc<Error>> {
        self.shared.state().phase.failure()
    }

    /// Takes no more jobs. Those that were taken are finished, as far as that is done within
    /// `drain`; then the worker's run ends. Does not wait.
    pub fn stop(&self, drain: Duration) {
        if self.shared.state().phase.stop(drain) {
            self.shared.changed.notify_one();
        }
    }
}

impl Shared {
    /// Nothing panics with the lock held, but for a bug, after which the worker says that all
    /// failed.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the queue is full, those who are not wanted any more leave it now.
    fn make_room(&self) {
        // Dropped when the lock is free again.
        let _gone = {
            let mut state = self.state();
            if state.queue.is_full() { state.cancelled() } else { Vec::new() }
        };
    }
}

impl State {
    /// Whether a job could be taken at all.
    fn check(&self) -> Result<(), Refusal> {
        self.phase.check()?;
        if self.queue.is_full() {
            let waiting = self.queue.len();
            return Err(Refusal::QueueFull { waiting, retry_after_s: self.pace.retry_after_s() });
        }
        Ok(())
    }

    /// Those who wait and are not wanted any more leave.
    fn cancelled(&mut self) -> Vec<Answer> {
        let gone = self.queue.keep(|waiting| !waiting.is_cancelled());
        self.cancelled_waiting += gone.len() as u64;
        gone
    }

    fn take(&mut self, answer: Answer) -> Result<(), Refusal> {
        self.check()?;
        self.queue.push(answer).map_err(|_| ()).expect("a queue that was checked has room");
        Ok(())
    }
}

#[cfg(test)]
mod tests;
