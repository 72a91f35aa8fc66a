//! What can go wrong between a model's name and its bytes.

use std::ops::Range;

use crate::client::{Misconfigured, TlsError};

/// Every variant names the object and says what to do next where that is known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The argument is not a location.
    #[error(
        "`{text}` is not a model's location: {reason}\nhint: s3://bucket/prefix, https://host/path/, \
         hf://owner/name[@revision], or a folder"
    )]
    Location {
        /// What was given.
        text: String,
        /// Why not.
        reason: String,
    },
    /// A setting of a store cannot be used.
    #[error("{what} `{value}` cannot be used: {reason}")]
    Setting {
        /// Which setting.
        what: &'static str,
        /// Its value.
        value: String,
        /// Why not.
        reason: String,
    },
    /// No object of that name.
    #[error("`{object}` does not exist{}", hint_line(.hint.as_deref()))]
    NotFound {
        /// The object's full name.
        object: String,
        /// What to do next.
        hint: Option<String>,
    },
    /// No bucket of that name.
    #[error(
        "the bucket of `{object}` does not exist\nhint: check the bucket's name and the endpoint or account"
    )]
    NoBucket {
        /// The object's full name.
        object: String,
    },
    /// The server knows who asks, or not, and refuses.
    #[error("reading `{object}` was refused: {status} {code}{}", hint_line(.hint.as_deref()))]
    Denied {
        /// The object's full name.
        object: String,
        /// The HTTP status.
        status: u16,
        /// The server's own code, such as `SignatureDoesNotMatch`.
        code: String,
        /// What to do next.
        hint: Option<String>,
    },
    /// There is nothing to sign a request with.
    #[error(
        "no credentials to read `{object}` with: {reason}\nhint: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, \
         AWS_PROFILE, or a role (for SSO: `eval \"$(aws configure export-credentials --format env)\"`); \
         a public bucket is read with --s3-anonymous"
    )]
    Credentials {
        /// The object's full name.
        object: String,
        /// What the credential chain said.
        reason: String,
    },
    /// The bucket lives in another region than the request was signed for.
    #[error(
        "the bucket of `{object}` is in region {}, not `{asked}`\nhint: set AWS_REGION{}",
        .found.as_deref().map_or("another".into(), |region| format!("`{region}`")),
        .found.as_deref().map_or(String::new(), |region| format!("={region}"))
    )]
    Region {
        /// The object's full name.
        object: String,
        /// The region that was asked.
        asked: String,
        /// The region that the server named.
        found: Option<String>,
    },
    /// The object was replaced after the load was planned.
    #[error(
        "`{object}` was replaced while it was read: planned for {planned}, found {found}\nhint: start again; \
         write new versions of a model under a new prefix"
    )]
    Changed {
        /// The object's full name.
        object: String,
        /// The version that the plan was made for.
        planned: String,
        /// What is there now.
        found: String,
    },
    /// The server answers, but not with the range.
    #[error(
        "`{object}`: asked for bytes {}..{}, the server answered {status}{}\nhint: the server must answer range \
         requests with 206",
        range.start, range.end,
        .found.as_deref().map_or(String::new(), |found| format!(" with `Content-Range: {found}`"))
    )]
    Range {
        /// The object's full name.
        object: String,
        /// What was asked for.
        range: Range<u64>,
        /// The HTTP status.
        status: u16,
        /// The range that came instead.
        found: Option<String>,
    },
    /// The object holds nothing.
    #[error("`{object}` is empty (0 bytes)")]
    Empty {
        /// The object's full name.
        object: String,
    },
    /// A file that is read whole is too large to be what it should be.
    #[error("`{object}` has {size} bytes, more than the {limit} that such a file may have")]
    TooLarge {
        /// The object's full name.
        object: String,
        /// Bytes found.
        size: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The body ended before the range did.
    #[error("`{object}`: the body ended at byte {at} of {}..{}", range.start, range.end)]
    Short {
        /// The object's full name.
        object: String,
        /// What was asked for.
        range: Range<u64>,
        /// The byte reached.
        at: u64,
    },
    /// No byte came for too long.
    #[error("`{object}`: no byte for {after_s:.1} s at byte {at}")]
    Stalled {
        /// The object's full name.
        object: String,
        /// The byte reached.
        at: u64,
        /// Seconds waited.
        after_s: f64,
    },
    /// Bytes came, much slower than those of other requests.
    #[error("`{object}`: much slower than others at byte {at}")]
    Slow {
        /// The object's full name.
        object: String,
        /// The byte reached.
        at: u64,
    },
    /// The connection could not be made, or broke.
    #[error("`{object}`: {reason}")]
    Connection {
        /// The object's full name.
        object: String,
        /// The chain of causes.
        reason: String,
    },
    /// The server cannot prove who it is.
    #[error(
        "`{object}`: {reason}\nhint: SSL_CERT_FILE names a file of the root certificates to trust (for S3, \
         AWS_CA_BUNDLE before it)"
    )]
    Untrusted {
        /// The object's full name.
        object: String,
        /// What is wrong with its certificate.
        reason: String,
    },
    /// What this side was told makes no request possible.
    #[error("`{object}`: {reason}")]
    Misconfigured {
        /// The object's full name.
        object: String,
        /// What cannot be used.
        reason: String,
    },
    /// The server does not take an object.
    #[error(
        "writing `{object}` was refused: {status} {code}\nhint: the role needs s3:PutObject on it, and s3:GetObject to \
         see whether it is there"
    )]
    NotWritten {
        /// The object's full name.
        object: String,
        /// The HTTP status.
        status: u16,
        /// The server's own code.
        code: String,
    },
    /// Any other answer.
    #[error("`{object}`: the server answered {status} {code}")]
    Status {
        /// The object's full name.
        object: String,
        /// The HTTP status.
        status: u16,
        /// The server's own code and message.
        code: String,
    },
    /// A file of this machine cannot be read.
    #[error("`{object}` cannot be read: {source}")]
    File {
        /// The file's path.
        object: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Every attempt failed.
    #[error("gave up after {attempts} attempts: {last}")]
    GaveUp {
        /// Attempts altogether.
        attempts: u32,
        /// The last one's failure.
        last: Box<Error>,
    },
}

