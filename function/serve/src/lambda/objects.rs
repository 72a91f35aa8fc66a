//! How objects are read and results are written: whoever knows the store says so by this trait.

use async_trait::async_trait;
use bytes::Bytes;

use super::notice::Source;

/// What a store says, as whoever knows it writes it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The objects of all buckets.
#[async_trait]
pub trait Objects: Send + Sync {
    /// The version of an object that `source` names, if that is at most `limit_bytes` long.
    async fn read(&self, source: &Source, limit_bytes: u64) -> Result<Found, BoxError>;

    /// Whether there is an object.
    async fn exists(&self, bucket: &str, key: &str) -> Result<bool, BoxError>;

    /// Writes an object where there is none; says whether there was none.
    async fn create(&self, bucket: &str, key: &str, content: Bytes) -> Result<bool, BoxError>;

    /// Connections and credentials from before are of no use any more: this process was restored
    /// from a snapshot.
    async fn renew(&self) -> Result<(), BoxError>;
}

/// What is where an object was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The object.
    Content(Content),
    /// A later version of it, of which another event tells.
    Replaced,
}

/// An object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Its bytes.
    pub bytes: Bytes,
    /// What kind of content it is, as its writer said.
    pub kind: Option<String>,
}
