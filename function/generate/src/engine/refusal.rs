//! Why a job was not taken.

use std::sync::Arc;

use crate::Error;

/// Why a job was not taken. Its `out` was not called.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    /// As many wait already as may.
    #[error(
        "{waiting} requests are waiting, which is the limit\nhint: try again in {retry_after_s} s"
    )]
    QueueFull {
        /// How many wait.
        waiting: usize,
        /// By when a place should be free, going by how long answers took so far.
        retry_after_s: u64,
    },
    /// The engine ends: what was taken before is finished, nothing more is taken.
    #[error("the engine is stopping")]
    Stopping,
    /// The engine has ended; all jobs ended with the same error.
    #[error(transparent)]
    Failed(Arc<Error>),
    /// The prompt cannot be answered by this model, ever.
    #[error(transparent)]
    Prompt(Arc<Error>),
}
