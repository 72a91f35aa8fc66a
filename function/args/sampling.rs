//! How one answer is chosen.

use clap::Args;

/// What is not given is taken from the model's generation_config.json.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sampling (defaults: the model's generation_config.json)")]
pub(crate) struct SamplingArgs {
    /// Tokens to generate at most
    #[arg(long, value_name = "N", env = "FIRSTLIGHT_MAX_TOKENS")]
    pub(crate) max_tokens: Option<u32>,
    /// 0 takes the likeliest token each time; higher is more varied
    #[arg(long, value_name = "T", env = "FIRSTLIGHT_TEMPERATURE")]
    pub(crate) temperature: Option<f32>,
    /// Sample from the fewest tokens that together have this probability
    #[arg(long, value_name = "P", env = "FIRSTLIGHT_TOP_P")]
    pub(crate) top_p: Option<f32>,
    /// Sample from the K likeliest tokens; 0 from all
    #[arg(long, value_name = "K", env = "FIRSTLIGHT_TOP_K")]
    pub(crate) top_k: Option<u32>,
    /// Leave out tokens that are less likely than P times the likeliest
    #[arg(long, value_name = "P", env = "FIRSTLIGHT_MIN_P")]
    pub(crate) min_p: Option<f32>,
    /// Divide the logits of tokens that have occurred (CTRL, Keskar et al., 2019); 1 is off
    #[arg(long, value_name = "R", env = "FIRSTLIGHT_REPETITION_PENALTY")]
    pub(crate) repetition_penalty: Option<f32>,
    /// Subtract from the logits of tokens that were generated
    #[arg(long, value_name = "A", allow_hyphen_values = true, env = "FIRSTLIGHT_PRESENCE_PENALTY")]
    pub(crate) presence_penalty: Option<f32>,
    /// Subtract from the logits of tokens, as often as they were generated
    #[arg(
        long,
        value_name = "A",
        allow_hyphen_values = true,
        env = "FIRSTLIGHT_FREQUENCY_PENALTY"
    )]
    pub(crate) frequency_penalty: Option<f32>,
    /// The seed of the sampler: the same seed gives the same tokens
    #[arg(long, env = "FIRSTLIGHT_SEED")]
    pub(crate) seed: Option<u64>,
    /// End before this text; may be given more than once
    #[arg(long, value_name = "TEXT", env = "FIRSTLIGHT_STOP")]
    pub(crate) stop: Vec<String>,
    /// Go on past the model's end-of-text tokens
    #[arg(long, env = "FIRSTLIGHT_IGNORE_EOS")]
    pub(crate) ignore_eos: bool,
}
