//! The body of an answer on its way out: cut into chunks, each paced, counted, and ended early
//! where a fault says so.

use std::{
    convert::Infallible,
    future::pending,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream::unfold};
use hyper::body::{Body, Frame, SizeHint};

use crate::{
    journal::Entry,
    link::Pace,
    socket::{Ending, Hangup},
    turnstile::Answering,
};

/// What hyper writes.
pub(crate) struct Outgoing {
    chunks: Pin<Box<dyn Stream<Item = Bytes> + Send>>,
    bytes_left: u64,
}

impl Outgoing {
    pub(crate) fn new(course: Course) -> Self {
        let bytes_left =
            Body::size_hint(&course.source).exact().expect("our bodies know their size");
        Self { chunks: Box::pin(unfold(course, Course::next)), bytes_left }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunk = std::task::ready!(self.chunks.as_mut().poll_next(context));
        self.bytes_left -= chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes_left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes_left)
    }
}

/// How a body gets out, chunk by chunk.
pub(crate) struct Course {
    pub(crate) source: s3s::Body,
    /// What is left of the source's last piece.
    pub(crate) piece: Bytes,
    pub(crate) pace: Pace,
    pub(crate) cut: Option<Cut>,
    pub(crate) entry: Arc<Entry>,
    /// Held until all is out, where requests go in rounds.
    #[expect(dead_code, reason = "it is there to be dropped")]
    pub(crate) answering: Option<Answering>,
}

impl Course {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        if let Some(cut) = self.cut.as_ref().filter(|cut| cut.bytes_left == 0) {
            cut.happen().await;
        }
        while self.piece.is_empty() {
            self.piece = self.source.next().await?.ok()?;
        }
        let len = self.chunk_len();
        self.pace.cross(len).await;
        self.entry.sent(len);
        Some((self.piece.split_to(len), self))
    }

    fn chunk_len(&mut self) -> usize {
        let mut len = self.pace.chunk_bytes().min(self.piece.len());
        if let Some(cut) = &mut self.cut {
            len = len.min(usize::try_from(cut.bytes_left).unwrap_or(usize::MAX));
            cut.bytes_left -= len as u64;
        }
        len
    }
}

/// Where a body ends before its end.
pub(crate) struct Cut {
    pub(crate) bytes_left: u64,
    /// `None` stalls.
    pub(crate) ending: Option<Ending>,
    pub(crate) hangup: Hangup,
}

impl Cut {
    async fn happen(&self) -> Infallible {
        if let Some(ending) = self.ending {
            self.hangup.order(ending);
        }
        pending().await
    }
}
