//! Which pages may ask from a browser: none, unless an origin was named. There are no cookies here,
//! so that a page that may ask gets no more than anybody else.

use std::str::FromStr;

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

/// Whose pages may ask: an origin such as `https://page.example`, or `*` for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(HeaderValue);

/// Why a text is no origin.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an origin; write one as `https://page.example`, or `*` for all")]
pub struct OriginError {
    text: String,
}

impl FromStr for Origin {
    type Err = OriginError;

    /// As browsers write it: a scheme, a host and perhaps a port, and no path.
    fn from_str(text: &str) -> Result<Self, OriginError> {
        let host = text.split_once("://").map(|(_, host)| host);
        let is_origin = host.is_some_and(|host| !host.is_empty() && !host.contains('/'));
        let value = HeaderValue::from_str(text).ok().filter(|_| is_origin || text == "*");
        value.map(Self).ok_or_else(|| OriginError { text: text.to_owned() })
    }
}

/// Answers a browser's question whether a page may ask, and tells it so with each answer.
pub(crate) async fn allow(State(server): State<Server>, request: Request, next: Next) -> Response {
    let Some(Origin(origin)) = server.settings().cors.clone() else {
        return next.run(request).await;
    };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_no_path() {
        assert!(
            ["*", "https://page.example", "http://localhost:3000"]
                .iter()
                .all(|text| { text.parse::<Origin>().is_ok() })
        );
        for text in ["", "page.example", "https://", "https://page.example/", "https://a\nb"] {
            let error = text.parse::<Origin>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}` is not an origin")));
        }
    }
}