impl Error {
    /// Whether the answer may mean that there is no such object: where listing is not allowed, S3 answers 403 for what
    /// is not there.
    #[must_use]
    pub fn may_be_missing(&self) -> bool {
        match self {
            Self::NotFound { .. } => true,
            Self::Denied { status: 403, code, .. } => code == "AccessDenied" || code == "Forbidden",
            _ => false,
        }
    }

    /// Whether the server asked for fewer requests.
    pub(crate) fn is_throttling(&self) -> bool {
        matches!(self, Self::Status { status: 429 | 503, .. })
    }

    /// Whether another attempt may succeed.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Short { .. }
            | Self::Stalled { .. }
            | Self::Slow { .. }
            | Self::Connection { .. } => true,
            Self::Status { status, code, .. } => {
                matches!(status, 408 | 425 | 429 | 500..=599) || code.starts_with("RequestTimeout")
            }
            _ => false,
        }
    }
}

/// No answer came, for this reason.
pub(crate) fn unanswered(object: String, error: &(dyn std::error::Error + 'static)) -> Error {
    let reason = chain(error);
    if let Some(Misconfigured(reason)) = find(error) {
        return Error::Misconfigured { object, reason: reason.clone() };
    }
    match find::<TlsError>(error) {
        Some(TlsError { source: rustls::Error::InvalidCertificate(_), .. }) => {
            Error::Untrusted { object, reason }
        }
        _ => Error::Connection { object, reason },
    }
}

/// The first cause of this type.
pub(crate) fn find<'a, E: std::error::Error + 'static>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a E> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let found = error.downcast_ref::<E>().or_else(|| io?.downcast_ref());
        if found.is_some() {
            return found;
        }
        cause = error.source();
    }
    None
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

fn hint_line(hint: Option<&str>) -> String {
    hint.map_or(String::new(), |hint| format!("\nhint: {hint}"))
}
