//! Mistral (Jiang et al., 2023): a Llama whose layers all see a window of positions.
//!
//! The first release has a window of 4096, which is also what a config.json without the field
//! means; the later ones say `null`, which means all positions.

use crate::{
    Error,
    family::{Family, KnownFamily, Sizes},
    fields::Fields,
    spec::{Biases, MAX_HEADS, MAX_POSITIONS},
};

pub(crate) const MISTRAL: KnownFamily =
    KnownFamily { architecture: "MistralForCausalLM", model_type: "mistral", read: family };

fn family(fields: &Fields, sizes: &Sizes) -> Result<Family, Error> {
    let window = if fields.mentions("sliding_window") {
        fields.optional_size("sliding_window", MAX_POSITIONS)?
    } else {
        Some(DEFAULT_WINDOW)
    };
    Ok(Family {
        kv_heads: fields.size("num_key_value_heads", MAX_HEADS)?,
        head_dim: None,
        biases: Biases::default(),
        qk_norm: false,
        windows: vec![window; sizes.layers],
    })
}

/// Of Mistral 7B v0.1, and of transformers.
const DEFAULT_WINDOW: usize = 4096;
