//! How many answers are computed at once.

use std::num::NonZero;

use clap::Args;

use crate::size::Size;

/// Named as vLLM names them, where they mean the same.
#[derive(Debug, Args)]
#[command(next_help_heading = "Many answers at once")]
pub(crate) struct EngineArgs {
    /// Tokens of a prompt and its answer at most; default: what the model was made for
    #[arg(long, value_name = "N", env = "FIRSTLIGHT_MAX_MODEL_LEN")]
    pub(crate) max_model_len: Option<NonZero<u32>>,
    /// Answers that are computed at once
    #[arg(long, default_value = "64", value_name = "N", env = "FIRSTLIGHT_MAX_NUM_SEQS")]
    pub(crate) max_num_seqs: NonZero<u16>,
    /// Rows of a pass over the model: longer prompts are cut, so that the answers beside them go on
    #[arg(
        long,
        default_value = "512",
        value_name = "N",
        env = "FIRSTLIGHT_MAX_NUM_BATCHED_TOKENS"
    )]
    pub(crate) max_num_batched_tokens: NonZero<u32>,
    /// Requests that wait for their turn; more are refused with 429
    #[arg(long, default_value = "256", value_name = "N", env = "FIRSTLIGHT_MAX_WAITING")]
    pub(crate) max_waiting: NonZero<u32>,
    /// Memory for keys and values; default: of a GPU most of what the weights leave, of a machine half of it
    #[arg(long, value_name = "SIZE", env = "FIRSTLIGHT_KV_CACHE_MEMORY")]
    pub(crate) kv_cache_memory: Option<Size>,
}
