//! Why a request is not answered, and how OpenAI's clients are told.

use std::sync::Arc;

use axum::http::header::{ACCEPT_ENCODING, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use firstlight_generate::Error as GenerateError;
use firstlight_generate::engine;
use serde::Serialize;

use crate::json;

/// Why a request is not answered.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The body does not parse.
    #[error("the body is not JSON: {source}")]
    Json {
        /// What the parser said, with line and column.
        source: serde_json::Error,
    },
    /// The body parses, but has no fields.
    #[error("the body is {found}, expected is an object")]
    NotAnObject {
        /// What it is.
        found: &'static str,
    },
    /// The body is declared as something else.
    #[error("the body's `Content-Type` is `{found}`, expected is `application/json`")]
    ContentType {
        /// As what.
        found: String,
    },
    /// The body is compressed.
    #[error("the body's `Content-Encoding` is `{found}`, expected is none")]
    ContentEncoding {
        /// How.
        found: String,
    },
    /// The body is longer than is read.
    #[error("the body is longer than {limit_bytes} bytes, which is the limit")]
    BodyTooLong {
        /// The most that is read.
        limit_bytes: usize,
    },
    /// The body did not arrive in time.
    #[error("the body did not arrive within {limit_s} s")]
    BodyTooSlow {
        /// How long was waited.
        limit_s: u64,
    },
    /// The body ended before its end.
    #[error("the body broke off: {source}")]
    BodyBroken {
        /// What the connection said.
        source: axum::Error,
    },
    /// A field that must be there is not.
    #[error("`{param}` is missing, expected is {expected}")]
    Missing {
        /// The field.
        param: String,
        /// What should stand there.
        expected: &'static str,
    },
    /// A field has the wrong type.
    #[error("`{param}` is {found}, expected is {expected}")]
    Type {
        /// The field.
        param: String,
        /// What stands there.
        found: &'static str,
        /// What should.
        expected: &'static str,
    },
    /// A field has a value that it must not have.
    #[error("`{param}` is `{value}`, allowed is {allowed}")]
    Value {
        /// The field.
        param: String,
        /// What stands there, cut to a length that can be read.
        value: String,
        /// What may.
        allowed: String,
    },
    /// A field asks for something that is not done here, and that would be missed.
    #[error("`{param}`: {reason}")]
    NotServed {
        /// The field.
        param: String,
        /// What is not done.
        reason: &'static str,
    },
    /// Another model than the one that is here.
    #[error("there is no model `{model}` here, but `{served}`")]
    UnknownModel {
        /// The name that was given.
        model: String,
        /// The name of the one that is here.
        served: String,
    },
    /// Nothing is at this address.
    #[error(
        "there is nothing at `{method} {path}`{}",
        .meant.as_ref().map(|meant| format!("\nhint: did you mean `{meant}`?")).unwrap_or_default()
    )]
    NoRoute {
        /// How it was asked.
        method: String,
        /// For what.
        path: String,
        /// What is at an address that ends as this one does.
        meant: Option<String>,
    },
    /// There is something, but not for this method.
    #[error("`{path}` does not know the method `{method}`")]
    Method {
        /// How it was asked.
        method: String,
        /// For what.
        path: String,
    },
    /// A key is needed, and none that is known was given.
    #[error("{}", if *.was_given {
        "the API key is not one of those that are known here"
    } else {
        "an API key is needed: send the header `Authorization: Bearer KEY`"
    })]
    Key {
        /// Whether there was one.
        was_given: bool,
    },
    /// The load failed: no request can be answered.
    #[error("the model could not be loaded: {reason}")]
    Load {
        /// The error of the load.
        reason: Arc<str>,
    },
    /// As many wait already as may.
    #[error(
        "{waiting} requests are waiting, which is the limit\nhint: try again in {retry_after_s} s"
    )]
    Busy {
        /// How many wait.
        waiting: usize,
        /// When to try again.
        retry_after_s: u64,
    },
    /// The process is about to end.
    #[error("this instance is stopping\nhint: try again, another one will answer")]
    Stopping,
    /// The engine has failed: no request can be answered any more.
    #[error("the engine has failed: {0}")]
    Engine(Arc<GenerateError>),
    /// The answer has failed, and the engine goes on.
    #[error("this answer failed, and others go on: {0}")]
    Answer(Arc<GenerateError>),
    /// The texts of the request cannot be worked with.
    #[error("{error}")]
    Prompt {
        /// The field that the texts are in.
        param: &'static str,
        /// What is wrong with them.
        error: Arc<GenerateError>,
    },
    /// An option cannot be worked with, or something is wrong with the model.
    #[error(transparent)]
    Generate(#[from] Arc<GenerateError>),
    /// The engine let go of the request without a word: a bug, or a process that ends.
    #[error("the answer was broken off")]
    BrokenOff,
}

