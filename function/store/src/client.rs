//! A client of HTTP/1.1, as small as one for ranges of large objects can be, and as cheap: a body is received from the
//! socket straight into the memory where it belongs.
//!
//! A request goes over the connection that was idle last, and over a new one where there is none; an idle one that the
//! server has closed meanwhile is noticed and passed over, which is no failure. There is one request on a connection at
//! a time. Nothing is retried, redirected, decompressed or cached here.

mod body;
mod connection;
mod head;
mod pool;
mod proxy;
mod resolver;
mod target;
#[cfg(test)]
mod tests;
mod tls;
mod trust;

use std::fmt::{self, Write};
use std::io;
use std::sync::Arc;

use aws_smithy_types::base64;
use tokio::time::timeout;
use url::Url;

pub(crate) use body::Body;
pub(crate) use head::Head;
pub(crate) use target::Target;
pub(crate) use tls::TlsError;

use connection::{Connection, Stream, dial};
use pool::{Home, Pool};
use proxy::Proxies;
use resolver::Resolver;
use target::Origin;
use tls::Tls;
use trust::Trust;

use crate::settings::CONNECT;

/// Makes requests. Cheap to clone; all clones share their connections.
#[derive(Clone)]
pub(crate) struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    pool: Arc<Pool>,
    resolver: Resolver,
    trust: Trust,
    proxies: io::Result<Proxies>,
}

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: Target,
    /// Names and values; `Host` and `Content-Length` are added.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// What is answered.
pub(crate) struct Response {
    pub(crate) head: Head,
    pub(crate) body: Body,
}

impl Client {
    /// A client without connections. Where TLS is spoken it trusts whom the first of `bundles` that the environment has
    /// names, or the system.
    pub(crate) fn new(bundles: &[&str]) -> Self {
        let shared = Shared {
            pool: Arc::default(),
            resolver: Resolver::default(),
            trust: Trust::from_environment(bundles),
            proxies: Proxies::from_environment(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Begins to load what TLS needs, for a request that is about to come.
    pub(crate) fn prepare_tls(&self) {
        let client = self.clone();
        // What fails here fails again where it matters.
        tokio::spawn(async move { drop(client.shared.trust.config().await) });
    }

    /// Sends a request and waits for the head of the answer.
    pub(crate) async fn send(&self, request: &Request) -> io::Result<Response> {
        let origin = &request.target.origin;
        let message = self.message(request)?;
        // Of a request that changes something, nobody knows whether it arrived on a connection that was found closed.
        let may_repeat = matches!(request.method.as_str(), "GET" | "HEAD");
        while may_repeat && let Some(mut idle) = self.shared.pool.take(origin) {
            match exchange(&mut idle, &message).await {
                Err(_) if idle.early().is_empty() => {} // closed before a byte came
                answer => return self.response(answer?, idle, request),
            }
        }
        let mut fresh = self.connect(origin).await?;
        let head = exchange(&mut fresh, &message).await.map_err(|error| about(origin, &error))?;
        self.response(head, fresh, request)
    }

    fn response(
        &self,
        head: Head,
        connection: Connection,
        request: &Request,
    ) -> io::Result<Response> {
        let framing = head.framing(&request.method)?;
        let origin = request.target.origin.clone();
        let home = Home { pool: Arc::clone(&self.shared.pool), origin };
        let body = Body::new(connection, framing, head.keeps_alive().then_some(home));
        Ok(Response { head, body })
    }

    /// The request as it goes over the wire.
    fn message(&self, request: &Request) -> io::Result<Vec<u8>> {
        let Request { method, target: Target { origin, path }, headers, body } = request;
        let host = origin.host_header();
        let proxy = self.proxies()?.to(origin).filter(|_| !origin.tls);
        let place = proxy.map_or(String::new(), |_| format!("http://{host}"));
        let length = (method != "GET" || !body.is_empty()).then(|| body.len().to_string());
        let ours = [
            ("Host", Some(host)),
            ("Proxy-Authorization", proxy.and_then(|proxy| proxy.authorization.clone())),
            ("Content-Length", length),
        ];
        let has = |name: &str| headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        let ours = ours.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?)));
        let theirs = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut text = format!("{method} {place}{path} HTTP/1.1\r\n");
        for (name, value) in ours.filter(|(name, _)| !has(name)).chain(theirs) {
            let is_clean = |byte: u8| !byte.is_ascii_control() || byte == b'\t';
            if !is_token(name) || !value.bytes().all(is_clean) {
                return Err(misconfigured(format!("the header `{name}` cannot be sent")));
            }
            write!(text, "{name}: {value}\r\n").expect("a string takes everything");
        }
        text += "\r\n";
        Ok([text.as_bytes(), body].concat())
    }

    async fn connect(&self, origin: &Origin) -> io::Result<Connection> {
        let connected = timeout(CONNECT, self.open(origin)).await;
        connected.unwrap_or_else(|_| {
            let what = format!("no connection within {:.1} s", CONNECT.as_secs_f64());
            Err(about(origin, &io::Error::new(io::ErrorKind::TimedOut, what)))
        })
    }

    async fn open(&self, origin: &Origin) -> io::Result<Connection> {
        let proxy = self.proxies()?.to(origin);
        let next = proxy.map_or(origin, |proxy| &proxy.origin);
        let dialed =
            async { dial(self.shared.resolver.resolve(&next.host).await?, next.port).await };
        let mut tcp = dialed.await.map_err(|error| about(next, &error))?;
        if !origin.tls {
            return Ok(Connection::new(Stream::Plain(tcp)));
        }
        if let Some(proxy) = proxy {
            proxy.tunnel(&mut tcp, origin).await?;
        }
        let config = self.shared.trust.config().await?;
        let tls = Tls::handshake(tcp, config, origin).await?;
        Ok(Connection::new(Stream::Tls(Box::new(tls))))
    }

    fn proxies(&self) -> io::Result<&Proxies> {
        self.shared.proxies.as_ref().map_err(|error| misconfigured(error.to_string()))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

/// Sends a message and reads the head of the answer, behind which the connection then stands.
async fn exchange(connection: &mut Connection, message: &[u8]) -> io::Result<Head> {
    connection.write_all(message).await?;
    let mut looked_at = 0;
    loop {
        if let Some((head, length)) = Head::parse(connection.early(), looked_at)? {
            connection.take_early(length);
            looked_at = 0;
            if !head.is_interim() {
                return Ok(head);
            }
            continue;
        }
        looked_at = connection.early().len();
        if connection.fill().await? == 0 {
            let what = "the connection was closed before an answer came";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
        }
    }
}

/// `Basic` and what a URL has before its `@`.
pub(crate) fn basic_authorization(url: &Url) -> Option<String> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let (user, password) = (url.username(), url.password().unwrap_or_default());
    let user = [percent_decoded(user), percent_decoded(password)].join(&b':');
    Some(format!("Basic {}", base64::encode(user)))
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut pieces = text.split('%');
    let mut decoded = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        match piece.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => decoded.extend([&[byte], &piece.as_bytes()[2..]].concat()),
            None => decoded.extend(["%", piece].concat().bytes()),
        }
    }
    decoded
}

fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// An error that says whom it is about.
fn about(origin: &Origin, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("`{origin}`: {error}"))
}

/// Why no request can be made, however often it is tried.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Misconfigured(pub(crate) String);

fn misconfigured(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, Misconfigured(what.into()))
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}
