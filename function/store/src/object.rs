//! One version of one object.

use std::sync::Arc;

/// What a plan is made for and every read names: a file of a model, frozen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The file's name within its location.
    pub key: Arc<str>,
    /// Bytes in the whole object.
    pub size: u64,
    /// What tells this version from the next.
    pub version: Version,
}

/// What a store gives to tell two versions of an object apart. Two versions are the same only if they are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Version {
    /// An entity tag (RFC 9110, 8.8.3), quotes included.
    ETag(String),
    /// A modification date (RFC 9110, 8.8.2): one-second resolution, but some servers give nothing better.
    Modified(String),
    /// A file's inode, size and modification time in nanoseconds.
    File(String),
    /// The server tells nothing: only the size is compared.
    Unknown,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ETag(tag) => write!(f, "ETag {tag}"),
            Self::Modified(date) => write!(f, "Last-Modified {date}"),
            Self::File(stamp) => f.write_str(stamp),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}
