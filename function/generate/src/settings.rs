//! One generation's settings, resolved once: the user's flags over the model's recommendation over
//! our defaults.
//!
//! As in transformers, a model samples only if its `generation_config.json` says `do_sample`; its
//! temperature alone does not count. A temperature that the user asks for always counts, and then
//! the other recommendations do as well.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::{GenerationConfig, Result, Sampling, SamplingOptions, StopRules};

/// What the user asked for; `None` is "not said".
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Flags {
    /// See [`SamplingOptions::temperature`].
    pub temperature: Option<f32>,
    /// See [`SamplingOptions::top_k`].
    pub top_k: Option<u32>,
    /// See [`SamplingOptions::top_p`].
    pub top_p: Option<f32>,
    /// See [`SamplingOptions::min_p`].
    pub min_p: Option<f32>,
    /// See [`SamplingOptions::repetition_penalty`].
    pub repetition_penalty: Option<f32>,
    /// See [`SamplingOptions::presence_penalty`].
    pub presence_penalty: Option<f32>,
    /// See [`SamplingOptions::frequency_penalty`].
    pub frequency_penalty: Option<f32>,
    /// See [`SamplingOptions::seed`]. Where it is not said, a random one is drawn.
    pub seed: Option<u64>,
    /// The most tokens of the answer.
    pub max_tokens: Option<u32>,
    /// The fewest tokens of the answer; without it the model may end it at once.
    pub min_tokens: Option<u32>,
    /// Strings that end the answer.
    pub stop_strings: Vec<String>,
    /// Tokens that end the answer, besides the model's own.
    pub stop_ids: Vec<u32>,
}

/// Everything about one generation but the prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// How to choose each token.
    pub sampling: Sampling,
    /// When to stop.
    pub stop: StopRules,
}

impl Settings {
    /// Merges, and checks what came out: a recommendation may be out of range as well.
    pub fn merge(flags: Flags, config: &GenerationConfig) -> Result<Self> {
        let sampling = Sampling::new(sampling_options(&flags, config))?;
        let max_tokens = flags.max_tokens.or(config.max_new_tokens).unwrap_or(DEFAULT_MAX_TOKENS);
        let stop_ids = [flags.stop_ids, config.eos_token_id.clone()].concat();
        let stop = StopRules::new(flags.stop_strings, stop_ids, max_tokens)?;
        let stop = stop.not_before(flags.min_tokens.unwrap_or(0))?;
        Ok(Self { sampling, stop })
    }
}

fn sampling_options(flags: &Flags, config: &GenerationConfig) -> SamplingOptions {
    let ours = SamplingOptions::default();
    let config_top_k = config.top_k.map(|k| u32::try_from(k.max(0)).unwrap_or(u32::MAX));
    SamplingOptions {
        temperature: temperature(flags, config),
        top_k: flags.top_k.or(config_top_k).unwrap_or(DEFAULT_TOP_K),
        top_p: flags.top_p.or(config.top_p).unwrap_or(ours.top_p),
        min_p: flags.min_p.or(config.min_p).unwrap_or(ours.min_p),
        repetition_penalty: flags
            .repetition_penalty
            .or(config.repetition_penalty)
            .unwrap_or(ours.repetition_penalty),
        presence_penalty: flags.presence_penalty.unwrap_or(ours.presence_penalty),
        frequency_penalty: flags.frequency_penalty.unwrap_or(ours.frequency_penalty),
        seed: flags.seed.unwrap_or_else(random_seed),
    }
}

fn temperature(flags: &Flags, config: &GenerationConfig) -> f32 {
    match (flags.temperature, config.do_sample) {
        (Some(temperature), _) => temperature,
        (None, Some(true)) => config.temperature.unwrap_or(DEFAULT_TEMPERATURE),
        (None, _) => SamplingOptions::default().temperature,
    }
}

/// A seed from the operating system, by way of the keys of a hash map: it need not be secret, only
/// different.
fn random_seed() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    // Processes that were restored from one snapshot have the same keys, but not the same time.
    hasher.write_u128(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos());
    hasher.finish()
}

/// What transformers samples with where the file says `do_sample` and no more.
const DEFAULT_TEMPERATURE: f32 = 1.0;

/// What transformers samples with where neither file nor caller says otherwise: the authors of a
/// model saw its answers with it.
const DEFAULT_TOP_K: u32 = 50;

/// A page of text, and an end for a model that does not find its own: half a minute at 15 tokens a
/// second.
pub const DEFAULT_MAX_TOKENS: u32 = 512;

#[cfg(test)]
mod tests {
    use proptest::option::of;
    use proptest::prelude::*;

    use super::*;

