//! What can go wrong: with a config.json, with the layers that come in, with the ids to run.

use crate::{encoder::SUPPORTED_ENCODERS, family::SUPPORTED, spec::MAX_CONFIG_BYTES};

/// Why a model cannot be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Larger than any file of settings.
    #[error("{file} has {bytes} bytes, more than the limit of {MAX_CONFIG_BYTES}")]
    Size {
        /// Which file.
        file: &'static str,
        /// The size of the file.
        bytes: usize,
    },

    /// Not JSON.
    #[error("{file} is not valid JSON")]
    Json {
        /// Which file.
        file: &'static str,
        /// What the parser said.
        source: serde_json::Error,
    },

    /// JSON, but not `{…}`.
    #[error("{file} is not a JSON object")]
    NotAnObject {
        /// Which file.
        file: &'static str,
    },

    /// A model of another kind.
    #[error(
        "architecture `{found}` is not supported; supported are {}, and for embeddings {}",
        listed(&SUPPORTED),
        listed(&SUPPORTED_ENCODERS)
    )]
    Architecture {
        /// What config.json says; `none` where it says nothing.
        found: String,
    },

    /// An encoder where a decoder was wanted.
    #[error(
        "`{architecture}` makes embeddings and no text\nhint: firstlight embed MODEL 'Some text'"
    )]
    NotADecoder {
        /// What it is.
        architecture: &'static str,
    },

    /// A decoder where an encoder was wanted.
    #[error(
        "`{architecture}` makes text and no embeddings\nhint: firstlight run MODEL 'Some text'"
    )]
    NotAnEncoder {
        /// What it is.
        architecture: &'static str,
    },

    /// `modules.json` asks for something that is not computed.
    #[error(
        "modules.json has {found}; supported are a Transformer, a Pooling in `1_Pooling` and a \
         Normalize, in this order"
    )]
    Modules {
        /// What is there.
        found: String,
    },

    /// `modules.json` is there, and nothing says how the rows of a text become one.
    #[error(
        "modules.json is there, and neither it nor 1_Pooling/config.json says how the rows of a \
         text become one vector"
    )]
    NoPooling,

    /// `architectures` names one family and `model_type` another.
    #[error("config.json contradicts itself: `{architecture}` with model_type `{model_type}`")]
    ModelType {
        /// The supported architecture.
        architecture: &'static str,
        /// What `model_type` says in its place.
        model_type: String,
    },

    /// Weights in a packed format.
    #[error(
        "the checkpoint is quantized by `{method}`, which is not supported; \
         use the bf16, f16 or f32 checkpoint of the same model"
    )]
    Quantized {
        /// `quantization_config.quant_method`.
        method: String,
    },

    /// A rotary embedding with another way of scaling.
    #[error("`{field}` is `{found}`; supported are `default`, `linear` and `llama3`")]
    RopeType {
        /// Where config.json says so.
        field: String,
        /// What it says.
        found: String,
    },

    /// A field without which the model is not defined.
    #[error("{file} has no `{field}`")]
    Missing {
        /// Which file.
        file: &'static str,
        /// The path of the field.
        field: String,
    },

    /// A field of the wrong type, or with a value that makes no sense.
    #[error("`{field}` of {file} is `{found}`, expected {expected}")]
    Field {
        /// Which file.
        file: &'static str,
        /// The path of the field.
        field: String,
        /// Its value, shortened.
        found: String,
        /// What it should have been.
        expected: String,
    },

    /// The checkpoint holds more of the network than config.json describes.
    #[error(
        "`num_hidden_layers` of config.json is {layers}, and the checkpoint has {found} layers\n\
         hint: config.json may belong to another checkpoint"
    )]
    MoreLayers {
        /// What config.json says.
        layers: usize,
        /// What there is.
        found: usize,
    },

    /// A forward pass over nothing.
    #[error("there is no token to run: the prompt is empty")]
    NoIds,

    /// A token that the model does not have.
    #[error("token id {id} at position {position} is not below the vocabulary size {vocab_size}")]
    Id {
        /// The id.
        id: u32,
        /// Where it would be.
        position: usize,
        /// The bound.
        vocab_size: usize,
    },

    /// More than an encoder takes.
    #[error("the text has {tokens} tokens, more than the {limit} that the model takes")]
    TextTooLong {
        /// Of the text.
        tokens: usize,
        /// The most that are taken.
        limit: usize,
    },

    /// More positions than the cache has room for.
    #[error(
        "{new} tokens behind the {held} in the cache are more than its capacity of {capacity}; \
         shorten the prompt or load with a larger context"
    )]
    Capacity {
        /// The tokens of this pass.
        new: usize,
        /// The positions of earlier passes.
        held: usize,
        /// Room for so many.
        capacity: usize,
    },

    /// An earlier pass stopped halfway, and some layers have seen more tokens than others.
    #[error("an earlier forward pass failed halfway; load the model again")]
    Unfinished,

    /// The iterator ended too early.
    #[error("the load ended before `{stage}`")]
    Ended {
        /// The stage that was due.
        stage: String,
    },

    /// The iterator does not follow [`Spec::stages`](crate::Spec::stages).
    #[error("the load brought `{found}` where `{expected}` was due")]
    Order {
        /// The stage that was due.
        expected: String,
        /// The stage that came.
        found: String,
    },

    /// A stage came without one of its tensors.
    #[error("`{stage}` came without tensor `{tensor}`")]
    MissingTensor {
        /// The stage.
        stage: String,
        /// The name in the checkpoint.
        tensor: String,
    },

    /// The device failed.
    #[error(transparent)]
    Device(#[from] firstlight_device::Error),

    /// The load failed; the error is the loader's own, to be printed or downcast.
    #[error(transparent)]
    Load(Box<dyn std::error::Error + Send + Sync>),
}

fn listed(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}
