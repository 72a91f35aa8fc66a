//! Who may ask: API keys, as `Authorization: Bearer KEY`.

use std::fmt;

use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use crate::{Refusal, Server};

/// The keys that are known. What they are is never shown.
#[derive(Clone, Default)]
pub struct Keys(Vec<String>);

impl Keys {
    /// One key a line; the space around it is not part of it. Blank lines are none, nor are those
    /// that begin with `#`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().map(str::trim);
        let keys = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(keys.map(str::to_owned).collect())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether everybody may ask.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those of both.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        if self.is_empty() {
            return Ok(());
        }
        let given = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        let was_given = given.is_some();
        let given = given.and_then(bearer).unwrap_or_default();
        // All are compared, each in a time that does not tell how much of it was right.
        let matches = |key: &String| key.as_bytes().ct_eq(given).unwrap_u8();
        let known = self.0.iter().map(matches).fold(0, |any, one| any | one);
        if known == 1 { Ok(()) } else { Err(Refusal::Key { was_given }) }
    }
}

/// What stands after the scheme, whose case does not matter.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = value.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then(|| key.trim_ascii())
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.0.len())
    }
}

/// Marks a request whose sender was found to be allowed before it came here.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trusted;

/// Lets those pass who have a key, or need none.
pub(crate) async fn check(State(server): State<Server>, request: Request, next: Next) -> Response {
    if request.extensions().get::<Trusted>().is_some() {
        return next.run(request).await;
    }
    match server.settings().keys.check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

const SCHEME: &[u8] = b"Bearer ";

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(keys: &Keys, given: Option<&'static str>) -> bool {
        let mut headers = HeaderMap::new();
        if let Some(given) = given {
            headers.insert(AUTHORIZATION, HeaderValue::from_static(given));
        }
        keys.check(&headers).is_ok()
    }

    #[test]
    fn one_of_the_keys_opens_and_nothing_else_does() {
        let keys = Keys::parse("# comment\n one\n\ntwo#2 \r\n \n  #").and(Keys::parse("three"));
        assert_eq!(keys.len(), 3);
        for given in ["Bearer one", "bearer two#2", "BEARER  three "] {
            assert!(passes(&keys, Some(given)), "{given}");
        }
        for given in [
            "Bearer # comment",
            "Bearer #",
            "",
            "one",
            "Bearer",
            "Bearer ",
            "Bearer o",
            "Bearer onee",
            "Basic one",
        ] {
            assert!(!passes(&keys, Some(given)), "{given}");
        }
        assert!(!passes(&keys, None));
        assert!(passes(&Keys::default(), None) && passes(&Keys::parse("\n"), Some("Bearer x")));
    }

    #[test]
    fn keys_are_not_shown() {
        assert_eq!(format!("{:?}", Keys::parse("secret")), "1 keys");
    }
}
