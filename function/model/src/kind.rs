//! Which kind of model a config.json describes.

use crate::{
    EncoderSpec, Error, Spec,
    family::{self, Known},
    fields::Fields,
};

/// A model that can be run.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// It makes text.
    Decoder(Spec),
    /// It makes embeddings.
    Encoder(EncoderSpec),
}

impl Kind {
    /// Reads and checks a config.json.
    pub fn parse(config: &[u8]) -> Result<Self, Error> {
        let fields = Fields::parse(config)?;
        Ok(match family::find(&fields)? {
            Known::Decoder(_) => Self::Decoder(Spec::read(&fields)?),
            Known::Encoder(_) => Self::Encoder(EncoderSpec::read(&fields)?),
        })
    }
}
