//! Who works: the lanes in which spans are drawn.

use serde::{Deserialize, Serialize};

/// What a piece of work belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// The process gets ready: runtime, credentials, connections, memory.
    Boot,
    /// Bytes travel. Ranges are better told by [`Timeline::fetch`](crate::Timeline::fetch).
    Network,
    /// Bytes are checked or parsed: headers, plan, tokenizer, checksums.
    Verify,
    /// Bytes go from this machine's memory to the device's.
    Copy,
    /// The model computes.
    Compute,
}

impl Lane {
    /// All lanes, in the order in which they are drawn.
    pub const ALL: [Self; 5] = [Self::Boot, Self::Network, Self::Verify, Self::Copy, Self::Compute];

    /// The lane in a word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Network => "network",
            Self::Verify => "verify",
            Self::Copy => "copy",
            Self::Compute => "compute",
        }
    }
}
