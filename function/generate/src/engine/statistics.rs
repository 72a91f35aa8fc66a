//! How much the engine has done, and what it is doing.

/// A moment of the engine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Jobs that were taken and did not begin.
    pub waiting: usize,
    /// Jobs that have a place in the cache, or had one and wait for another.
    pub running: usize,
    /// Blocks of the cache that hold something.
    pub kv_blocks_used: usize,
    /// Blocks of the cache.
    pub kv_blocks: usize,
    /// Tokens of prompts that were computed, those of answers that were computed anew not counted.
    pub prompt_tokens: u64,
    /// Tokens that were chosen.
    pub generated_tokens: u64,
    /// Passes over the model.
    pub steps: u64,
    /// How often an answer lost its place in the cache to an older one.
    pub preemptions: u64,
    /// Answers that ended by themselves.
    pub finished: u64,
    /// Answers whose listener went away.
    pub cancelled: u64,
}
