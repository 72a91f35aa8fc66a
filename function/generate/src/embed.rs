//! Embeddings of many texts, by one thread that computes.
//!
//! ```text
//! submit ──► jobs, in turn ──► one pass over a text of each, or more ──► all of a job: out
//! any thread    bounded: past its limit a job is refused
//! ```
//!
//! [`Embedder::new`] gives two ends. The [`Embedder`] is what everybody submits jobs to; the
//! [`Worker`] goes to the thread that computes, which gives it the model and has it run until it is
//! stopped or the model fails.
//!
//! Texts need not be of one length: a pass has as many as fit into its rows, and nothing is padded.
//!
//! # Layout
//!
//! - `job`: what is asked, and what is told of it
//! - `turns`: which texts are in the next pass
//! - `worker`: pass by pass, until the end

mod job;
mod turns;
mod worker;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use self::job::{Embeddings, Job, Out};
pub use self::worker::Worker;
use crate::engine::Refusal;
use crate::generation::check_ids;
use crate::serving::Phase;
use crate::{Error, Result, Tokenizer};

/// What an embedder takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most tokens of a text.
    pub max_tokens: usize,
    /// Tokens that the model knows.
    pub vocabulary_size: usize,
    /// Texts are lower-cased before they are cut into tokens.
    pub lower_case: bool,
    /// Jobs that may wait or be under way.
    pub max_waiting: usize,
}

/// How much an embedder has done, and what it is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Statistics {
    /// Jobs that were taken and are not complete.
    pub waiting: usize,
    /// Tokens of those of their texts that were not computed.
    pub waiting_tokens: usize,
    /// Texts that were computed.
    pub texts: u64,
    /// Tokens that were computed.
    pub tokens: u64,
    /// Passes over the model.
    pub passes: u64,
    /// Jobs that were computed to their end.
    pub finished: u64,
    /// Jobs that nobody wanted any more.
    pub cancelled: u64,
}

/// Where jobs are given. Clones are the same embedder.
#[derive(Clone)]
pub struct Embedder {
    shared: Arc<Shared>,
}

/// What both ends have.
struct Shared {
    tokenizer: Tokenizer,
    limits: Limits,
    state: Mutex<State>,
    /// A job came, or the embedder is to stop.
    changed: Condvar,
}

struct State {
    /// Jobs that the worker has not seen.
    arrived: VecDeque<Job>,
    phase: Phase,
    statistics: Statistics,
    /// Of late: how soon somebody who is refused should come back.
    tokens_per_s: f64,
}

impl Embedder {
    /// The two ends of an embedder.
    #[must_use]
    pub fn new(tokenizer: Tokenizer, limits: Limits) -> (Self, Worker) {
        let state = Mutex::new(State {
            arrived: VecDeque::new(),
            phase: Phase::Serving,
            statistics: Statistics::default(),
            tokens_per_s: f64::INFINITY,
        });
        let shared = Arc::new(Shared { tokenizer, limits, state, changed: Condvar::new() });
        (Self { shared: Arc::clone(&shared) }, Worker::new(shared))
    }

    /// What it takes.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// The tokens of a text as the model reads it. One that is too long is an error, or cut where
    /// `truncate` says so.
    pub fn encode(&self, text: &str, truncate: bool) -> Result<Vec<u32>> {
        let Shared { tokenizer, limits, .. } = &*self.shared;
        if truncate {
            return self.encode_within(text, limits.max_tokens);
        }
        let ids = tokenizer.encode(&limits.read(text)?, true)?;
        limits.check_length(&ids)?;
        Ok(ids)
    }

    /// The same, cut where the text has more than `most` tokens with those that the model expects
    /// around it.
    pub fn encode_within(&self, text: &str, most: usize) -> Result<Vec<u32>> {
        let Shared { tokenizer, limits, .. } = &*self.shared;
        tokenizer.encode_within(&limits.read(text)?, most.min(limits.max_tokens))
    }

    /// Takes a job, if it can be computed and there is room for it to wait. The weights need not be
    /// there: it rides the load.
    pub fn submit(&self, job: Job) -> Result<(), Refusal> {
        let refused = |error| Refusal::Prompt(Arc::new(error));
        let limits = &self.shared.limits;
        job.texts.iter().try_for_each(|ids| limits.check(ids)).map_err(refused)?;
        let mut state = self.shared.state();
        state.check(limits)?;
        state.statistics.waiting += 1;
        state.statistics.waiting_tokens += job.tokens();
        state.arrived.push_back(job);
        self.shared.changed.notify_one();
        Ok(())
    }

    /// What it is doing.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.shared.state().statistics
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

impl Limits {
    /// A text as the model is to see it.
    fn read<'a>(&self, text: &'a str) -> Result<Cow<'a, str>> {
        match text {
            "" => Err(Error::EmptyText),
            _ if self.lower_case => Ok(text.to_lowercase().into()),
            _ => Ok(text.into()),
        }
    }

    /// Whether the tokens of a text can be computed.
    fn check(&self, ids: &[u32]) -> Result<()> {
        if ids.is_empty() {
            return Err(Error::EmptyPrompt);
        }
        self.check_length(ids)?;
        check_ids(ids, self.vocabulary_size)
    }

    fn check_length(&self, ids: &[u32]) -> Result<()> {
        let (tokens, limit) = (ids.len(), self.max_tokens);
        if tokens > limit { Err(Error::TextBeyondModel { tokens, limit }) } else { Ok(()) }
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
    /// Whether a job could be taken.
    fn check(&self, limits: &Limits) -> Result<(), Refusal> {
        self.phase.check()?;
        let waiting = self.statistics.waiting;
        if waiting >= limits.max_waiting {
            return Err(Refusal::QueueFull { waiting, retry_after_s: self.retry_after_s() });
        }
        Ok(())
    }

    /// When what waits now should be done, in whole seconds.
    fn retry_after_s(&self) -> u64 {
        let seconds = self.statistics.waiting_tokens as f64 / self.tokens_per_s;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let seconds = seconds.ceil().clamp(1.0, LONGEST_WAIT_S) as u64;
        seconds
    }
}

/// However slow it looks, others may have left within a minute.
const LONGEST_WAIT_S: f64 = 60.0;

#[cfg(test)]
mod tests;
