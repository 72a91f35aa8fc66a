//! A connection that is given up when its client stops reading.
//!
//! Nothing is noticed while the system's buffers take what is written; once they are full, the
//! client has so long to read something.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::connection::Connection;

/// A stream whose writes do not wait for ever, and which tells what its client does.
pub(crate) struct Impatient<S> {
    stream: S,
    connection: Arc<Connection>,
    limit: Duration,
    /// When a write that is waiting is given up.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    pub(crate) fn new(stream: S, connection: Arc<Connection>, limit: Duration) -> Self {
        Self { stream, connection, limit, deadline: None }
    }

    fn within_limit<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        self.connection.is_deaf(written.is_pending());
        if written.is_ready() {
            self.deadline = None;
            return written;
        }
        let limit = self.limit;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(limit)));
        let stalled = || io::Error::new(ErrorKind::TimedOut, "the client stopped reading");
        deadline.as_mut().poll(context).map(|()| Err(stalled()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.connection.has_spoken();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.within_limit(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.within_limit(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.within_limit(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;
    use crate::connection::Times;

    #[tokio::test]
    async fn a_client_that_does_not_read_is_given_up_and_one_that_does_is_not() {
        let (near, mut far) = duplex(16);
        let hour = Duration::from_hours(1);
        let connection = Connection::new(Times { head: hour, between: hour });
        let mut near = Impatient::new(near, connection, Duration::from_millis(20));
        near.write_all(&[1; 16]).await.unwrap();
        let error = near.write_all(&[2; 16]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let reading = async {
            let mut all = [0; 32];
            far.read_exact(&mut all).await.unwrap();
            all
        };
        near.deadline = None;
        let (written, read) = tokio::join!(near.write_all(&[3; 16]), reading);
        written.unwrap();
        assert_eq!(read[16..], [3; 16]);
    }
}
