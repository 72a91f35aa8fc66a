//! Starting and stopping: what a bucket is made of, and the handle on one that runs.

use std::{
    convert::Infallible,
    fmt, io,
    net::{SocketAddr, TcpListener as StdListener, ToSocketAddrs},
    sync::{Arc, PoisonError, RwLock},
    thread,
    time::Duration,
};

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use s3s::service::S3ServiceBuilder;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    runtime::{self, Handle},
    sync::oneshot,
    task::{AbortHandle, JoinSet},
    time::sleep,
};

use crate::{
    fault::Faults,
    journal::{Counters, Journal, RequestRecord},
    link::{Clock, Link},
    objects::Objects,
    s3::{Backend, Keys},
    service::{Connection, Shared},
    socket::{Hangup, Socket},
    turnstile::Turnstile,
};

/// The embedded S3 server.
///
/// ```
/// # use firstlight_bucket::{Bucket, Link, Objects};
/// let objects = Objects::new();
/// objects.insert("models", "demo/config.json", "{}");
/// let link = Link { rate: Some("1gbit".parse()?), ..Link::default() };
/// let running = Bucket::builder().objects(objects).link(link).start_on_own_thread("127.0.0.1:0")?;
/// assert!(running.endpoint().starts_with("http://127.0.0.1:"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Bucket;

impl Bucket {
    /// An empty server with an unshaped link and no faults, which answers signed requests only.
    #[must_use]
    pub fn builder() -> Builder {
        Builder {
            objects: Objects::new(),
            link: Link::default(),
            faults: Faults::default(),
            turnstile: None,
            access_key: "firstlight".to_owned(),
            secret_key: "firstlight-secret".to_owned(),
            region: "us-east-1".to_owned(),
            allow_anonymous: false,
            allow_listing: true,
            scheme: "http",
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

/// A server that is not running yet.
#[derive(Debug)]
pub struct Builder {
    objects: Objects,
    link: Link,
    faults: Faults,
    turnstile: Option<Turnstile>,
    access_key: String,
    secret_key: String,
    region: String,
    allow_anonymous: bool,
    allow_listing: bool,
    scheme: &'static str,
    #[cfg(feature = "tls")]
    tls: Option<crate::tls::Acceptor>,
}

impl Builder {
    /// What it holds.
    #[must_use]
    pub fn objects(self, objects: Objects) -> Self {
        Self { objects, ..self }
    }

    /// What lies between it and its clients.
    #[must_use]
    pub fn link(self, link: Link) -> Self {
        Self { link, ..self }
    }

    /// What goes wrong.
    #[must_use]
    pub fn faults(self, faults: Faults) -> Self {
        Self { faults, ..self }
    }

    /// Where all requests wait.
    #[must_use]
    pub fn turnstile(self, turnstile: &Turnstile) -> Self {
        Self { turnstile: Some(turnstile.clone()), ..self }
    }

    /// The one pair of keys it knows.
    #[must_use]
    pub fn credentials(self, access_key: &str, secret_key: &str) -> Self {
        Self { access_key: access_key.to_owned(), secret_key: secret_key.to_owned(), ..self }
    }

    /// The region it is in. A request signed for another one is told so, as on S3.
    #[must_use]
    pub fn region(self, region: &str) -> Self {
        Self { region: region.to_owned(), ..self }
    }

    /// Whether unsigned requests are answered, as by a public bucket.
    #[must_use]
    pub fn allow_anonymous(self, allow_anonymous: bool) -> Self {
        Self { allow_anonymous, ..self }
    }

    /// Whether clients may list the buckets. If not, a missing key is a 403 and no 404, as on S3.
    #[must_use]
    pub fn allow_listing(self, allow_listing: bool) -> Self {
        Self { allow_listing, ..self }
    }

    /// Speaks TLS, with this certificate chain and its key, both PEM.
    #[cfg(feature = "tls")]
    pub fn tls(self, certificate_pem: &str, key_pem: &str) -> Result<Self, crate::tls::TlsError> {
        let acceptor = crate::tls::Acceptor::new(certificate_pem, key_pem)?;
        Ok(Self { tls: Some(acceptor), scheme: "https", ..self })
    }

    /// Serves from the tokio runtime that this is called in.
    pub fn start(self, addr: impl ToSocketAddrs) -> io::Result<Running> {
        let runtime = Handle::try_current().map_err(io::Error::other)?;
        let listener = bind(addr)?;
        let addr = listener.local_addr()?;
        let server = self.into_server();
        let task = runtime.spawn(accept(listener, Arc::clone(&server.shared)));
        Ok(server.running(addr, Host::Task(task.abort_handle())))
    }

    /// Serves from a thread of its own: one, so that a client on a small machine keeps the others.
    /// It carries more than 2.5 GiB/s over the loopback.
    pub fn start_on_own_thread(self, addr: impl ToSocketAddrs) -> io::Result<Running> {
        let listener = bind(addr)?;
        let addr = listener.local_addr()?;
        let server = self.into_server();
        let shared = Arc::clone(&server.shared);
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name("bucket".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    never = accept(listener, shared) => match never {},
                    _ = stopped => (),
                }
            });
        })?;
        Ok(server.running(addr, Host::Thread { stop: Some(stop), thread: Some(thread) }))
    }

    fn into_server(self) -> Server {
        let keys = || Keys {
            access_key: self.access_key.clone(),
            secret_key: self.secret_key.clone(),
            allow_anonymous: self.allow_anonymous,
        };
        let mut s3 = S3ServiceBuilder::new(Backend {
            objects: self.objects.clone(),
            region: self.region.clone(),
            allow_listing: self.allow_listing,
        });
        s3.set_auth(keys());
        s3.set_access(keys());
        let shared = Shared {
            line: self.link.rate.map(Clock::new),
            objects: self.objects,
            faults: RwLock::new(Arc::new(self.faults)),
            turnstile: self.turnstile,
            journal: Journal::new(),
            link: self.link,
            region: self.region,
            s3: s3.build(),
            #[cfg(feature = "tls")]
            tls: self.tls,
        };
        Server {
            shared: Arc::new(shared),
            scheme: self.scheme,
            access_key: self.access_key,
            secret_key: self.secret_key,
        }
    }
}

