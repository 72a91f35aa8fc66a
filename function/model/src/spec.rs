//! The checked shape of a decoder, whatever its family.
//!
//! All supported families are one network: embedding; layers of pre-normed, rotary, causal,
//! grouped-query attention and a gated feed-forward network; a norm and an output matrix. A
//! [`Spec`] is its sizes and switches. Everything in it was checked: the sizes are within limits
//! that make their products safe, the heads divide, the activation is the one that is computed.

use firstlight_device::DType;

use crate::{
    Error, Rope, StageOrder,
    family::{self, Sizes},
    fields::Fields,
};

/// The shape of a decoder, as its config.json gives it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Spec {
    /// The class in transformers: one of [`SUPPORTED`](crate::SUPPORTED).
    pub architecture: &'static str,
    /// Rows of the embedding and of the output matrix.
    pub vocab_size: usize,
    /// The width of the residual stream.
    pub hidden_size: usize,
    /// The width inside the feed-forward network.
    pub intermediate_size: usize,
    /// `num_hidden_layers`.
    pub layers: usize,
    /// Query heads, a multiple of `kv_heads`.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// The width of one head, even.
    pub head_dim: usize,
    /// The longest context that the model was made for.
    pub max_position_embeddings: usize,
    /// Under the root of every norm.
    pub rms_norm_eps: f32,
    /// The rotary embedding.
    pub rope: Rope,
    /// The output matrix is the embedding.
    pub tie_word_embeddings: bool,
    /// Which products have a bias.
    pub biases: Biases,
    /// Queries and keys are normed, head by head, before they are turned.
    pub qk_norm: bool,
    /// For each layer, how many positions it sees, itself included; `None` is all.
    pub windows: Vec<Option<usize>>,
    /// Tokens that begin a text, where config.json says so.
    pub bos_ids: Vec<u32>,
    /// Tokens that end a text, where config.json says so.
    pub eos_ids: Vec<u32>,
}

/// Which products have a bias.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Biases {
    /// The queries, keys and values.
    pub qkv: bool,
    /// The output of the attention.
    pub output: bool,
    /// All three of the feed-forward network.
    pub mlp: bool,
}

impl Spec {
    /// Reads and checks a config.json.
    pub fn parse(config: &[u8]) -> Result<Self, Error> {
        Self::read(&Fields::parse(config)?)
    }

    pub(crate) fn read(fields: &Fields) -> Result<Self, Error> {
        let known = family::decoder(fields)?;
        check_computable(fields)?;
        let sizes = Sizes {
            layers: fields.size("num_hidden_layers", MAX_LAYERS)?,
            heads: fields.size("num_attention_heads", MAX_HEADS)?,
        };
        let family = (known.read)(fields, &sizes)?;
        let hidden_size = fields.size("hidden_size", MAX_WIDTH)?;
        let spec = Self {
            architecture: known.architecture,
            vocab_size: fields.size("vocab_size", MAX_VOCABULARY)?,
            hidden_size,
            intermediate_size: fields.size("intermediate_size", MAX_WIDTH)?,
            layers: sizes.layers,
            heads: sizes.heads,
            kv_heads: family.kv_heads,
            head_dim: head_dim(fields, family.head_dim, hidden_size, sizes.heads)?,
            max_position_embeddings: fields.size("max_position_embeddings", MAX_POSITIONS)?,
            rms_norm_eps: fields.optional_number("rms_norm_eps", MIN_EPS)?.unwrap_or(DEFAULT_EPS),
            rope: Rope::parse(fields)?,
            tie_word_embeddings: fields.flag("tie_word_embeddings")?,
            biases: family.biases,
            qk_norm: family.qk_norm,
            windows: family.windows,
            bos_ids: fields.ids("bos_token_id")?,
            eos_ids: fields.ids("eos_token_id")?,
        };
        spec.check_heads(fields)?;
        Ok(spec)
    }

    fn check_heads(&self, fields: &Fields) -> Result<(), Error> {
        if !self.heads.is_multiple_of(self.kv_heads) {
            let heads = self.heads;
            let expected = format!("a divisor of `num_attention_heads`, which is {heads}");
            return Err(fields.wrong("num_key_value_heads", expected));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(Error::Field {
                file: "config.json",
                field: fields.path("head_dim"),
                found: self.head_dim.to_string(),
                expected: "an even number: the rotary embedding turns pairs".to_owned(),
            });
        }
        Ok(())
    }

