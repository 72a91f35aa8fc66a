//! The socket, from the bind to the last byte of the last answer.
//!
//! It is bound before anything else is done, so that whoever woke the process finds it: until the
//! first connection is accepted, the system keeps those that come. When the process is to end, the
//! socket is closed first, each connection ends after the answer it is at, and what is not over in
//! time is broken off, and told so.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tower_service::Service;

use crate::Server;
use crate::server::Limits;
use crate::stall::Impatient;

/// A socket that is bound.
#[derive(Debug)]
pub struct Listener(StdListener);

impl Listener {
    /// Binds it. From here on connections are taken, if not answered.
    pub fn bind(address: impl ToSocketAddrs) -> io::Result<Self> {
        let listener = StdListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self(listener))
    }

    /// Where it is.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Server {
    /// Serves until `stop`, and then goes on with what runs until `give_up`; says whether all of it
    /// came to its end. After that the engine takes nothing any more.
    pub async fn listen(
        &self,
        listener: Listener,
        stop: impl Future<Output = ()>,
        give_up: impl Future<Output = ()>,
    ) -> io::Result<bool> {
        let listener = TcpListener::from_std(listener.0)?;
        let door = Door::new(self);
        tokio::select! {
            never = door.let_in(&listener) => match never {},
            () = stop => {}
        }
        drop(listener);
        let is_over = tokio::select! {
            () = door.close() => true,
            () = give_up => false,
        };
        self.model().stop();
        if !is_over {
            drop(timeout(LAST_WORDS, door.close()).await);
        }
        Ok(is_over)
    }
}

/// Where connections come in.
struct Door {
    /// One for each connection that is open.
    places: Arc<Semaphore>,
    router: Router,
    ending: watch::Sender<bool>,
    limits: Limits,
}

impl Door {
    fn new(server: &Server) -> Self {
        let limits = server.limits().clone();
        Self {
            places: Arc::new(Semaphore::new(limits.connections)),
            router: server.router(),
            ending: watch::Sender::new(false),
            limits,
        }
    }

    /// When all connections have ended, each after the answer it is at.
    async fn close(&self) {
        self.ending.send_replace(true);
        let all = u32::try_from(self.limits.connections).unwrap_or(u32::MAX);
        drop(self.places.acquire_many(all).await);
    }

    async fn let_in(&self, listener: &TcpListener) -> Infallible {
        loop {
            let place = Arc::clone(&self.places).acquire_owned().await;
            let place = place.expect("the semaphore is never closed");
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(self.connection(stream, place))),
                // No descriptor is left, or the client went away again: both pass.
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    }

    /// The work on one connection.
    fn connection(
        &self,
        stream: TcpStream,
        place: OwnedSemaphorePermit,
    ) -> impl Future<Output = ()> + use<> {
        // Tokens are small, and nobody wants to wait for more of them.
        drop(stream.set_nodelay(true));
        let stream = TokioIo::new(Impatient::new(stream, self.limits.stall_time));
        let router = self.router.clone();
        let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let request: Request = request.map(Body::new);
            router.clone().call(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.idle_time)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(stream, service);
        let mut ending = self.ending.subscribe();
        async move {
            let _place = place;
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = ended_by(&mut ending) => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended early");
            }
        }
    }
}

async fn ended_by(ending: &mut watch::Receiver<bool>) {
    drop(ending.wait_for(|ending| *ending).await);
}

/// An error has some hundred bytes, which are written at once where the client reads at all.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Long enough for a descriptor to come free, short enough not to be missed.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// Browsers send some 20, proxies add ten.
const MAX_HEADERS: usize = 100;

/// What servers commonly take. It is also how much of an answer is collected before it is written.
const MAX_HEAD_BYTES: usize = 64 << 10;