impl From<GenerateError> for Refusal {
    fn from(error: GenerateError) -> Self {
        Self::Generate(Arc::new(error))
    }
}

/// What an error means to whoever asked.
struct Meaning {
    status: StatusCode,
    kind: &'static str,
    code: Option<&'static str>,
    param: Option<String>,
}

impl Meaning {
    fn new(status: StatusCode, code: Option<&'static str>) -> Self {
        let kind = match status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        Self { status, kind, code, param: None }
    }

    fn bad_request(code: Option<&'static str>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code)
    }

    fn of(self, param: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..self }
    }

    /// Where the error names no field of its own.
    fn or_of(self, param: &str) -> Self {
        if self.param.is_some() || self.status.is_server_error() { self } else { self.of(param) }
    }
}

impl Refusal {
    /// The field `param` asks for what is not done here.
    pub(crate) fn not_served(param: impl Into<String>, reason: &'static str) -> Self {
        Self::NotServed { param: param.into(), reason }
    }

    /// The job, whose prompt is in the field `param`, was not taken.
    pub(crate) fn of_job(refusal: engine::Refusal, param: &'static str) -> Self {
        match refusal {
            engine::Refusal::QueueFull { waiting, retry_after_s } => {
                Self::Busy { waiting, retry_after_s }
            }
            engine::Refusal::Stopping => Self::Stopping,
            engine::Refusal::Failed(error) => Self::of_engine(error),
            engine::Refusal::Prompt(error) => Self::Prompt { param, error },
        }
    }

