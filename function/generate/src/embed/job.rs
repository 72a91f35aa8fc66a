//! What is asked of an embedder, and what it tells of it.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::Error;
use crate::engine::Cancelled;

/// Some texts to embed.
pub struct Job {
    /// Their tokens, with those that the model expects around a text.
    pub texts: Vec<Vec<u32>>,
    /// Set by whoever no longer wants them: they end before the next pass.
    pub cancelled: Cancelled,
    /// Who listens. It is called once, on the thread that computes, so it must not wait; it is
    /// dropped instead where the job was cancelled.
    pub out: Out,
}

/// Where the embeddings of a job go. Many jobs may fail for one reason.
pub type Out = Box<dyn FnOnce(Result<Embeddings, Arc<Error>>) + Send>;

/// What a job gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    /// A vector for each text, in their order.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens of all texts.
    pub tokens: usize,
    /// When the first pass over any of them began.
    pub began: Instant,
}

impl Job {
    /// Tokens of all texts.
    pub(super) fn tokens(&self) -> usize {
        self.texts.iter().map(Vec::len).sum()
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("texts", &self.texts.len()).finish_non_exhaustive()
    }
}
