//! The trait that every store implements: single attempts, nothing retried.

use std::fs::File;
use std::future::poll_fn;
use std::ops::Range;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use crate::{Error, Object};

/// The body of one attempt, which is received straight into the memory where it belongs. Dropping it ends the request.
pub trait Body: Send {
    /// Receives what is there of the body into `memory` (not empty), and says how many bytes that was: 0 at the end.
    fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
        memory: &mut [u8],
    ) -> Poll<Result<usize, Error>>;

    /// How many of the bytes received so far lay elsewhere in this process before.
    fn copied_bytes(&self) -> u64;
}

impl dyn Body {
    /// [`Body::poll_receive`], waited for.
    pub async fn receive(&mut self, memory: &mut [u8]) -> Result<usize, Error> {
        poll_fn(|context| self.poll_receive(context, memory)).await
    }
}

/// The answer to [`Store::open`].
pub struct Opened {
    /// What was found.
    pub object: Object,
    /// Its first bytes: `min(object.size, head_bytes)` of them.
    pub head: Box<dyn Body>,
}

/// Objects by name. One call is one attempt; whoever wants it again calls again.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The object's full name, for messages: `s3://bucket/prefix/key`.
    fn locate(&self, key: &str) -> String;

    /// The first `head_bytes` of an object, its size and its version, in one request.
    async fn open(&self, key: &str, head_bytes: u64) -> Result<Opened, Error>;

    /// `range` (not empty, within the size) of exactly the version that `object` names; [`Error::Changed`] if that is gone.
    async fn read(&self, object: &Object, range: Range<u64>) -> Result<Box<dyn Body>, Error>;

    /// The object as a file of this machine, where it is one.
    fn file(&self, object: &Object) -> Result<Option<File>, Error> {
        let _ = object;
        Ok(None)
    }

    /// The whole object as memory that the page cache backs, where that is possible: then it need not be read at all.
    fn map(&self, object: &Object) -> Result<Option<Bytes>, Error> {
        let _ = object;
        Ok(None)
    }
}

/// A body that comes in pieces with memory of their own, and is copied.
pub(crate) struct Pieces {
    stream: BoxStream<'static, Result<Bytes, Error>>,
    piece: Bytes,
    copied_bytes: u64,
}

impl Pieces {
    pub(crate) fn new(stream: BoxStream<'static, Result<Bytes, Error>>) -> Self {
        Self { stream, piece: Bytes::new(), copied_bytes: 0 }
    }
}

impl Body for Pieces {
    fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
        memory: &mut [u8],
    ) -> Poll<Result<usize, Error>> {
        while self.piece.is_empty() {
            match ready!(self.stream.poll_next_unpin(context)) {
                Some(piece) => self.piece = piece?,
                None => return Poll::Ready(Ok(0)),
            }
        }
        let count = memory.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut memory[..count]);
        self.copied_bytes += count as u64;
        Poll::Ready(Ok(count))
    }

    fn copied_bytes(&self) -> u64 {
        self.copied_bytes
    }
}