/// A server that runs until this is dropped.
pub struct Running {
    server: Server,
    addr: SocketAddr,
    host: Host,
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What a client takes as endpoint URL, with path-style addresses: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("{}://{}", self.server.scheme, self.addr)
    }

    /// The key id that signs.
    #[must_use]
    pub fn access_key(&self) -> &str {
        &self.server.access_key
    }

    /// The secret that signs.
    #[must_use]
    pub fn secret_key(&self) -> &str {
        &self.server.secret_key
    }

    /// The region to sign for.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.server.shared.region
    }

    /// What an AWS client reads from its environment, to find this server and to sign for it.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_ACCESS_KEY_ID", self.access_key().to_owned()),
            ("AWS_SECRET_ACCESS_KEY", self.secret_key().to_owned()),
            ("AWS_REGION", self.region().to_owned()),
        ]
    }

    /// What it holds, to change it while it runs.
    #[must_use]
    pub fn objects(&self) -> &Objects {
        &self.server.shared.objects
    }

    /// From now on these go wrong, counted from here.
    pub fn set_faults(&self, faults: Faults) {
        let mut current = self.server.shared.faults.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(faults);
    }

    /// The last 65,536 requests, in the order of their arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.server.shared.journal.records()
    }

    /// The totals of all requests.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.server.shared.journal.counters()
    }

    /// Closes the port and all connections, in the middle of an answer too. A server on a thread of
    /// its own has done so when this returns; one in a runtime does it when its task next runs.
    pub fn stop(self) {
        drop(self);
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Running({})", self.endpoint())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        match &mut self.host {
            Host::Task(task) => task.abort(),
            Host::Thread { stop, thread } => {
                stop.take();
                if let Some(thread) = thread.take() {
                    // A panic of the server's thread has been printed there; there is nobody to
                    // tell here.
                    let _ = thread.join();
                }
            }
        }
    }
}

/// What a server is, wherever it runs.
struct Server {
    shared: Arc<Shared>,
    scheme: &'static str,
    access_key: String,
    secret_key: String,
}

impl Server {
    fn running(self, addr: SocketAddr, host: Host) -> Running {
        Running { server: self, addr, host }
    }
}

/// What runs it, and how to end that.
enum Host {
    Task(AbortHandle),
    Thread { stop: Option<oneshot::Sender<()>>, thread: Option<thread::JoinHandle<()>> },
}

fn bind(addr: impl ToSocketAddrs) -> io::Result<StdListener> {
    let listener = StdListener::bind(addr)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Accepts until it is dropped, and all connections with it.
async fn accept(listener: StdListener, shared: Arc<Shared>) -> Infallible {
    let listener = TcpListener::from_std(listener).expect("a bound listener in a runtime with I/O");
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((tcp, _)) => drop(connections.spawn(serve(tcp, Arc::clone(&shared)))),
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => (),
        }
    }
}

async fn serve(tcp: TcpStream, shared: Arc<Shared>) {
    if tcp.set_nodelay(true).is_err() {
        return;
    }
    let hangup = Hangup::default();
    let socket = Socket::new(tcp, hangup.clone());
    let connection = Connection::new(Arc::clone(&shared), hangup);
    #[cfg(feature = "tls")]
    if let Some(tls) = &shared.tls {
        if let Ok(stream) = tls.accept(socket).await {
            converse(stream, connection).await;
        }
        return;
    }
    converse(socket, connection).await;
}

/// Answers until either side hangs up. Which way it ended is the client's to notice: faults end it
/// with errors.
async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, connection: Connection) {
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), connection).await;
}

/// Accepting fails where there are no more file descriptors; some come back as connections end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
