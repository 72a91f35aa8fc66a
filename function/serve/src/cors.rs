//! Which pages may ask from a browser: none, unless an origin was named. There are no cookies here,
//! so that a page that may ask gets no more than anybody else.

use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
    HeaderName, VARY,
};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;

use crate::Server;

/// Answers a browser's question whether a page may ask, and tells it so with each answer.
pub(crate) async fn allow(State(server): State<Server>, request: Request, next: Next) -> Response {
    let Some(origin) = server.settings().cors.clone() else { return next.run(request).await };
    let asks_first = request.method() == Method::OPTIONS
        && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if asks_first { preflight() } else { next.run(request).await };
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    headers.append(VARY, HeaderValue::from_static("origin"));
    response
}

fn preflight() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    let tell = |(name, value): (HeaderName, &'static str)| {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    };
    [
        (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
        // `*` would not cover `authorization`.
        (ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type, traceparent, *"),
        (ACCESS_CONTROL_MAX_AGE, "600"),
    ]
    .into_iter()
    .for_each(tell);
    response
}

const EXPOSED: &str = "server-timing, traceparent, x-request-id, retry-after";
