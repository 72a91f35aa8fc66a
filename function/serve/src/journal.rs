//! One line of log and one count for each request, and the headers that join its pieces.
//!
//! The line is written when the last byte of the answer is out, or when the client went away. It
//! has no body, no key and no query: nothing that could be a secret.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tracing::Instrument;

use crate::activity::Busy;
use crate::trace::Trace;
use crate::{Refusal, Server};

/// Follows a request to its end. One that has no answer when the process ends is told so.
pub(crate) async fn keep(State(server): State<Server>, request: Request, next: Next) -> Response {
    let mut entry = Entry::new(server, &request);
    let span = tracing::info_span!("request", trace_id = entry.trace.id());
    let stopped = entry.server.model().stopped();
    let mut response = tokio::select! {
        biased;
        response = next.run(request).instrument(span) => response,
        () = stopped => Refusal::Stopping.into_response(),
    };
    entry.status = Some(response.status().as_u16());
    entry.sign(response.headers_mut());
    response.map(|body| Body::new(Followed { body, entry }))
}

/// A request on its way.
struct Entry {
    server: Server,
    trace: Trace,
    method: Method,
    /// As it is known to the router: what clients make up is not counted one by one.
    route: String,
    began: Instant,
    /// None until the head of the answer is known.
    status: Option<u16>,
    bytes: u64,
    /// Whether the whole answer was taken.
    is_complete: bool,
    /// Of what is work for the model: probes and scrapes neither keep an instance awake nor fill
    /// its log.
    busy: Option<Busy>,
}

impl Entry {
    fn new(server: Server, request: &Request) -> Self {
        let header = request.headers().get(TRACEPARENT).map(HeaderValue::as_bytes);
        let route = request.extensions().get::<MatchedPath>();
        let route = route.map_or("other", MatchedPath::as_str).to_owned();
        let is_work = route.contains("/v1/");
        let busy = is_work.then(|| server.activity().begin());
        Self {
            trace: Trace::from_header(header),
            method: request.method().clone(),
            route,
            began: Instant::now(),
            status: None,
            bytes: 0,
            is_complete: false,
            busy,
            server,
        }
    }

    fn write(&self) {
        tracing::info!(
            trace_id = self.trace.id(),
            parent_id = self.trace.parent.map(|parent| format!("{parent:016x}")),
            method = %self.method,
            route = self.route,
            status = self.status.unwrap_or(CLIENT_LEFT),
            bytes = self.bytes,
            complete = self.is_complete,
            ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            "answered"
        );
    }

    fn sign(&self, headers: &mut HeaderMap) {
        let signs = [(TRACEPARENT, self.trace.to_string()), (REQUEST_ID, self.trace.id())];
        for (name, value) in signs {
            let value = HeaderValue::try_from(value).expect("hexadecimal digits and dashes");
            headers.insert(name, value);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let status = self.status.unwrap_or(CLIENT_LEFT);
        self.server.recorder().answered(&self.route, status);
        if self.busy.is_some() {
            self.write();
        }
    }
}

/// The body of an answer that is followed.
struct Followed {
    body: Body,
    entry: Entry,
}

impl HttpBody for Followed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &frame {
            self.entry.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        self.entry.is_complete = frame.is_none() || self.body.is_end_stream();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

const TRACEPARENT: &str = "traceparent";
/// What OpenAI's clients show with an error.
const REQUEST_ID: &str = "x-request-id";

/// As nginx writes it where the client left before there was a status.
const CLIENT_LEFT: u16 = 499;
