//! Bodies of requests without HTTP around them: which interface they mean is told by a field.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;
use serde_json::{Map, Value};

use super::Error;

/// The body of a request, and the interface that it is for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Direct {
    path: &'static str,
    body: Map<String, Value>,
}

impl Direct {
    /// What `body` asks for; the body itself, where it asks for nothing.
    pub(crate) fn new(body: Map<String, Value>) -> Result<Self, Map<String, Value>> {
        // Services that name themselves, such as Amazon MQ, have `messages` of another kind.
        let is_event = body.contains_key("eventSource");
        let is_asked = |field: &str| !is_event && body.contains_key(field);
        match INTERFACES.iter().find(|(field, _)| is_asked(field)) {
            Some((_, path)) => Ok(Self { path, body }),
            None => Err(body),
        }
    }

    /// Refused, where the answer is to be streamed: to whom, without HTTP?
    pub(crate) fn check_is_whole(&self) -> Result<(), Error> {
        if self.body.get("stream") != Some(&Value::Bool(true)) {
            return Ok(());
        }
        Err(Error::Refused {
            kind: "invalid_request_error".to_owned(),
            message: "`stream`: an invocation has one answer, which comes whole: leave it out, or ask over a function URL \
                      with the invoke mode RESPONSE_STREAM, at `/v1/chat/completions`"
                .to_owned(),
        })
    }

    /// With `defaults` for what the body does not say. The answer is to come whole.
    pub(crate) fn over(mut self, defaults: &Map<String, Value>) -> Self {
        for (name, value) in defaults {
            self.body.entry(name).or_insert_with(|| value.clone());
        }
        for name in ["stream", "stream_options"] {
            self.body.remove(name);
        }
        self
    }

    /// As a request to the model called `model`, unless the body names one.
    pub(crate) fn request(self, model: &str) -> Request {
        let Self { path, mut body } = self;
        body.entry("model").or_insert_with(|| model.into());
        let body = serde_json::to_vec(&body).expect("what was read as JSON can be written");
        let mut request = Request::new(Body::from(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = path.parse().expect("it is one of ours");
        let kind = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, kind);
        request
    }
}

/// The answer's body.
pub(crate) async fn read(response: Response) -> Result<(StatusCode, Value), Error> {
    let status = response.status();
    let body = to_bytes(response.into_body(), usize::MAX).await;
    let body = body.map_err(|error| broken(&error))?;
    Ok((status, serde_json::from_slice(&body).map_err(|error| broken(&error))?))
}

fn broken(error: &dyn std::error::Error) -> Error {
    Error::Broken { reason: error.to_string() }
}

/// The field that tells, and the interface.
const INTERFACES: [(&str, &str); 3] = [
    ("messages", "/v1/chat/completions"),
    ("prompt", "/v1/completions"),
    ("input", "/v1/embeddings"),
];
