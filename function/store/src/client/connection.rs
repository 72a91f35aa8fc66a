//! One connection: a socket, with or without TLS, and what was received of it ahead of time.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use super::tls::Tls;

/// Room for a usual head. What comes of the body with it is copied, so that it is not much larger.
const FILL_BYTES: usize = 4 << 10;
/// How long an address has to answer before the next one is tried beside it (RFC 8305, 8).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

pub(super) struct Connection {
    stream: Stream,
    /// What was received behind the last head or line, and how much of that is used up.
    early: Vec<u8>,
    used: usize,
    /// Bytes that were handed out of memory of this process, since the beginning.
    copied_bytes: u64,
}

pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<Tls>),
}

impl Connection {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, early: Vec::new(), used: 0, copied_bytes: 0 }
    }

    pub(super) async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(tcp) => tcp.write_all(bytes).await,
            Stream::Tls(tls) => tls.write_all(bytes).await,
        }
    }

    /// Receives into `memory`: first what came early.
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        memory: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let early = self.early();
        if early.is_empty() {
            let count = ready!(self.stream.poll_read(context, memory))?;
            self.copied_bytes += if self.stream.copies() { count as u64 } else { 0 };
            return Poll::Ready(Ok(count));
        }
        let count = early.len().min(memory.len());
        memory[..count].copy_from_slice(&early[..count]);
        self.used += count;
        self.copied_bytes += count as u64;
        Poll::Ready(Ok(count))
    }

    /// Bytes received so far that lay elsewhere in this process before.
    pub(super) fn copied_bytes(&self) -> u64 {
        self.copied_bytes
    }

    /// What was received and not used.
    pub(super) fn early(&self) -> &[u8] {
        &self.early[self.used..]
    }

    /// Uses up the first `count` bytes of that.
    pub(super) fn take_early(&mut self, count: usize) -> Vec<u8> {
        let taken = self.early()[..count].to_vec();
        self.used += count;
        taken
    }

    /// Receives more of it: 0 bytes at the end.
    pub(super) fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.early.drain(..self.used);
        self.used = 0;
        let filled = self.early.len();
        self.early.resize(filled + FILL_BYTES, 0);
        let count = self.stream.poll_read(context, &mut self.early[filled..]);
        let received = if let Poll::Ready(Ok(count)) = &count { *count } else { 0 };
        self.early.truncate(filled + received);
        count
    }

    pub(super) async fn fill(&mut self) -> io::Result<usize> {
        poll_fn(|context| self.poll_fill(context)).await
    }

    /// Whether the other side has said nothing since the last answer: neither more than it should, nor farewell.
    pub(super) fn is_quiet(&self) -> bool {
        let (tcp, drained) = match &self.stream {
            Stream::Plain(tcp) => (tcp, true),
            Stream::Tls(tls) => (tls.socket(), tls.is_drained()),
        };
        let waiting = tcp.try_read(&mut [0]);
        let quiet = waiting.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        quiet && drained && self.early().is_empty()
    }
}

impl Stream {
    /// Whether bytes are received elsewhere first: what is encrypted is.
    fn copies(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        memory: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(tcp) => poll_socket(tcp, context, memory),
            Self::Tls(tls) => tls.poll_read(context, memory),
        }
    }
}

/// What the socket holds, straight into `memory`.
pub(super) fn poll_socket(
    tcp: &mut TcpStream,
    context: &mut Context<'_>,
    memory: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(memory);
    ready!(Pin::new(tcp).poll_read(context, &mut buffer))?;
    Poll::Ready(Ok(buffer.filled().len()))
}

/// Connects to the first of `addresses` that answers: one after the other, and beside each other where one is slow.
pub(super) async fn dial(addresses: Vec<IpAddr>, port: u16) -> io::Result<TcpStream> {
    let mut addresses = addresses.into_iter();
    let mut dialing = FuturesUnordered::new();
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        dialing.extend(addresses.next().map(|address| TcpStream::connect((address, port))));
        tokio::select! {
            dialed = dialing.next() => match dialed {
                Some(Ok(tcp)) => {
                    tcp.set_nodelay(true)?;
                    return Ok(tcp);
                }
                Some(Err(error)) => failed = error,
                None => return Err(failed),
            },
            () = tokio::time::sleep(NEXT_ADDRESS), if addresses.len() > 0 => {}
        }
    }
}
