//! The moments of a cold start that every start has at most once.

use serde::{Deserialize, Serialize};

/// A moment of a cold start, in the order in which they are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// The first line of `main`.
    Main,
    /// The async runtime accepts tasks.
    RuntimeUp,
    /// The first request was sent.
    FirstRequest,
    /// The first byte of any answer.
    FirstByte,
    /// `config.json` is read and the architecture is one that can be run.
    ConfigRead,
    /// The tokenizer is parsed.
    TokenizerReady,
    /// The headers of all shards are read and checked.
    HeadersRead,
    /// The order of the fetches is known.
    Planned,
    /// The prompt is token ids.
    PromptEncoded,
    /// The first byte of a weight.
    FirstWeightByte,
    /// All bytes of the first stage (the first layer, or an embedding table before it) are where the arithmetic reads
    /// them.
    FirstLayerResident,
    /// The first stage's output is computed.
    FirstLayerComputed,
    /// The last byte of the last weight.
    LastWeightByte,
    /// All layers are resident.
    LastLayerResident,
    /// The first token is known.
    FirstToken,
    /// The last token is known.
    LastToken,
}

impl Mark {
    /// All marks, in the order in which they are due.
    pub const ALL: [Self; 16] = [
        Self::Main,
        Self::RuntimeUp,
        Self::FirstRequest,
        Self::FirstByte,
        Self::ConfigRead,
        Self::TokenizerReady,
        Self::HeadersRead,
        Self::Planned,
        Self::PromptEncoded,
        Self::FirstWeightByte,
        Self::FirstLayerResident,
        Self::FirstLayerComputed,
        Self::LastWeightByte,
        Self::LastLayerResident,
        Self::FirstToken,
        Self::LastToken,
    ];

    /// The mark in words, lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::RuntimeUp => "runtime up",
            Self::FirstRequest => "first request",
            Self::FirstByte => "first byte",
            Self::ConfigRead => "config read",
            Self::TokenizerReady => "tokenizer ready",
            Self::HeadersRead => "headers read",
            Self::Planned => "planned",
            Self::PromptEncoded => "prompt encoded",
            Self::FirstWeightByte => "first weight byte",
            Self::FirstLayerResident => "first layer resident",
            Self::FirstLayerComputed => "first layer computed",
            Self::LastWeightByte => "last weight byte",
            Self::LastLayerResident => "last layer resident",
            Self::FirstToken => "first token",
            Self::LastToken => "last token",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lists_every_mark_at_its_own_index() {
        for (index, mark) in Mark::ALL.into_iter().enumerate() {
            assert_eq!(mark as usize, index);
        }
        assert_eq!(Mark::ALL.len(), Mark::LastToken as usize + 1);
    }

    #[test]
    fn a_mark_is_serialised_as_its_words_in_snake_case() {
        for mark in Mark::ALL {
            let json = serde_json::to_string(&mark).unwrap();
            assert_eq!(json, format!("\"{}\"", mark.name().replace(' ', "_")));
        }
    }
}
