//! Qwen3 (Qwen team, 2025): a Llama with a norm on every head of queries and keys.
//!
//! The width of a head is 128 whatever the width of the model, unless config.json says otherwise.
//! Windows are written as those of Qwen2.

use crate::{
    Error,
    family::{Family, KnownFamily, Sizes},
    fields::Fields,
    qwen2,
    spec::{Biases, MAX_HEADS},
};

pub(crate) const QWEN3: KnownFamily =
    KnownFamily { architecture: "Qwen3ForCausalLM", model_type: "qwen3", read: family };

fn family(fields: &Fields, sizes: &Sizes) -> Result<Family, Error> {
    let attention = fields.flag("attention_bias")?;
    Ok(Family {
        kv_heads: fields.size("num_key_value_heads", MAX_HEADS)?,
        head_dim: Some(DEFAULT_HEAD_DIM),
        biases: Biases { qkv: attention, output: attention, mlp: false },
        qk_norm: true,
        windows: qwen2::windows(fields, sizes.layers)?,
    })
}

/// Of transformers, and of all released models.
const DEFAULT_HEAD_DIM: usize = 128;
