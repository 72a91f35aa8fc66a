//! JSON in and out of HTTP.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HeaderMap};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;
use serde_json::Value;

use crate::fields::Fields;
use crate::{Limits, Refusal, Server};

/// `value` as a response.
pub(crate) fn response(status: StatusCode, value: &impl Serialize) -> Response {
    let json = serde_json::to_vec(value).expect("our types have string keys and no map fails");
    let mut response = Response::new(Body::from(json));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    response
}

/// The fields of a request about the model that is here, as `read` understands them.
pub(crate) async fn read<T: Send + 'static>(
    server: &Server,
    request: Request,
    read: fn(&Fields<'_>) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let body = body(request, server.limits()).await?;
    let bytes = body.len();
    let model = server.model().clone();
    let parse = move || {
        let body: Value =
            serde_json::from_slice(&body).map_err(|source| Refusal::Json { source })?;
        let fields = Fields::of_body(&body)?;
        let name = fields.text("model")?;
        let missing = || Refusal::Missing { param: "model".into(), expected: "a model's name" };
        model.check_name(name.ok_or_else(missing)?)?;
        read(&fields)
    };
    server.work(bytes, parse).await
}

/// The body of a request that says that it is JSON, within limits of length and time.
async fn body(request: Request, limits: &Limits) -> Result<Bytes, Refusal> {
    check_type(request.headers())?;
    check_encoding(request.headers())?;
    let limit_bytes = limits.body_bytes;
    // Who asks whether to send it waits for the answer; others read none while they send.
    let asks_first = request.headers().contains_key(EXPECT);
    if asks_first && request.body().size_hint().lower() > limit_bytes as u64 {
        return Err(Refusal::BodyTooLong { limit_bytes });
    }
    let collected = Limited::new(request.into_body(), limit_bytes).collect();
    match tokio::time::timeout(limits.body_time, collected).await {
        Err(_) => Err(Refusal::BodyTooSlow { limit_s: whole_seconds(limits.body_time) }),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Refusal::BodyTooLong { limit_bytes })
        }
        Ok(Err(error)) => Err(Refusal::BodyBroken { source: axum::Error::new(error) }),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
    }
}

/// Only what no form of a foreign page can send without being asked first.
fn check_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let found = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let found = String::from_utf8_lossy(found);
    let essence = found.split(';').next().unwrap_or_default().trim();
    let is_json =
        essence.eq_ignore_ascii_case(JSON) || essence.to_ascii_lowercase().ends_with("+json");
    if is_json { Ok(()) } else { Err(Refusal::ContentType { found: found.into_owned() }) }
}

/// A few bytes that unfold to gigabytes would pass every limit.
fn check_encoding(headers: &HeaderMap) -> Result<(), Refusal> {
    let plain = HeaderValue::from_static("identity");
    match headers.get(CONTENT_ENCODING) {
        Some(found) if found != plain => {
            let found = String::from_utf8_lossy(found.as_bytes()).into_owned();
            Err(Refusal::ContentEncoding { found })
        }
        _ => Ok(()),
    }
}

fn whole_seconds(time: Duration) -> u64 {
    time.as_secs()
}

const JSON: &str = "application/json";
