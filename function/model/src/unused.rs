//! What a checkpoint holds and the model does not ask for.
//!
//! Most of it is of no consequence: a table that can be computed, a head for another task. Layers
//! behind the last are: config.json then describes less than was trained, and what it describes
//! gives other answers.

use crate::{EncoderSpec, Error, Names, Spec, stage::OUTPUT};

impl Spec {
    /// Of tensors that no [stage](Self::stages) has, those that are worth a word. Layers that
    /// config.json does not count are an error.
    pub fn leftover<'a>(
        &self,
        unused: impl Iterator<Item = &'a str>,
    ) -> Result<Vec<&'a str>, Error> {
        let is_known = |name: &str| {
            COMPUTED.iter().any(|end| name.ends_with(end))
                || (self.tie_word_embeddings && name == OUTPUT)
        };
        leftover(unused.filter(|name| !is_known(name)), "model.layers.", self.layers)
    }
}

impl EncoderSpec {
    /// Of tensors that no [stage](Self::stages) has, those that are worth a word. Layers that
    /// config.json does not count are an error.
    pub fn leftover<'a>(
        &self,
        names: Names,
        unused: impl Iterator<Item = &'a str>,
    ) -> Result<Vec<&'a str>, Error> {
        // Nearly all checkpoints have a pooler, which embeddings are not made with.
        let pooler = format!("{}pooler.", names.prefix);
        let is_known = |name: &str| {
            COMPUTED.iter().any(|end| name.ends_with(end)) || name.starts_with(&pooler)
        };
        let layers = format!("{}encoder.layer.", names.prefix);
        leftover(unused.filter(|name| !is_known(name)), &layers, self.layers)
    }
}

/// Those of `unused`, if none of them is of a layer behind the last.
fn leftover<'a>(
    unused: impl Iterator<Item = &'a str>,
    prefix: &str,
    layers: usize,
) -> Result<Vec<&'a str>, Error> {
    let unused: Vec<&str> = unused.collect();
    let layer = |name: &str| name.strip_prefix(prefix)?.split_once('.')?.0.parse::<usize>().ok();
    let last = unused.iter().filter_map(|name| layer(name)).filter(|&it| it >= layers).max();
    match last {
        Some(last) => Err(Error::MoreLayers { layers, found: last.saturating_add(1) }),
        None => Ok(unused),
    }
}

/// How the names of tables end that some versions of transformers save, and that are computed.
const COMPUTED: [&str; 2] = ["rotary_emb.inv_freq", "embeddings.position_ids"];

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(tied: bool) -> Spec {
        let config = format!(
            r#"{{"model_type": "llama", "vocab_size": 8, "hidden_size": 8, "intermediate_size": 8,
                "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 8,
                "tie_word_embeddings": {tied}}}"#
        );
        Spec::parse(config.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_known_stays_silent_and_what_is_not_is_told() {
        let names = [
            "model.layers.0.self_attn.rotary_emb.inv_freq",
            "model.layers.1.self_attn.q_proj.bias",
            "lm_head.weight",
            "value_head.weight",
        ];
        let told = |tied| spec(tied).leftover(names.into_iter()).unwrap();
        assert_eq!(told(true), ["model.layers.1.self_attn.q_proj.bias", "value_head.weight"]);
        assert_eq!(told(false).len(), 3);
    }

    #[test]
    fn layers_behind_the_last_are_an_error_with_both_numbers() {
        let beyond = ["model.layers.2.mlp.up_proj.weight", "model.layers.4.mlp.up_proj.weight"];
        let error = spec(true).leftover(beyond.into_iter()).unwrap_err().to_string();
        let numbers = "`num_hidden_layers` of config.json is 2, and the checkpoint has 5 layers";
        assert!(error.starts_with(numbers), "{error}");
    }

    #[test]
    fn an_encoder_has_layers_of_its_own_names_and_needs_no_pooler() {
        let config = br#"{"model_type": "bert", "vocab_size": 8, "hidden_size": 8, "intermediate_size": 8,
            "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 8, "type_vocab_size": 2}"#;
        let spec = EncoderSpec::parse(config).unwrap();
        let names = Names::find(|name| name.starts_with("bert."));
        let told = |name| spec.leftover(names, [name].into_iter());
        for silent in ["bert.pooler.dense.bias", "bert.embeddings.position_ids"] {
            assert!(told(silent).unwrap().is_empty(), "{silent}");
        }
        assert_eq!(told("cls.predictions.bias").unwrap(), ["cls.predictions.bias"]);
        assert!(told("bert.encoder.layer.2.output.dense.bias").is_err());
    }
}
