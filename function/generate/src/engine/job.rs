//! What is asked of the engine, and what it tells of it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Bias, Error, Finish, Logprobs, Sampling, StopRules};

/// One answer to one prompt. Several answers to a prompt are several jobs, with seeds of their own.
pub struct Job {
    /// The prompt's tokens.
    pub prompt_ids: Vec<u32>,
    /// How to choose each token.
    pub sampling: Sampling,
    /// When to stop.
    pub stop: StopRules,
    /// What is added to the logits of some tokens.
    pub bias: Bias,
    /// With how many of the likeliest tokens beside it each token of the answer comes; `Some(0)`
    /// is its own probability alone.
    pub logprobs: Option<u8>,
    /// The same for each token of the prompt, told before the first of the answer.
    pub prompt_logprobs: Option<u8>,
    /// Set by whoever no longer wants the answer: it ends before the next step.
    pub cancelled: Cancelled,
    /// Who listens. It is called on the thread that computes, so it must not wait; `false` says that
    /// nobody listens any more, and ends the answer. It is dropped after its last event, and
    /// without one where the answer was cancelled.
    pub out: Out,
}

/// Where the events of one answer go.
pub type Out = Box<dyn FnMut(Event) -> bool + Send>;

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("prompt_tokens", &self.prompt_ids.len())
            .field("sampling", &self.sampling)
            .field("stop", &self.stop)
            .finish_non_exhaustive()
    }
}

/// Whether an answer is still wanted. Clones are the same answer's.
#[derive(Clone, Debug, Default)]
pub struct Cancelled(Arc<AtomicBool>);

impl Cancelled {
    /// The answer is not wanted any more.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody said so.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What happens to an answer, in this order: `Started`, `Prompt` where it was asked for, tokens, and
/// one of the last two. `Failed` may come at any time.
#[derive(Debug, Clone)]
pub enum Event {
    /// It left the queue and takes part in the next step.
    Started,
    /// How likely the prompt was: an element a token, the first of which follows nothing.
    Prompt(Vec<Option<Logprobs>>),
    /// One more token.
    Token(Token),
    /// The answer is complete.
    Finished {
        /// Why it ends here.
        finish: Finish,
        /// What it took.
        usage: Usage,
    },
    /// There will be no more of it. Many answers may share the reason.
    Failed(Arc<Error>),
}

/// A token of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// Its id: of the last one of an answer that the model ended, that of the end.
    pub id: u32,
    /// Text that is now certain; often a word, sometimes nothing.
    pub text: String,
    /// How likely it was, where that was asked for.
    pub logprobs: Option<Logprobs>,
}

/// What an answer took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the answer, the one that ended it included.
    pub generated_tokens: usize,
}
