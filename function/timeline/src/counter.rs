//! The things of a cold start that are counted.

use serde::{Deserialize, Serialize};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Counter {
    /// Requests sent, retries and hedges among them.
    Requests,
    /// Requests sent again because an earlier one failed.
    Retries,
    /// Ranges that stopped making progress.
    Stalls,
    /// Requests sent a second time while the first was still open.
    Hedges,
    /// Hedges that finished before the request that they doubled.
    HedgesWon,
    /// Bytes of bodies received, of everything.
    BytesFetched,
    /// Bytes received that had been received before: the price of retries and hedges.
    BytesTwice,
    /// Bytes of weights copied from where they were received to where they are used.
    BytesCopied,
    /// Bytes of weights that the first token needs: what the floor is computed from.
    WeightBytes,
    /// Tokens generated.
    Tokens,
    /// Tokens of the prompt.
    PromptTokens,
}

impl Counter {
    /// All counters.
    pub const ALL: [Self; 11] = [
        Self::Requests,
        Self::Retries,
        Self::Stalls,
        Self::Hedges,
        Self::HedgesWon,
        Self::BytesFetched,
        Self::BytesTwice,
        Self::BytesCopied,
        Self::WeightBytes,
        Self::Tokens,
        Self::PromptTokens,
    ];

    /// The counter in words, lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Retries => "retries",
            Self::Stalls => "stalls",
            Self::Hedges => "hedges",
            Self::HedgesWon => "hedges won",
            Self::BytesFetched => "bytes fetched",
            Self::BytesTwice => "bytes twice",
            Self::BytesCopied => "bytes copied",
            Self::WeightBytes => "weight bytes",
            Self::Tokens => "tokens",
            Self::PromptTokens => "prompt tokens",
        }
    }

    pub(crate) const fn is_bytes(self) -> bool {
        matches!(
            self,
            Self::BytesFetched | Self::BytesTwice | Self::BytesCopied | Self::WeightBytes
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lists_every_counter_at_its_own_index() {
        for (index, counter) in Counter::ALL.into_iter().enumerate() {
            assert_eq!(counter as usize, index);
        }
        assert_eq!(Counter::ALL.len(), Counter::PromptTokens as usize + 1);
    }

    #[test]
    fn a_counter_is_serialised_as_its_words_in_snake_case() {
        for counter in Counter::ALL {
            let json = serde_json::to_string(&counter).unwrap();
            assert_eq!(json, format!("\"{}\"", counter.name().replace(' ', "_")));
        }
    }
}
