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
//! - `queue`: those who wait; `blocks`: the places in the cache
//! - `statistics`: what the engine has done

mod blocks;
mod job;
mod queue;
mod refusal;
mod statistics;

pub use job::{Cancelled, Event, Job, Out, Token, Usage};
pub use refusal::Refusal;
pub use statistics::Statistics;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::{Error, Generation, GenerationRequest, Tokenizer};
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

/// The other end, for the thread that computes. Where it is dropped, all jobs fail.
pub struct Worker {
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
    queue: Queue<Taken>,
    phase: Phase,
    statistics: Statistics,
}

/// A job that was taken.
struct Taken {
    job: Job,
    generation: Generation,
}

enum Phase {
    Serving,
    /// Nothing is taken any more, and nothing goes on past this moment.
    Stopping {
        deadline: Instant,
    },
    Failed(Arc<Error>),
}

impl Engine {
    /// The two ends of an engine.
    #[must_use]
    pub fn new(tokenizer: Tokenizer, limits: Limits) -> (Self, Worker) {
        let statistics = Statistics { kv_blocks: limits.kv_blocks, ..Statistics::default() };
        let queue = Queue::new(limits.max_waiting);
        let state = Mutex::new(State { queue, phase: Phase::Serving, statistics });
        let shared = Arc::new(Shared { tokenizer, limits, state, changed: Condvar::new() });
        (Self { shared: Arc::clone(&shared) }, Worker { shared })
    }

    /// What it may use.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// Takes a job, if it can be answered and there is room for it to wait. The weights need not be
    /// there: it rides the load.
    pub fn submit(&self, job: Job) -> Result<(), Refusal> {
        self.shared.state().check()?;
        let generation = self.generation(&job).map_err(|error| Refusal::Prompt(Arc::new(error)))?;
        self.shared.state().take(Taken { job, generation })?;
        self.shared.changed.notify_one();
        Ok(())
    }

    fn generation(&self, job: &Job) -> Result<Generation, Error> {
        let Shared { tokenizer, limits, .. } = &*self.shared;
        let cache_positions = limits.kv_blocks.saturating_mul(limits.block_positions);
        let prompt_tokens = job.prompt_ids.len();
        if prompt_tokens < limits.context_length && prompt_tokens >= cache_positions {
            return Err(Error::PromptBeyondCache { prompt_tokens, cache_positions });
        }
        let request = GenerationRequest {
            prompt_ids: &job.prompt_ids,
            sampling: job.sampling,
            stop: job.stop.clone(),
            context_length: limits.context_length.min(cache_positions),
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
        match &self.shared.state().phase {
            Phase::Failed(error) => Some(Arc::clone(error)),
            Phase::Serving | Phase::Stopping { .. } => None,
        }
    }

    /// Takes no more jobs. Those that were taken are finished, as far as that is done within
    /// `drain`; then the worker's run ends. Does not wait.
    pub fn stop(&self, drain: Duration) {
        let mut state = self.shared.state();
        if matches!(state.phase, Phase::Serving) {
            state.phase = Phase::Stopping { deadline: Instant::now() + drain };
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
}

impl State {
    /// Whether a job could be taken at all.
    fn check(&mut self) -> Result<(), Refusal> {
        match &self.phase {
            Phase::Failed(error) => return Err(Refusal::Failed(Arc::clone(error))),
            Phase::Stopping { .. } => return Err(Refusal::Stopping),
            Phase::Serving => {}
        }
        if self.queue.is_full() {
            let left = self.queue.keep(|waiting| !waiting.job.cancelled.is_cancelled());
            self.statistics.cancelled += left as u64;
        }
        if self.queue.is_full() {
            let waiting = self.queue.len();
            return Err(Refusal::QueueFull { waiting, retry_after_s: RETRY_AFTER_S });
        }
        Ok(())
    }

    fn take(&mut self, taken: Taken) -> Result<(), Refusal> {
        self.check()?;
        self.queue.push(taken).map_err(|_| ()).expect("a queue that was checked has room");
        Ok(())
    }
}

/// Before any answer was complete.
const RETRY_AFTER_S: u64 = 1;