    /// The engine has broken an answer off, or all of them.
    pub(crate) fn of_engine(error: Arc<GenerateError>) -> Self {
        match &*error {
            GenerateError::EngineStopped => Self::Stopping,
            GenerateError::Model(_)
            | GenerateError::EnginePanicked { .. }
            | GenerateError::EngineGone => Self::Engine(error),
            _ => Self::Answer(error),
        }
    }

    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.meaning().status
    }

    /// The answer's body: OpenAI's error object.
    pub(crate) fn object(&self) -> ErrorBody {
        let Meaning { kind, code, param, .. } = self.meaning();
        ErrorBody { error: ErrorObject { message: self.to_string(), kind, param, code } }
    }

    fn meaning(&self) -> Meaning {
        match self {
            Self::Json { .. } | Self::NotAnObject { .. } | Self::BodyBroken { .. } => {
                Meaning::bad_request(None)
            }
            Self::ContentType { .. } | Self::ContentEncoding { .. } => {
                Meaning::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, None)
            }
            Self::BodyTooLong { .. } => Meaning::new(StatusCode::PAYLOAD_TOO_LARGE, None),
            Self::BodyTooSlow { .. } => Meaning::new(StatusCode::REQUEST_TIMEOUT, None),
            Self::Missing { param, .. } => {
                Meaning::bad_request(Some("missing_required_parameter")).of(param)
            }
            Self::Type { param, .. } => Meaning::bad_request(Some("invalid_type")).of(param),
            Self::Value { param, .. } => Meaning::bad_request(Some("invalid_value")).of(param),
            Self::NotServed { param, .. } => {
                Meaning::bad_request(Some("unsupported_parameter")).of(param)
            }
            Self::UnknownModel { .. } => {
                Meaning::new(StatusCode::NOT_FOUND, Some("model_not_found")).of("model")
            }
            Self::NoRoute { .. } => Meaning::new(StatusCode::NOT_FOUND, Some("unknown_url")),
            Self::Method { .. } => Meaning::new(StatusCode::METHOD_NOT_ALLOWED, None),
            Self::Key { .. } => Meaning::new(StatusCode::UNAUTHORIZED, Some("invalid_api_key")),
            Self::Load { .. } => Meaning::new(StatusCode::SERVICE_UNAVAILABLE, Some("load_failed")),
            Self::Busy { .. } => Meaning::new(StatusCode::TOO_MANY_REQUESTS, Some("queue_full")),
            Self::Stopping => Meaning::new(StatusCode::SERVICE_UNAVAILABLE, Some("stopping")),
            Self::Engine(_) => Meaning::new(StatusCode::SERVICE_UNAVAILABLE, Some("engine_failed")),
            Self::Answer(error) => of_answer(error),
            Self::Prompt { param, error } => of_generate(error).or_of(param),
            Self::Generate(error) => of_generate(error),
            Self::BrokenOff => Meaning::new(StatusCode::INTERNAL_SERVER_ERROR, None),
        }
    }

    fn retry_after_s(&self) -> Option<u64> {
        match self {
            Self::Busy { retry_after_s, .. } => Some(*retry_after_s),
            Self::Stopping => Some(STOPPING_RETRY_S),
            _ => None,
        }
    }
}

/// Errors that the request's own texts and numbers cause are the caller's to mend, all others ours.
fn of_generate(error: &GenerateError) -> Meaning {
    use GenerateError as E;
    match error {
        E::PromptTooLong { .. }
        | E::PromptBeyondCache { .. }
        | E::TextBeyondModel { .. }
        | E::TextTooLong { .. } => Meaning::bad_request(Some("context_length_exceeded")),
        E::EmptyPrompt
        | E::EmptyText
        | E::IdOutOfRange { .. }
        | E::NoChatTemplate
        | E::TemplateRefuses { .. }
        | E::TemplateFails { .. }
        | E::TemplateEndless { .. }
        | E::TemplateOutput { .. } => Meaning::bad_request(None),
        E::OptionRange { option, .. } => Meaning::bad_request(Some("invalid_value")).of(*option),
        E::BiasId { .. } => Meaning::bad_request(Some("invalid_value")).of("logit_bias"),
        E::EmptyStopString { .. } | E::StopStringTooLong { .. } | E::TooManyStopStrings { .. } => {
            Meaning::bad_request(Some("invalid_value")).of("stop")
        }
        _ => Meaning::new(StatusCode::INTERNAL_SERVER_ERROR, None),
    }
}

/// Errors that are found where an answer is computed.
fn of_answer(error: &GenerateError) -> Meaning {
    let code = match error {
        GenerateError::BadLogits { .. } | GenerateError::NoFiniteLogit { .. } => Some("bad_logits"),
        GenerateError::BadEmbedding { .. } => Some("bad_embedding"),
        _ => None,
    };
    Meaning::new(StatusCode::INTERNAL_SERVER_ERROR, code)
}

/// OpenAI's error object, in the object that it comes in.
#[derive(Debug, Serialize)]
pub(crate) struct ErrorBody {
    error: ErrorObject,
}

#[derive(Debug, Serialize)]
struct ErrorObject {
    message: String,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<String>,
    code: Option<&'static str>,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = json::response(self.status(), &self.object());
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after_s() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        match self {
            Self::Key { .. } => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::ContentEncoding { .. } => {
                headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            }
            _ => {}
        }
        response
    }
}

/// By then another instance should have taken over, where one is to.
const STOPPING_RETRY_S: u64 = 1;
