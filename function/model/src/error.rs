//! What can go wrong: with a config.json, with the layers that come in, with the ids to run.

use crate::{family::SUPPORTED, spec::MAX_CONFIG_BYTES};

/// Why a model cannot be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Larger than any config.json of a decoder.
    #[error("config.json has {bytes} bytes, more than the limit of {MAX_CONFIG_BYTES}")]
    ConfigSize {
        /// The size of the file.
        bytes: usize,
    },

    /// Not JSON.
    #[error("config.json is not valid JSON")]
    ConfigJson(#[from] serde_json::Error),

    /// JSON, but not `{…}`.
    #[error("config.json is not a JSON object")]
    ConfigNotAnObject,

    /// A model of another kind.
    #[error("architecture `{found}` is not supported; supported are {}", supported_architectures())]
    Architecture {
        /// What config.json says; `none` where it says nothing.
        found: String,
    },

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
    #[error("config.json has no `{field}`")]
    Missing {
        /// The path of the field.
        field: String,
    },

    /// A field of the wrong type, or with a value that makes no sense.
    #[error("`{field}` of config.json is `{found}`, expected {expected}")]
    Field {
        /// The path of the field.
        field: String,
        /// Its value, shortened.
        found: String,
        /// What it should have been.
        expected: String,
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

fn supported_architectures() -> String {
    let names: Vec<String> = SUPPORTED.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}
