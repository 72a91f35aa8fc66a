//! The body of an answer, received into the caller's memory. When its last byte is there the connection goes back to
//! where idle ones wait.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use super::connection::Connection;
use super::invalid;
use super::pool::Home;

/// A chunk's size, or a trailer, in one line.
const LIMIT_LINE_BYTES: usize = 4 << 10;
/// Trailers are thrown away, but not forever.
const LIMIT_TRAILERS: u32 = 100;

/// Where a body ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// After so many bytes more.
    Length(u64),
    Chunked(Chunk),
    /// With the connection.
    UntilClose,
}

/// What comes next of a body in chunks (RFC 9112, 7.1).
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    Size,
    Bytes(u64),
    /// The line end behind a chunk's bytes.
    End,
    Trailer(u32),
    Over,
}

/// A body that is being received.
pub(crate) struct Body {
    /// Gone when the body is over, or has failed.
    connection: Option<Connection>,
    framing: Framing,
    /// Where to leave the connection, if it can be used again.
    home: Option<Home>,
    copied_bytes: u64,
}

impl Body {
    pub(super) fn new(connection: Connection, framing: Framing, home: Option<Home>) -> Self {
        let mut body = Self { connection: Some(connection), framing, home, copied_bytes: 0 };
        body.settle();
        body
    }

    /// Receives what is there into `memory` (not empty); 0 is the end.
    pub(crate) fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
        memory: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let before = self.connection.as_ref().map_or(0, Connection::copied_bytes);
        let received = ready!(self.poll_framed(context, memory));
        let after = self.connection.as_ref().map_or(before, Connection::copied_bytes);
        self.copied_bytes += after - before;
        match received {
            Ok(_) => self.settle(),
            Err(_) => self.connection = None,
        }
        Poll::Ready(received)
    }

    /// How many of the bytes received so far lay elsewhere in this process before.
    pub(crate) fn copied_bytes(&self) -> u64 {
        self.copied_bytes
    }

    /// All of it, which must not have more than `limit` bytes.
    pub(crate) async fn collect(mut self, limit: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut piece = [0; 4096];
        loop {
            let count = poll_fn(|context| self.poll_receive(context, &mut piece)).await?;
            if count == 0 {
                return Ok(bytes);
            }
            if bytes.len() + count > limit {
                return Err(invalid(format!("the answer has more than {limit} bytes")));
            }
            bytes.extend_from_slice(&piece[..count]);
        }
    }

    fn poll_framed(
        &mut self,
        context: &mut Context<'_>,
        memory: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(Ok(0)) };
        match &mut self.framing {
            Framing::Length(left) => poll_counted(connection, context, memory, left),
            Framing::Chunked(chunk) => poll_chunked(connection, context, memory, chunk),
            Framing::UntilClose => {
                let received = ready!(connection.poll_read(context, memory));
                if matches!(received, Ok(0)) {
                    self.connection = None;
                }
                Poll::Ready(received)
            }
        }
    }

    /// Gives the connection back where the body is over.
    fn settle(&mut self) {
        if !matches!(self.framing, Framing::Length(0) | Framing::Chunked(Chunk::Over)) {
            return;
        }
        let connection = self.connection.take();
        if let (Some(connection), Some(home)) = (connection, self.home.take()) {
            home.put(connection);
        }
    }
}

/// Up to `left` bytes, of which at least one must come.
fn poll_counted(
    connection: &mut Connection,
    context: &mut Context<'_>,
    memory: &mut [u8],
    left: &mut u64,
) -> Poll<io::Result<usize>> {
    let room = usize::try_from(*left).unwrap_or(usize::MAX).min(memory.len());
    let count = ready!(connection.poll_read(context, &mut memory[..room]))?;
    *left -= count as u64;
    Poll::Ready(match count {
        0 => Err(ended_early(*left)),
        count => Ok(count),
    })
}

fn poll_chunked(
    connection: &mut Connection,
    context: &mut Context<'_>,
    memory: &mut [u8],
    chunk: &mut Chunk,
) -> Poll<io::Result<usize>> {
    loop {
        *chunk = match chunk {
            Chunk::Bytes(left) => {
                let count = ready!(poll_counted(connection, context, memory, left))?;
                if *left == 0 {
                    *chunk = Chunk::End;
                }
                return Poll::Ready(Ok(count));
            }
            Chunk::Size => match chunk_size(&ready!(poll_line(connection, context))?)? {
                0 => Chunk::Trailer(0),
                size => Chunk::Bytes(size),
            },
            Chunk::End => match &*ready!(poll_line(connection, context))? {
                [] => Chunk::Size,
                _ => return Poll::Ready(Err(invalid("a chunk is longer than it says"))),
            },
            Chunk::Trailer(LIMIT_TRAILERS) => {
                return Poll::Ready(Err(invalid("the trailers do not end")));
            }
            Chunk::Trailer(seen) => match &*ready!(poll_line(connection, context))? {
                [] => Chunk::Over,
                _ => Chunk::Trailer(*seen + 1),
            },
            Chunk::Over => return Poll::Ready(Ok(0)),
        };
    }
}

/// A line without its end.
fn poll_line(connection: &mut Connection, context: &mut Context<'_>) -> Poll<io::Result<Vec<u8>>> {
    loop {
        if let Some(end) = connection.early().iter().position(|byte| *byte == b'\n') {
            let line = connection.take_early(end + 1);
            let line = line.strip_suffix(b"\r\n").or(line.strip_suffix(b"\n")).unwrap_or(&line);
            return Poll::Ready(Ok(line.to_vec()));
        }
        if connection.early().len() > LIMIT_LINE_BYTES {
            return Poll::Ready(Err(invalid("a chunk's size does not end")));
        }
        if ready!(connection.poll_fill(context))? == 0 {
            return Poll::Ready(Err(ended_early(1)));
        }
    }
}

fn chunk_size(line: &[u8]) -> io::Result<u64> {
    let refuse = || invalid(format!("`{}` is no size of a chunk", String::from_utf8_lossy(line)));
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(refuse());
    }
    let digits = std::str::from_utf8(digits).map_err(|_| refuse())?;
    u64::from_str_radix(digits, 16).map_err(|_| refuse())
}

fn ended_early(left: u64) -> io::Error {
    let what = format!("the connection was closed with at least {left} bytes of the body missing");
    io::Error::new(io::ErrorKind::UnexpectedEof, what)
}

impl Framing {
    pub(super) fn chunked() -> Self {
        Self::Chunked(Chunk::Size)
    }
}
