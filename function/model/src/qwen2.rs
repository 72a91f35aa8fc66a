//! Qwen2 and Qwen2.5 (Qwen team, 2024): a Llama with biases on queries, keys and values.
//!
//! Layers from `max_window_layers` on may see a window of positions, if `use_sliding_window` is
//! set; `layer_types`, where it is there, says it layer by layer.

use crate::{
    Error,
    family::{Family, KnownFamily, Sizes},
    fields::Fields,
    spec::{Biases, MAX_HEADS, MAX_POSITIONS},
};

pub(crate) const QWEN2: KnownFamily =
    KnownFamily { architecture: "Qwen2ForCausalLM", model_type: "qwen2", read: family };

fn family(fields: &Fields, sizes: &Sizes) -> Result<Family, Error> {
    Ok(Family {
        kv_heads: fields.size("num_key_value_heads", MAX_HEADS)?,
        head_dim: None,
        biases: Biases { qkv: true, output: false, mlp: false },
        qk_norm: false,
        windows: windows(fields, sizes.layers)?,
    })
}

/// The window of each layer, for Qwen2 and Qwen3.
pub(crate) fn windows(fields: &Fields, layers: usize) -> Result<Vec<Option<usize>>, Error> {
    let window = if fields.flag("use_sliding_window")? {
        fields.optional_size("sliding_window", MAX_POSITIONS)?
    } else {
        None
    };
    if let Some(kinds) = fields.texts("layer_types")? {
        return by_kind(fields, &kinds, window, layers);
    }
    let full = fields.count("max_window_layers")?.unwrap_or(DEFAULT_MAX_WINDOW_LAYERS);
    Ok((0..layers).map(|layer| window.filter(|_| layer >= full)).collect())
}

fn by_kind(
    fields: &Fields,
    kinds: &[&str],
    window: Option<usize>,
    layers: usize,
) -> Result<Vec<Option<usize>>, Error> {
    if kinds.len() != layers {
        return Err(fields.wrong("layer_types", format!("{layers} of them, one a layer")));
    }
    let window_of = |kind: &&str| match (*kind, window) {
        ("full_attention", _) => Ok(None),
        ("sliding_attention", Some(window)) => Ok(Some(window)),
        ("sliding_attention", None) => {
            Err(fields.wrong("sliding_window", "a size, with `use_sliding_window`"))
        }
        _ => Err(fields.wrong("layer_types", "`full_attention` or `sliding_attention`")),
    };
    kinds.iter().map(window_of).collect()
}

/// Of transformers.
const DEFAULT_MAX_WINDOW_LAYERS: usize = 28;
