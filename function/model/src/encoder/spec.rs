//! The checked shape of an encoder, and how its checkpoint names it.

use std::convert::Infallible;

use firstlight_device::Gelu;

use crate::{
    Error, Stage, TensorSpec,
    bert::{Embeddings, Layer},
    family,
    fields::Fields,
    spec::{
        MAX_HEADS, MAX_LAYERS, MAX_POSITIONS, MAX_VOCABULARY, MAX_WIDTH, MIN_EPS,
        check_not_quantized,
    },
};

/// The shape of an encoder, as its config.json gives it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct EncoderSpec {
    /// The class in transformers: one of [`SUPPORTED_ENCODERS`].
    pub architecture: &'static str,
    /// Rows of the table of words.
    pub vocab_size: usize,
    /// The width of a row: that of an embedding.
    pub hidden_size: usize,
    /// The width inside the feed-forward network.
    pub intermediate_size: usize,
    /// `num_hidden_layers`.
    pub layers: usize,
    /// Heads, a divisor of `hidden_size`.
    pub heads: usize,
    /// Rows of the table of positions.
    pub max_position_embeddings: usize,
    /// Rows of the table of types.
    pub type_vocab_size: usize,
    /// Under the root of every norm.
    pub layer_norm_eps: f32,
    /// Inside the feed-forward network.
    pub gelu: Gelu,
    /// The token that fills the rows of others' batches, where positions are counted from behind
    /// its number, and without it: in `RoBERTa` and its kin.
    pub padding: Option<u32>,
}

/// How a checkpoint names the tensors of an encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    /// Before all names.
    pub(crate) prefix: &'static str,
    /// The weight and the bias of a norm.
    pub(crate) norm: [&'static str; 2],
}

/// A class in transformers that is built like BERT.
pub(crate) struct KnownEncoder {
    pub(crate) architecture: &'static str,
    pub(crate) model_type: &'static str,
    /// Whether positions are counted from behind the number of the padding.
    counts_from_padding: bool,
}

impl EncoderSpec {
    /// Reads and checks a config.json.
    pub fn parse(config: &[u8]) -> Result<Self, Error> {
        Self::read(&Fields::parse(config)?)
    }

    pub(crate) fn read(fields: &Fields) -> Result<Self, Error> {
        let known = family::encoder(fields)?;
        check_not_quantized(fields)?;
        check_computable(fields)?;
        let spec = Self {
            architecture: known.architecture,
            vocab_size: fields.size("vocab_size", MAX_VOCABULARY)?,
            hidden_size: fields.size("hidden_size", MAX_WIDTH)?,
            intermediate_size: fields.size("intermediate_size", MAX_WIDTH)?,
            layers: fields.size("num_hidden_layers", MAX_LAYERS)?,
            heads: fields.size("num_attention_heads", MAX_HEADS)?,
            max_position_embeddings: fields.size("max_position_embeddings", MAX_POSITIONS)?,
            type_vocab_size: fields.size("type_vocab_size", MAX_VOCABULARY)?,
            layer_norm_eps: fields
                .optional_number("layer_norm_eps", MIN_EPS)?
                .unwrap_or(DEFAULT_EPS),
            gelu: gelu(fields)?,
            padding: known.counts_from_padding.then(|| padding(fields)).transpose()?,
        };
        if !spec.hidden_size.is_multiple_of(spec.heads) {
            let expected = format!("a multiple of the {} heads", spec.heads);
            return Err(fields.wrong("hidden_size", expected));
        }
        if spec.max_tokens() == 0 {
            return Err(fields.wrong("max_position_embeddings", "more than those before a text"));
        }
        Ok(spec)
    }

    /// The width of one head.
    #[must_use]
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.heads
    }

    /// The most tokens that a text may have.
    #[must_use]
    pub fn max_tokens(&self) -> usize {
        self.max_position_embeddings.saturating_sub(self.first_position())
    }

    /// The row of the table of positions for each token of a text.
    pub(crate) fn places(&self, ids: &[u32]) -> impl Iterator<Item = u32> {
        let padding = self.padding;
        let next = u32::try_from(self.first_position()).expect("it is within `MAX_POSITIONS`");
        ids.iter().scan(next, move |next, &id| match padding {
            Some(padding) if id == padding => Some(padding),
            _ => {
                *next += 1;
                Some(*next - 1)
            }
        })
    }

    fn first_position(&self) -> usize {
        self.padding.map_or(0, |padding| padding as usize + 1)
    }

    /// What the forward pass needs, in the order in which it needs it. Each tensor is in one stage.
    #[must_use]
    pub fn stages(&self, names: Names) -> Vec<Stage> {
        let embeddings = listed(|tensor| Embeddings::build(self, names, tensor));
        let embeddings = Stage { name: EMBEDDINGS.to_owned(), tensors: embeddings };
        let layer = |layer| Stage {
            name: layer_name(layer),
            tensors: listed(|tensor| Layer::build(self, names, layer, tensor)),
        };
        [embeddings].into_iter().chain((0..self.layers).map(layer)).collect()
    }

    /// The number of weights.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        let stages = self.stages(Names::PLAIN);
        let tensors = stages.iter().flat_map(|stage| &stage.tensors);
        tensors.map(|tensor| tensor.shape.iter().map(|&n| n as u64).product::<u64>()).sum()
    }
}

