//! What a model's authors recommend: `generation_config.json`, and the ends of text in
//! `config.json`.

use serde::Deserialize;

use crate::{Error, Flags, Result, Settings};

/// The fields that matter here; all others are ignored, and all of these may be missing.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct GenerationConfig {
    /// Whether to sample at all. Without it transformers is greedy, whatever the other fields say.
    pub do_sample: Option<bool>,
    /// See [`SamplingOptions::temperature`](crate::SamplingOptions::temperature).
    pub temperature: Option<f32>,
    /// See [`SamplingOptions::top_k`](crate::SamplingOptions::top_k). Some files write -1 for off.
    pub top_k: Option<i64>,
    /// See [`SamplingOptions::top_p`](crate::SamplingOptions::top_p).
    pub top_p: Option<f32>,
    /// See [`SamplingOptions::min_p`](crate::SamplingOptions::min_p).
    pub min_p: Option<f32>,
    /// See [`SamplingOptions::repetition_penalty`](crate::SamplingOptions::repetition_penalty).
    pub repetition_penalty: Option<f32>,
    /// The most tokens of an answer.
    pub max_new_tokens: Option<u32>,
    /// The token that begins a text.
    pub bos_token_id: Option<u32>,
    /// The tokens that end an answer: a number or a list in the file.
    #[serde(default, deserialize_with = "one_or_many")]
    pub eos_token_id: Vec<u32>,
}

impl GenerationConfig {
    /// Reads both files. As in transformers, `generation_config.json` stands for all of it where
    /// the model has one; where it does not name the end or the beginning of a text, `config.json`
    /// does.
    pub fn parse(generation_config_json: Option<&[u8]>, config_json: &[u8]) -> Result<Self> {
        let model = Self::parse_file("config.json", config_json)?;
        let Some(json) = generation_config_json else { return Ok(model) };
        let file = "generation_config.json";
        let mut config = Self::parse_file(file, json)?;
        if config.eos_token_id.is_empty() {
            config.eos_token_id = model.eos_token_id;
        }
        config.bos_token_id = config.bos_token_id.or(model.bos_token_id);
        match config.check() {
            Ok(()) => Ok(config),
            Err(source) => Err(Error::Recommendation { file, source: Box::new(source) }),
        }
    }

    /// Refuses what no answer can be made with. vLLM takes such a file, and then refuses every
    /// request that does not say otherwise; nobody who asks can tell whose number it is.
    fn check(&self) -> Result<()> {
        if self.max_new_tokens == Some(0) {
            let (option, allowed) = ("max_new_tokens", "1 or more");
            return Err(Error::OptionRange { option, value: 0.0, allowed });
        }
        // Of a model that does not sample by itself, a request may switch that on.
        let flags = Flags { temperature: self.temperature, ..Flags::default() };
        Settings::merge(flags, self).map(drop)
    }

    fn parse_file(file: &'static str, json: &[u8]) -> Result<Self> {
        serde_json::from_slice(json).map_err(|source| Error::Json { file, source })
    }
}

/// A number, a list of numbers, or nothing. Negative ids stand for "none": no model can answer with
/// them.
fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<u32>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a token id or a list of token ids")]
    enum Ids {
        One(i64),
        Many(Vec<i64>),
    }
    let ids = match Option::<Ids>::deserialize(deserializer)? {
        None => Vec::new(),
        Some(Ids::One(id)) => vec![id],
        Some(Ids::Many(ids)) => ids,
    };
    Ok(ids.into_iter().filter_map(|id| u32::try_from(id).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::tests::demo_file;

    fn parse(generation_config: &str, config: &str) -> GenerationConfig {
        GenerationConfig::parse(Some(generation_config.as_bytes()), config.as_bytes()).unwrap()
    }

    #[test]
    fn the_demo_model_samples_and_ends_with_its_end_token() {
        let generation_config = demo_file("generation_config.json");
        let config = demo_file("config.json");
        let both = GenerationConfig::parse(Some(&generation_config), &config).unwrap();
        assert_eq!(both.do_sample, Some(true));
        assert_eq!((both.temperature, both.top_p), (Some(0.8), Some(0.95)));
        assert_eq!((both.max_new_tokens, both.bos_token_id), (Some(400), Some(0)));
        assert_eq!(both.eos_token_id, [1]);
        let alone = GenerationConfig::parse(None, &config).unwrap();
        assert_eq!((alone.do_sample, alone.eos_token_id), (None, vec![1]));
    }

    #[test]
    fn the_end_of_text_is_a_number_or_a_list_or_that_of_the_model() {
        assert_eq!(
            parse(r#"{"eos_token_id": [7, 8]}"#, r#"{"eos_token_id": 9}"#).eos_token_id,
            [7, 8]
        );
        assert_eq!(parse(r#"{"eos_token_id": 7}"#, "{}").eos_token_id, [7]);
        assert_eq!(parse("{}", r#"{"eos_token_id": 9}"#).eos_token_id, [9]);
        let none = parse(r#"{"eos_token_id": null}"#, r#"{"eos_token_id": -1}"#);
        assert!(none.eos_token_id.is_empty());
    }

    #[test]
    fn only_the_ends_of_text_are_taken_from_the_model_beside_its_own_file() {
        let config = parse("{}", r#"{"do_sample": true, "temperature": 2, "bos_token_id": 3}"#);
        assert_eq!((config.do_sample, config.temperature), (None, None));
        assert_eq!(config.bos_token_id, Some(3));
    }

    #[test]
    fn a_field_of_the_wrong_type_is_an_error_that_names_the_file() {
        let parse = |json: &str| GenerationConfig::parse(Some(json.as_bytes()), b"{}").unwrap_err();
        let error = parse(r#"{"temperature": "hot"}"#).to_string();
        assert!(error.starts_with("`generation_config.json` does not parse"), "{error}");
        let error = parse(r#"{"eos_token_id": "</s>"}"#).to_string();
        assert!(error.contains("a token id or a list of token ids"), "{error}");
    }

    #[test]
    fn a_number_out_of_range_is_an_error_that_names_the_file_and_the_field() {
        for (json, expected) in [
            (r#"{"top_p": 7}"#, "`top_p` is `7`, allowed is above 0, to 1"),
            (r#"{"temperature": -3}"#, "`temperature` is `-3`, allowed is 0 to 100"),
            (r#"{"min_p": 1.5}"#, "`min_p` is `1.5`, allowed is 0 to 1"),
            (r#"{"repetition_penalty": 0}"#, "`repetition_penalty` is `0`, allowed is 0.01 to 100"),
            (r#"{"max_new_tokens": 0}"#, "`max_new_tokens` is `0`, allowed is 1 or more"),
        ] {
            let error = GenerationConfig::parse(Some(json.as_bytes()), b"{}").unwrap_err();
            assert_eq!(error.to_string(), format!("`generation_config.json`: {expected}"));
        }
        let unused = GenerationConfig::parse(Some(b"{}"), br#"{"top_p": 7}"#).unwrap();
        assert_eq!(unused.top_p, None, "it is not asked for");
    }
}