    fn merged(flags: Flags, config: &str) -> Settings {
        let config = GenerationConfig::parse(Some(config.as_bytes()), b"{}").unwrap();
        Settings::merge(flags, &config).unwrap()
    }

    #[test]
    fn nothing_said_is_greedy() {
        let settings = merged(Flags::default(), "{}");
        assert!(settings.sampling.is_greedy());
        assert_eq!(settings.stop.max_tokens(), 512);
    }

    #[test]
    fn a_recommended_temperature_counts_only_with_do_sample() {
        let greedy = merged(Flags::default(), r#"{"temperature": 0.6, "top_p": 0.9}"#);
        assert!(greedy.sampling.is_greedy());
        let off = merged(Flags::default(), r#"{"do_sample": false, "temperature": 0.6}"#);
        assert!(off.sampling.is_greedy());
        let on = merged(Flags::default(), r#"{"do_sample": true, "temperature": 0.6}"#);
        assert_eq!(on.sampling.options().temperature.to_bits(), 0.6f32.to_bits());
        let bare = merged(Flags::default(), r#"{"do_sample": true}"#);
        assert_eq!(bare.sampling.options().temperature.to_bits(), 1.0f32.to_bits());
        assert_eq!(bare.sampling.options().top_k, 50);
    }

    #[test]
    fn a_temperature_of_the_user_switches_sampling_on_with_the_other_recommendations() {
        let flags = Flags { temperature: Some(0.3), ..Flags::default() };
        let settings = merged(flags, r#"{"temperature": 0.6, "top_p": 0.9, "top_k": 20}"#);
        let options = settings.sampling.options();
        assert_eq!((options.temperature, options.top_p, options.top_k), (0.3, 0.9, 20));
    }

    #[test]
    fn a_temperature_of_zero_switches_sampling_off() {
        let flags = Flags { temperature: Some(0.0), ..Flags::default() };
        assert!(merged(flags, r#"{"do_sample": true, "temperature": 0.6}"#).sampling.is_greedy());
    }

    #[test]
    fn a_negative_top_k_of_the_file_is_off_and_a_zero_of_the_user_as_well() {
        assert_eq!(merged(Flags::default(), r#"{"top_k": -1}"#).sampling.options().top_k, 0);
        let flags = Flags { top_k: Some(0), ..Flags::default() };
        assert_eq!(merged(flags, r#"{"top_k": 20}"#).sampling.options().top_k, 0);
    }

    #[test]
    fn stop_ids_of_user_and_model_add_up() {
        let flags = Flags { stop_ids: vec![9], ..Flags::default() };
        let stop = merged(flags, r#"{"eos_token_id": [1, 2], "max_new_tokens": 40}"#).stop;
        assert!([9, 1, 2].iter().all(|&id| stop.stops_at(id)) && !stop.stops_at(3));
        assert_eq!(stop.max_tokens(), 40);
    }

    #[test]
    fn a_recommendation_out_of_range_is_an_error() {
        let config = GenerationConfig { top_p: Some(7.0), ..GenerationConfig::default() };
        let error = Settings::merge(Flags::default(), &config).unwrap_err().to_string();
        assert!(error.contains("`top_p` is `7`"), "{error}");
    }

    #[test]
    fn seeds_that_nobody_gave_differ() {
        let seed = || merged(Flags::default(), "{}").sampling.options().seed;
        assert_ne!(seed(), seed());
    }

    proptest! {
        #[test]
        fn flags_win_over_the_file_and_the_file_over_ours(
            flag in of(0.1f32..1.0), file in of(0.1f32..1.0), k in of(0u32..99), max in of(1u32..9),
        ) {
            let flags = Flags {
                top_p: flag, min_p: flag, repetition_penalty: flag, top_k: k, max_tokens: max,
                ..Flags::default()
            };
            let config = GenerationConfig {
                top_p: file, min_p: file, repetition_penalty: file,
                top_k: Some(7), max_new_tokens: Some(77), ..GenerationConfig::default()
            };
            let settings = Settings::merge(flags, &config).unwrap();
            let options = settings.sampling.options();
            let is = |merged: f32, expected: f32| merged.to_bits() == expected.to_bits();
            prop_assert!(is(options.top_p, flag.or(file).unwrap_or(1.0)));
            prop_assert!(is(options.min_p, flag.or(file).unwrap_or(0.0)));
            prop_assert!(is(options.repetition_penalty, flag.or(file).unwrap_or(1.0)));
            prop_assert_eq!(options.top_k, k.unwrap_or(7));
            prop_assert_eq!(settings.stop.max_tokens(), max.unwrap_or(77));
        }
    }
}
