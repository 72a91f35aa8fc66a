//! A connection's socket, and the ways in which an answer can end it before its time.
//!
//! HTTP gives a body no way to say "reset the connection now". So the body leaves word with a
//! [`Hangup`] that it shares with its socket, and falls silent. The connection then flushes what it
//! holds, and the flush, which comes when the last byte is with the kernel, is where the socket
//! ends itself.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};

/// Word from a body to its socket: how to end, once everything is flushed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hangup(Arc<OnceLock<Ending>>);

impl Hangup {
    pub(crate) fn order(&self, ending: Ending) {
        self.0.get_or_init(|| ending);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// FIN: the client reads the end of the stream.
    Close,
    /// RST: the client's read fails.
    Reset,
}

#[derive(Debug)]
pub(crate) struct Socket {
    tcp: TcpStream,
    hangup: Hangup,
    settling: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    pub(crate) fn new(tcp: TcpStream, hangup: Hangup) -> Self {
        Self { tcp, hangup, settling: None }
    }

    fn poll_end(&mut self, ending: Ending, context: &mut Context<'_>) -> Poll<io::Error> {
        if ending == Ending::Reset {
            let settling = self.settling.get_or_insert_with(|| Box::pin(sleep(SETTLING)));
            ready!(settling.as_mut().poll(context));
            if let Err(error) = self.tcp.set_zero_linger() {
                return Poll::Ready(error);
            }
        }
        Poll::Ready(io::Error::new(io::ErrorKind::ConnectionAborted, "a fault ends the connection"))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.hangup.0.get().copied() {
            Some(ending) => self.poll_end(ending, context).map(Err),
            None => Pin::new(&mut self.tcp).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}

/// A reset discards what the kernel has not delivered yet. On the loopback delivery is a matter of
/// microseconds to a client that reads.
const SETTLING: Duration = Duration::from_millis(20);
