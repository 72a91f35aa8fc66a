//! A hub as clients see it: it answers a file's resolve URL with a redirect to a signed URL elsewhere, to those who
//! bring the right token.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, LOCATION};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

pub(crate) const TOKEN: &str = "hf_test";

pub(crate) struct Hub {
    pub(crate) address: SocketAddr,
    pub(crate) asked: Arc<AtomicUsize>,
}

impl Hub {
    /// Redirects `/owner/name/resolve/main/FILE` to `files/FILE`.
    pub(crate) async fn start(files: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (files, count) = (files.clone(), Arc::clone(&count));
                let service = service_fn(move |request| {
                    count.fetch_add(1, Ordering::Relaxed);
                    let response = answer(&files, &request);
                    async move { Ok::<_, Infallible>(response) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service));
            }
        });
        Self { address, asked }
    }
}

fn answer(files: &str, request: &Request<Incoming>) -> Response<Empty<Bytes>> {
    let token = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let response = Response::builder();
    if token != Some(&format!("Bearer {TOKEN}")) {
        return response.status(StatusCode::UNAUTHORIZED).body(Empty::new()).unwrap();
    }
    match request.uri().path().strip_prefix("/owner/name/resolve/main/") {
        Some(file) => response
            .status(StatusCode::FOUND)
            .header(LOCATION, format!("{files}/{file}?X-Amz-Expires=3600"))
            .body(Empty::new())
            .unwrap(),
        None => response.status(StatusCode::NOT_FOUND).body(Empty::new()).unwrap(),
    }
}
