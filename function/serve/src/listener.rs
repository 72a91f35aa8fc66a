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
use axum::response::Response;
use http_body_util::BodyExt;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tower_service::Service;

use crate::Server;
use crate::connection::{InWork, Times};
use crate::places::{Place, Places};
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
    places: Arc<Places>,
    router: Router,
    ending: watch::Sender<bool>,
    limits: Limits,
}

impl Door {
    fn new(server: &Server) -> Self {
        let limits = server.limits().clone();
        Self {
            places: Places::new(limits.connections),
            router: server.router(),
            ending: watch::Sender::new(false),
            limits,
        }
    }

    /// When all connections have ended, each after the answer it is at.
    async fn close(&self) {
        self.ending.send_replace(true);
        self.places.are_free().await;
    }

    async fn let_in(&self, listener: &TcpListener) -> Infallible {
        let Limits { head_time, idle_time, .. } = self.limits;
        let times = Times { head: head_time, between: idle_time };
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let place = self.places.take(times).await;
                    drop(tokio::spawn(self.connection(stream, place)));
                }
                // No descriptor is left, or the client went away again: both pass.
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    }

    /// The work on one connection.
    fn connection(&self, stream: TcpStream, place: Place) -> impl Future<Output = ()> + use<> {
        // Tokens are small, and nobody wants to wait for more of them.
        drop(stream.set_nodelay(true));
        let connection = Arc::clone(&place.connection);
        let stream = Impatient::new(stream, Arc::clone(&connection), self.limits.stall_time);
        let router = self.router.clone();
        let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let in_work = connection.begin();
            let request: Request = request.map(Body::new);
            let answering = router.clone().call(request);
            async move { answering.await.map(|response| until_its_end(response, in_work)) }
        });
        let connection = http1::Builder::new()
            .header_read_timeout(None)
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        let mut ending = self.ending.subscribe();
        async move {
            let serving = async {
                let mut connection = std::pin::pin!(connection);
                tokio::select! {
                    ended = connection.as_mut() => ended,
                    () = ended_by(&mut ending) => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                }
            };
            let ended = tokio::select! {
                biased;
                ended = serving => ended,
                () = place.connection.is_over() => return,
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended early");
            }
        }
    }
}

/// A response that is in work until its body is dropped.
fn until_its_end(response: Response, in_work: InWork) -> Response {
    let until_its_end = move |error| {
        let _ = &in_work;
        error
    };
    response.map(|body| Body::new(body.map_err(until_its_end)))
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
