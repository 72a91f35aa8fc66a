//! Llama 2 and 3 (Touvron et al., 2023), and what is built like it: `SmolLM2`, `TinyLlama`, ….
//!
//! The plain case: every layer sees all positions, and there is no bias unless config.json asks
//! for one. A config.json of the first Llamas has no `num_key_value_heads`: each head has its own.

use crate::{
    Error,
    family::{Family, KnownFamily, Sizes},
    fields::Fields,
    spec::{Biases, MAX_HEADS},
};

pub(crate) const LLAMA: KnownFamily =
    KnownFamily { architecture: "LlamaForCausalLM", model_type: "llama", read: family };

fn family(fields: &Fields, sizes: &Sizes) -> Result<Family, Error> {
    let attention = fields.flag("attention_bias")?;
    Ok(Family {
        kv_heads: fields.optional_size("num_key_value_heads", MAX_HEADS)?.unwrap_or(sizes.heads),
        head_dim: None,
        biases: Biases { qkv: attention, output: attention, mlp: fields.flag("mlp_bias")? },
        qk_norm: false,
        windows: vec![None; sizes.layers],
    })
}
