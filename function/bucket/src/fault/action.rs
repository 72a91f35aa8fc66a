//! What a rule does to a request.

use std::time::Duration;

use bytes::Bytes;

/// What happens to a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// It is answered with this status and S3 error code, unread.
    Error {
        /// Such as 503.
        status: u16,
        /// Such as `SlowDown`.
        code: &'static str,
    },
    /// 400 `AuthorizationHeaderMalformed`: what S3 says to a signature for another region than this
    /// one, the bucket's.
    WrongRegion(String),
    /// 301 `PermanentRedirect`: what an endpoint of S3 says where the bucket lives in another
    /// region, this one.
    Redirect(String),
    /// The connection is reset (RST) after so many bytes of the body, or after half of a shorter
    /// body.
    ResetAfter(u64),
    /// Nothing more is sent after so many bytes of the body, or after half of a shorter one, for as
    /// long as the client waits.
    StallAfter(u64),
    /// The connection is closed in good order (FIN) after so many bytes of the body, or after half
    /// of a shorter one.
    TruncateAfter(u64),
    /// First byte and body take `factor` times as long as they would for a connection that has the
    /// link for itself; without a link, as on S3 (75 MB/s).
    Slower {
        /// 20.0 is S3's slowest 1 %.
        factor: f64,
    },
    /// The answer begins so much later; `Duration::MAX` is never.
    Delay(Duration),
    /// The object, if it is there, gets these contents, and the request sees them.
    Replace(Bytes),
}

impl Action {
    /// 503: S3 asks for fewer requests.
    #[must_use]
    pub const fn slow_down() -> Self {
        Self::Error { status: 503, code: "SlowDown" }
    }

    /// 500.
    #[must_use]
    pub const fn internal_error() -> Self {
        Self::Error { status: 500, code: "InternalError" }
    }

    /// 403.
    #[must_use]
    pub const fn access_denied() -> Self {
        Self::Error { status: 403, code: "AccessDenied" }
    }

    pub(super) fn is_possible(&self) -> bool {
        match self {
            Self::Error { status, .. } => (300..600).contains(status),
            Self::WrongRegion(region) | Self::Redirect(region) => {
                region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            }
            Self::Slower { factor } => *factor > 0.0 && *factor <= SLOWER_MAX,
            _ => true,
        }
    }
}

/// A first byte of a second then comes after 12 days.
const SLOWER_MAX: f64 = 1e6;