impl Names {
    /// As the encoder alone is saved.
    const PLAIN: Self = Self { prefix: "", norm: ["weight", "bias"] };

    /// As a checkpoint names them that `has` these tensors: an encoder that was saved with a head
    /// has a prefix, and what was converted from the first BERT names its norms in its own way.
    pub fn find(has: impl Fn(&str) -> bool) -> Self {
        let has_prefix = |prefix: &&str| has(&format!("{prefix}embeddings.word_embeddings.weight"));
        let prefix = PREFIXES.into_iter().find(has_prefix).unwrap_or_default();
        let is_old = has(&format!("{prefix}embeddings.LayerNorm.gamma"));
        Self { prefix, norm: if is_old { ["gamma", "beta"] } else { Self::PLAIN.norm } }
    }
}

pub(crate) const EMBEDDINGS: &str = "embeddings";

pub(crate) fn layer_name(layer: usize) -> String {
    format!("layer {layer}")
}

/// The tensors that `build` asks for.
fn listed<W>(
    build: impl FnOnce(
        &mut dyn FnMut(String, Vec<usize>) -> Result<(), Infallible>,
    ) -> Result<W, Infallible>,
) -> Vec<TensorSpec> {
    let mut tensors = Vec::new();
    let listed = build(&mut |name, shape| {
        tensors.push(TensorSpec { name, shape });
        Ok(())
    });
    match listed {
        Ok(_) => tensors,
    }
}

/// Refuses what would compute something else than the authors do.
fn check_computable(fields: &Fields) -> Result<(), Error> {
    if fields.flag("is_decoder")? {
        return Err(fields.wrong("is_decoder", "`false`"));
    }
    match fields.text("position_embedding_type")? {
        None | Some("absolute") => Ok(()),
        Some(_) => Err(fields.wrong("position_embedding_type", "`absolute`")),
    }
}

/// The names that transformers has for the two.
fn gelu(fields: &Fields) -> Result<Gelu, Error> {
    match fields.text("hidden_act")? {
        None | Some("gelu" | "gelu_python") => Ok(Gelu::Exact),
        Some("gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" | "gelu_python_tanh") => Ok(Gelu::Tanh),
        Some(_) => Err(fields.wrong("hidden_act", "`gelu` or `gelu_new`")),
    }
}

fn padding(fields: &Fields) -> Result<u32, Error> {
    let padding = fields.count("pad_token_id")?.unwrap_or(DEFAULT_PADDING);
    let padding = u32::try_from(padding).ok().filter(|&id| (id as usize) < MAX_VOCABULARY);
    padding.ok_or_else(|| fields.wrong("pad_token_id", "a token id"))
}

const fn bert(architecture: &'static str) -> KnownEncoder {
    KnownEncoder { architecture, model_type: "bert", counts_from_padding: false }
}

const fn roberta(architecture: &'static str, model_type: &'static str) -> KnownEncoder {
    KnownEncoder { architecture, model_type, counts_from_padding: true }
}

pub(crate) static ENCODERS: [KnownEncoder; 7] = [
    bert("BertModel"),
    bert("BertForMaskedLM"),
    bert("BertForPreTraining"),
    roberta("RobertaModel", "roberta"),
    roberta("RobertaForMaskedLM", "roberta"),
    roberta("XLMRobertaModel", "xlm-roberta"),
    roberta("XLMRobertaForMaskedLM", "xlm-roberta"),
];

/// The architectures that can be run, as config.json names them.
pub const SUPPORTED_ENCODERS: [&str; ENCODERS.len()] = {
    let mut names = [""; ENCODERS.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = ENCODERS[at].architecture;
        at += 1;
    }
    names
};

/// `XLM-R` is saved with the prefix of `RoBERTa`.
const PREFIXES: [&str; 3] = ["", "bert.", "roberta."];

/// Of transformers.
const DEFAULT_EPS: f32 = 1e-12;
const DEFAULT_PADDING: usize = 1;