    /// Columns of the queries and of the attention's result.
    #[must_use]
    pub fn query_size(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Columns of the keys, and of the values.
    #[must_use]
    pub fn kv_size(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// The checkpoint's name of the embedding table.
    #[must_use]
    pub fn embedding_name(&self) -> &'static str {
        "model.embed_tokens.weight"
    }

    /// The shape of the embedding table: `(vocab_size, hidden_size)`.
    #[must_use]
    pub fn embedding_shape(&self) -> [usize; 2] {
        [self.vocab_size, self.hidden_size]
    }

    /// The number of weights, a tied matrix counted once.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        let stages = self.stages(StageOrder::LayersFirst);
        let tensors = stages.iter().flat_map(|stage| &stage.tensors);
        tensors.map(|tensor| tensor.shape.iter().map(|&n| n as u64).product::<u64>()).sum()
    }

    /// The bytes of all weights, if all are of a dtype of so many bytes.
    #[must_use]
    pub fn weight_bytes(&self, dtype_bytes: u64) -> u64 {
        self.parameters() * dtype_bytes
    }

    /// The bytes of keys and values, kept in `cache`, that one position takes in all layers.
    #[must_use]
    pub fn kv_bytes_per_position(&self, cache: DType) -> u64 {
        (self.layers * 2 * self.kv_size() * cache.bytes()) as u64
    }

    /// The model for a reader: what and how much, in rows of a table.
    #[must_use]
    pub fn summary(&self) -> Vec<(&'static str, String)> {
        let tied = if self.tie_word_embeddings { ", output tied" } else { "" };
        let windowed = self.windows.iter().flatten().count();
        let mut rows = vec![
            ("architecture", self.architecture.to_owned()),
            ("parameters", format!("{:.1} M", self.parameters() as f64 / 1e6)),
            ("layers", self.layers.to_string()),
            ("hidden size", self.hidden_size.to_string()),
            ("feed-forward size", self.intermediate_size.to_string()),
            ("heads", format!("{} of {}, {} kv", self.heads, self.head_dim, self.kv_heads)),
            ("vocabulary", format!("{}{tied}", self.vocab_size)),
            ("context", self.max_position_embeddings.to_string()),
            ("rope", format!("theta {}, {}", self.rope.theta, self.rope.scaling)),
        ];
        if let Some(window) = self.windows.iter().flatten().next() {
            rows.push(("sliding window", format!("{window} in {windowed} layers")));
        }
        rows
    }
}

/// Refuses what would compute something else than the authors do.
fn check_computable(fields: &Fields) -> Result<(), Error> {
    check_not_quantized(fields)?;
    match fields.text("hidden_act")? {
        // Two names of one function; it is also the default of all families.
        None | Some("silu" | "swish") => Ok(()),
        Some(_) => Err(fields.wrong("hidden_act", "`silu`")),
    }
}

pub(crate) fn check_not_quantized(fields: &Fields) -> Result<(), Error> {
    match fields.object("quantization_config")? {
        Some(packed) => Err(Error::Quantized { method: packed.shown("quant_method") }),
        None => Ok(()),
    }
}

/// Given, or the family's, or what the width gives to each head.
fn head_dim(
    fields: &Fields,
    default: Option<usize>,
    hidden_size: usize,
    heads: usize,
) -> Result<usize, Error> {
    if let Some(given) = fields.optional_size("head_dim", MAX_HEAD_DIM)?.or(default) {
        return Ok(given);
    }
    match hidden_size / heads {
        head_dim if head_dim * heads == hidden_size => Ok(head_dim),
        _ => Err(fields.wrong("hidden_size", format!("a multiple of the {heads} heads"))),
    }
}

/// A decoder's config.json has 1 to 3 KB; some list a few hundred labels as well.
pub const MAX_CONFIG_BYTES: usize = 1 << 20;

// The limits on sizes are several times those of the largest published decoders (126 layers of
// 16,384, 128 heads of 256, 262,144 tokens, 10 million positions), and small enough that no product
// of them that is computed here passes 2^60.
pub(crate) const MAX_LAYERS: usize = 1 << 10;
pub(crate) const MAX_WIDTH: usize = 1 << 18;
pub(crate) const MAX_HEADS: usize = 1 << 10;
const MAX_HEAD_DIM: usize = 1 << 10;
pub(crate) const MAX_VOCABULARY: usize = 1 << 22;
pub(crate) const MAX_POSITIONS: usize = 1 << 26;

/// What all families have where config.json does not say.
const DEFAULT_EPS: f32 = 1e-6;

/// Positive, so that a row of zeros is not divided by zero.
pub(crate) const MIN_EPS: f32 = f32::MIN_POSITIVE;

#[cfg(test)]
mod tests;
