//! Why an invocation has no answer, and how the platform is told.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use lambda_runtime::Diagnostic;
use serde_json::{Value, json};

use super::objects::BoxError;
use crate::json;

/// Why an invocation has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its event is none that is known.
    #[error(
        "the event is not understood: {found}\nhint: understood are HTTP requests (API Gateway's \
         payload formats 1.0 and 2.0, function URLs, load balancers), bodies of requests \
         themselves (with `messages`, `prompt` or `input`), and S3's `ObjectCreated`, directly or \
         by SNS, SQS or EventBridge, where such bodies may stand as well"
    )]
    UnknownEvent {
        /// What it looks like.
        found: String,
    },
    /// Its event is known, but not well-formed.
    #[error("the event looks like {kind}, but: {reason}")]
    MalformedEvent {
        /// What it looks like.
        kind: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The request was refused; this is what a client over HTTP would be told.
    #[error("{message}")]
    Refused {
        /// OpenAI's type of the error.
        kind: String,
        /// Its message.
        message: String,
    },
    /// The platform would have ended it.
    #[error(
        "the time of the invocation ended before its answer\nhint: raise the function's timeout, \
         or ask for less: fewer tokens, smaller objects"
    )]
    Late,
    /// The answer is longer than the platform takes.
    #[error(
        "the answer has {bytes} bytes, the platform takes {limit_bytes}\nhint: ask for fewer \
         answers at once, or have them streamed"
    )]
    AnswerTooLong {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        limit_bytes: usize,
    },
    /// The answer ended before its end.
    #[error("the answer broke off: {reason}")]
    Broken {
        /// Why.
        reason: String,
    },
    /// There is something to be done that leaves results, and no place for them.
    #[error("there is no place for results\nhint: set RESULT_BUCKET, and RESULT_PREFIX")]
    NoResults,
    /// The place for results lies where new objects are noticed.
    #[error(
        "results at `{results}` would be noticed as new objects of `{sources}`\nhint: choose \
         another RESULT_BUCKET, or a RESULT_PREFIX apart from the objects"
    )]
    Loop {
        /// Where results go.
        results: String,
        /// Where objects come from.
        sources: String,
    },
    /// A template that nothing would be put into.
    #[error("the template `{template}` has no `{{text}}`")]
    Template {
        /// All of it.
        template: String,
    },
    /// An object could not be read, or a result not written.
    #[error("`{object}`: {source}")]
    Object {
        /// Which one.
        object: String,
        /// What the store said.
        source: BoxError,
    },
    /// An object that is none of the kinds that are read.
    #[error("`{object}` cannot be read: {reason}")]
    Content {
        /// Which one.
        object: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An entry was not answered, by no fault of its own.
    #[error("`{name}`, entry {entry}: {status}: {message}")]
    Unanswered {
        /// Of what it is an entry.
        name: String,
        /// Which one, from 0.
        entry: usize,
        /// The status of the answer.
        status: StatusCode,
        /// What it says.
        message: String,
    },
    /// Some of several things failed.
    #[error("{failed} of {total} failed: {first}")]
    Several {
        /// How many.
        failed: usize,
        /// Of how many.
        total: usize,
        /// Why the first of them did.
        first: String,
    },
    /// The model has failed: the process ends.
    #[error("the model has failed, this process ends: {reason}")]
    Ended {
        /// Why.
        reason: Arc<str>,
    },
    /// The runtime API does not answer as it should.
    #[error("the runtime API: {0}")]
    Runtime(lambda_runtime::Error),
}

impl Error {
    /// The error object in the body of an answer.
    pub(crate) fn of_refusal(body: &Value) -> Self {
        let text = |name: &str| body["error"][name].as_str().map(str::to_owned);
        Self::Refused {
            kind: text("type").unwrap_or_else(|| "server_error".to_owned()),
            message: text("message").unwrap_or_else(|| body.to_string()),
        }
    }

    /// What failed of `total`.
    pub(crate) fn of_works(failed: &[Self], total: usize) -> Option<Self> {
        let first = failed.first()?.to_string();
        Some(Self::Several { failed: failed.len(), total, first })
    }

    /// The same for a client over HTTP, as OpenAI's error object.
    pub(crate) fn response(&self) -> Response {
        let status = match self {
            Self::Late => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        json::response(status, &self.object())
    }

    pub(crate) fn object(&self) -> Value {
        json!({"error": {
            "message": self.to_string(), "type": "server_error", "param": null, "code": self.kind(),
        }})
    }

    /// What callers can tell errors apart by.
    fn kind(&self) -> &str {
        match self {
            Self::UnknownEvent { .. } => "unknown_event",
            Self::MalformedEvent { .. } => "malformed_event",
            Self::Refused { kind, .. } => kind,
            Self::Late => "deadline",
            Self::AnswerTooLong { .. } => "answer_too_long",
            Self::Broken { .. } => "broken",
            Self::NoResults | Self::Loop { .. } | Self::Template { .. } => "settings",
            Self::Object { .. } | Self::Content { .. } => "object",
            Self::Unanswered { .. } => "unanswered",
            Self::Several { .. } => "several",
            Self::Ended { .. } => "model_failed",
            Self::Runtime(_) => "runtime",
        }
    }
}

impl From<Error> for Diagnostic {
    fn from(error: Error) -> Self {
        Self { error_type: error.kind().to_owned(), error_message: error.to_string() }
    }
}
