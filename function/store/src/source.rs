//! The trait that every store implements: single attempts, nothing retried.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::{Error, Object};

/// The body of one attempt, in the pieces in which it arrives. Dropping it ends the request.
pub type Chunks = BoxStream<'static, Result<Bytes, Error>>;

/// The answer to [`Store::open`].
pub struct Opened {
    /// What was found.
    pub object: Object,
    /// Its first bytes: `min(object.size, head_bytes)` of them.
    pub head: Chunks,
}

/// Objects by name. One call is one attempt; whoever wants it again calls again.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The object's full name, for messages: `s3://bucket/prefix/key`.
    fn locate(&self, key: &str) -> String;

    /// The first `head_bytes` of an object, its size and its version, in one request.
    async fn open(&self, key: &str, head_bytes: u64) -> Result<Opened, Error>;

    /// `range` (not empty, within the size) of exactly the version that `object` names; [`Error::Changed`] if that is gone.
    async fn read(&self, object: &Object, range: Range<u64>) -> Result<Chunks, Error>;

    /// The whole object as memory that the page cache backs, where that is possible: then it need not be read at all.
    fn map(&self, object: &Object) -> Result<Option<Bytes>, Error> {
        let _ = object;
        Ok(None)
    }
}
