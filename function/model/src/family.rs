//! Which families there are, how config.json names them, and what each may decide.

use crate::{
    Error,
    encoder::{ENCODERS, KnownEncoder},
    fields::{Fields, shorten},
    llama, mistral, qwen2, qwen3,
    spec::Biases,
};

/// One supported family, and how it is recognised.
pub(crate) struct KnownFamily {
    /// The class in transformers.
    pub(crate) architecture: &'static str,
    /// The name of its configuration.
    pub(crate) model_type: &'static str,
    /// Reads the fields that only this family has, or reads in its own way.
    pub(crate) read: fn(&Fields, &Sizes) -> Result<Family, Error>,
}

/// What a family does in its own way; the rest of a [`Spec`](crate::Spec) is read alike for all.
pub(crate) struct Family {
    pub(crate) kv_heads: usize,
    /// Where config.json does not say; `None` is to derive it from the width.
    pub(crate) head_dim: Option<usize>,
    pub(crate) biases: Biases,
    pub(crate) qk_norm: bool,
    /// One a layer.
    pub(crate) windows: Vec<Option<usize>>,
}

/// The sizes by which a family decides.
pub(crate) struct Sizes {
    pub(crate) layers: usize,
    pub(crate) heads: usize,
}

/// What config.json describes, among those that can be run.
pub(crate) enum Known {
    Decoder(&'static KnownFamily),
    Encoder(&'static KnownEncoder),
}

/// The family of a decoder.
pub(crate) fn decoder(fields: &Fields) -> Result<&'static KnownFamily, Error> {
    match find(fields)? {
        Known::Decoder(family) => Ok(family),
        Known::Encoder(KnownEncoder { architecture, .. }) => {
            Err(Error::NotADecoder { architecture })
        }
    }
}

/// The class of an encoder.
pub(crate) fn encoder(fields: &Fields) -> Result<&'static KnownEncoder, Error> {
    match find(fields)? {
        Known::Encoder(encoder) => Ok(encoder),
        Known::Decoder(KnownFamily { architecture, .. }) => {
            Err(Error::NotAnEncoder { architecture })
        }
    }
}

/// What `architectures` names; `model_type` where that is not there.
pub(crate) fn find(fields: &Fields) -> Result<Known, Error> {
    let architectures = fields.texts("architectures")?.unwrap_or_default();
    let model_type = fields.text("model_type")?;
    match (architectures.first(), model_type) {
        (Some(architecture), model_type) => by_architecture(architecture, model_type),
        (None, Some(model_type)) => by_model_type(model_type),
        (None, None) => Err(fields.missing("architectures")),
    }
}

fn by_architecture(name: &str, model_type: Option<&str>) -> Result<Known, Error> {
    let known = all().find(|known| known.architecture() == name);
    let known = known.ok_or_else(|| Error::Architecture { found: shorten(name) })?;
    match model_type {
        // transformers would follow `model_type` to another class, with other arithmetic.
        Some(model_type) if model_type != known.model_type() => Err(Error::ModelType {
            architecture: known.architecture(),
            model_type: shorten(model_type),
        }),
        _ => Ok(known),
    }
}

fn by_model_type(name: &str) -> Result<Known, Error> {
    let known = all().find(|known| known.model_type() == name);
    known.ok_or_else(|| Error::Architecture { found: shorten(name) })
}

fn all() -> impl Iterator<Item = Known> {
    FAMILIES.into_iter().map(Known::Decoder).chain(ENCODERS.iter().map(Known::Encoder))
}

impl Known {
    fn architecture(&self) -> &'static str {
        match self {
            Self::Decoder(family) => family.architecture,
            Self::Encoder(encoder) => encoder.architecture,
        }
    }

    fn model_type(&self) -> &'static str {
        match self {
            Self::Decoder(family) => family.model_type,
            Self::Encoder(encoder) => encoder.model_type,
        }
    }
}

const FAMILIES: [&KnownFamily; 4] =
    [&llama::LLAMA, &mistral::MISTRAL, &qwen2::QWEN2, &qwen3::QWEN3];

/// The architectures that can be run, as config.json names them.
pub const SUPPORTED: [&str; FAMILIES.len()] = [
    llama::LLAMA.architecture,
    mistral::MISTRAL.architecture,
    qwen2::QWEN2.architecture,
    qwen3::QWEN3.architecture,
];
