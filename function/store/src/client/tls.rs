//! TLS over a socket, by rustls' unbuffered interface: ciphertext is received in pieces of many records, decrypted where
//! it lies, and copied from the cache to where it belongs.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::ClientConfig;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::connection::poll_socket;
use super::invalid;
use super::target::Origin;

/// Sixteen records and a little: enough that a `recv` costs nothing beside its copy, little enough for the cache.
const INCOMING_BYTES: usize = 256 << 10;

/// A connection that was refused for a reason that another attempt does not change.
#[derive(Debug, thiserror::Error)]
#[error("TLS with `{origin}`: {source}")]
pub(crate) struct TlsError {
    origin: String,
    pub(crate) source: rustls::Error,
}

pub(super) struct Tls {
    tcp: TcpStream,
    session: UnbufferedClientConnection,
    /// Ciphertext; what has not been decrypted is at `start..end`.
    incoming: Vec<u8>,
    start: usize,
    end: usize,
    /// Decrypted ahead of time.
    plain: Vec<u8>,
    /// To be encrypted.
    unsent: Vec<u8>,
    /// Ciphertext to be sent.
    outgoing: Vec<u8>,
    origin: Origin,
}

/// What the next of rustls' states came to.
enum Step {
    /// So many bytes were decrypted into the caller's memory.
    Received(usize),
    Onward,
    /// Nothing is left to be done before more is received. The handshake is over if `ready`.
    Blocked {
        ready: bool,
    },
    /// The other side has said that it ends here.
    Closed,
}

impl Tls {
    pub(super) async fn handshake(
        tcp: TcpStream,
        config: Arc<ClientConfig>,
        origin: &Origin,
    ) -> io::Result<Self> {
        let refuse =
            |_| invalid(format!("`{}` is not a name to ask a certificate for", origin.host));
        let name = ServerName::try_from(origin.host.clone()).map_err(refuse)?;
        let origin = origin.clone();
        let session = UnbufferedClientConnection::new(config, name)
            .map_err(|source| io::Error::other(TlsError { origin: origin.to_string(), source }))?;
        let mut tls = Self {
            tcp,
            session,
            incoming: vec![0; INCOMING_BYTES],
            start: 0,
            end: 0,
            plain: Vec::new(),
            unsent: Vec::new(),
            outgoing: Vec::new(),
            origin,
        };
        tls.advance(|step| matches!(step, Step::Blocked { ready: true })).await?;
        Ok(tls)
    }

    /// Whether nothing was received that nobody has taken.
    pub(super) fn is_drained(&self) -> bool {
        self.start == self.end && self.plain.is_empty()
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.tcp
    }

    pub(super) async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.unsent.extend_from_slice(bytes);
        self.advance(|step| matches!(step, Step::Blocked { ready: true })).await
    }

    /// Decrypts into `memory` (not empty) what was received, or is there to be received; 0 at the end.
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        memory: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut count = memory.len().min(self.plain.len());
        memory[..count].copy_from_slice(&self.plain[..count]);
        self.plain.drain(..count);
        while count < memory.len() {
            match self.step(&mut memory[count..])? {
                Step::Received(bytes) => count += bytes,
                Step::Onward => {}
                Step::Closed => break,
                Step::Blocked { .. } if count > 0 => break,
                Step::Blocked { .. } => {
                    self.send_what_fits()?;
                    ready!(self.poll_fill(context))?;
                }
            }
        }
        Poll::Ready(Ok(count))
    }

    /// Sends and receives until a step is as it should be, and everything is sent.
    async fn advance(&mut self, mut until: impl FnMut(&Step) -> bool) -> io::Result<()> {
        loop {
            let step = self.step(&mut [])?;
            if !matches!(step, Step::Onward) {
                self.tcp.write_all(&self.outgoing).await?;
                self.outgoing.clear();
            }
            match step {
                step if until(&step) => return Ok(()),
                Step::Blocked { .. } => {
                    std::future::poll_fn(|context| self.poll_fill(context)).await?;
                }
                Step::Closed => return Err(io::ErrorKind::UnexpectedEof.into()),
                Step::Onward | Step::Received(_) => {}
            }
        }
    }

    /// Carries out one of rustls' states.
    fn step(&mut self, memory: &mut [u8]) -> io::Result<Step> {
        let Self { session, incoming, start, end, plain, unsent, outgoing, origin, .. } = self;
        let broken = |source| io::Error::other(TlsError { origin: origin.to_string(), source });
        let status = session.process_tls_records(&mut incoming[*start..*end]);
        let UnbufferedStatus { mut discard, state } = status;
        let step = match state.map_err(broken)? {
            ConnectionState::ReadTraffic(mut traffic) => {
                let mut count = 0;
                while let Some(record) = traffic.next_record() {
                    let record = record.map_err(broken)?;
                    discard += record.discard;
                    let fits = record.payload.len().min(memory.len() - count);
                    memory[count..count + fits].copy_from_slice(&record.payload[..fits]);
                    plain.extend_from_slice(&record.payload[fits..]);
                    count += fits;
                }
                Step::Received(count)
            }
            ConnectionState::EncodeTlsData(mut data) => {
                append(outgoing, |room| match data.encode(room) {
                    Err(EncodeError::InsufficientSize(size)) => Ok(Err(size.required_size)),
                    encoded => encoded.map(Ok).map_err(io::Error::other),
                })?;
                Step::Onward
            }
            ConnectionState::TransmitTlsData(data) => {
                data.done();
                Step::Onward
            }
            ConnectionState::WriteTraffic(mut traffic) if !unsent.is_empty() => {
                append(outgoing, |room| match traffic.encrypt(unsent, room) {
                    Err(EncryptError::InsufficientSize(size)) => Ok(Err(size.required_size)),
                    encrypted => encrypted.map(Ok).map_err(io::Error::other),
                })?;
                unsent.clear();
                Step::Onward
            }
            ConnectionState::WriteTraffic(_) => Step::Blocked { ready: true },
            ConnectionState::BlockedHandshake => Step::Blocked { ready: false },
            ConnectionState::PeerClosed | ConnectionState::Closed => Step::Closed,
            other => return Err(invalid(format!("TLS is in a state that is unknown: {other:?}"))),
        };
        *start += discard;
        Ok(step)
    }

    /// Receives more ciphertext behind what is left of it.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.incoming.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.incoming.len() {
            return Poll::Ready(Err(invalid("a record of TLS does not end")));
        }
        match ready!(poll_socket(&mut self.tcp, context, &mut self.incoming[self.end..]))? {
            0 => {
                let what = "the connection was closed in the middle, without TLS's farewell";
                Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, what)))
            }
            count => {
                self.end += count;
                Poll::Ready(Ok(()))
            }
        }
    }

    /// What TLS itself has to say while a body is received, such as that it has taken a new key.
    fn send_what_fits(&mut self) -> io::Result<()> {
        if self.outgoing.is_empty() {
            return Ok(());
        }
        match self.tcp.try_write(&self.outgoing) {
            Ok(count) => drop(self.outgoing.drain(..count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Appends what `write` writes into the room it is given; where that is too small it says how much it needs.
fn append(
    bytes: &mut Vec<u8>,
    mut write: impl FnMut(&mut [u8]) -> io::Result<Result<usize, usize>>,
) -> io::Result<()> {
    let filled = bytes.len();
    let mut room = 0;
    loop {
        bytes.resize(filled + room, 0);
        match write(&mut bytes[filled..])? {
            Ok(count) => {
                bytes.truncate(filled + count);
                return Ok(());
            }
            Err(needed) => room = needed,
        }
    }
}
