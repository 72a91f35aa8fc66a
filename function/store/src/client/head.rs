//! The head of an answer, and what it says of the body that follows (RFC 9112, 6.3 and 9.3).

use std::io;

use super::body::Framing;
use super::invalid;

/// S3's heads have less than 1 KiB; servers limit those of requests to 8 to 64 KiB.
pub(super) const LIMIT_BYTES: usize = 64 << 10;
/// hyper's limit, too.
const LIMIT_HEADERS: usize = 100;

/// A status and headers.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    /// The version's minor number: 1 keeps connections open unless it says otherwise.
    minor: u8,
}

impl Head {
    /// The head at the beginning of `bytes` and its length, or nothing if it is not complete. `looked_at` bytes are known
    /// not to hold its end.
    pub(super) fn parse(bytes: &[u8], looked_at: usize) -> io::Result<Option<(Self, usize)>> {
        let begins = &bytes[..bytes.len().min(5)];
        if !b"HTTP/".starts_with(begins) {
            return Err(invalid("the answer is not HTTP/1.1"));
        }
        let from = looked_at.saturating_sub(3);
        if !bytes[from..].windows(4).any(|end| end == b"\r\n\r\n") {
            return match bytes.len() {
                ..LIMIT_BYTES => Ok(None),
                _ => Err(invalid(format!("the answer's head has more than {LIMIT_BYTES} bytes"))),
            };
        }
        let mut headers = [httparse::EMPTY_HEADER; LIMIT_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let refuse = |error| invalid(format!("the answer's head cannot be read: {error}"));
        let httparse::Status::Complete(length) = response.parse(bytes).map_err(refuse)? else {
            return Err(invalid("the answer's head ends before its end"));
        };
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let headers = response.headers.iter().map(|h| (h.name.to_owned(), text(h.value)));
        let (status, minor) = (response.code.unwrap_or(0), response.version.unwrap_or(0));
        Ok(Some((Self { status, headers: headers.collect(), minor }, length)))
    }

    /// The first header of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// All headers, names as they came.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Whether `token` is among the values of a header that holds a list.
    fn lists(&self, name: &str, token: &str) -> bool {
        let mut tokens = self.all(name).flat_map(|value| value.split(','));
        tokens.any(|found| found.trim().eq_ignore_ascii_case(token))
    }

    /// An answer before the answer.
    pub(super) fn is_interim(&self) -> bool {
        matches!(self.status, 100..=199)
    }

    /// Whether another request may follow on the connection.
    pub(super) fn keeps_alive(&self) -> bool {
        let ambiguous =
            self.get("transfer-encoding").is_some() && self.get("content-length").is_some();
        self.minor == 1 && !self.lists("connection", "close") && !ambiguous
    }

    /// Where the body ends.
    pub(super) fn framing(&self, method: &str) -> io::Result<Framing> {
        if method == "HEAD" || matches!(self.status, 204 | 304) {
            return Ok(Framing::Length(0));
        }
        if let Some(coding) = self.get("transfer-encoding") {
            return match coding.trim() {
                chunked if chunked.eq_ignore_ascii_case("chunked") => Ok(Framing::chunked()),
                other => Err(invalid(format!("the answer's transfer coding `{other}` is unknown"))),
            };
        }
        let mut lengths = self.all("content-length");
        let Some(length) = lengths.next() else { return Ok(Framing::UntilClose) };
        if lengths.any(|other| other != length) {
            return Err(invalid("the answer has two lengths"));
        }
        let digits = !length.is_empty() && length.bytes().all(|digit| digit.is_ascii_digit());
        let parsed = length.parse().ok().filter(|_| digits).map(Framing::Length);
        parsed.ok_or_else(|| invalid(format!("the answer's length `{length}` is not a number")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Head {
        Head::parse(text.as_bytes(), 0).unwrap().unwrap().0
    }

    fn error(text: &str) -> String {
        let head = Head::parse(text.as_bytes(), 0);
        let framing = head.and_then(|head| head.expect("it is complete").0.framing("GET"));
        framing.unwrap_err().to_string()
    }

    #[test]
    fn a_head_is_read_wherever_it_is_cut() {
        let text = b"HTTP/1.1 206 Partial Content\r\nETag: \"a\"\r\ncontent-LENGTH: 3\r\n\r\nabc";
        for cut in 0..text.len() - 3 {
            assert!(Head::parse(&text[..cut], 0).unwrap().is_none(), "{cut}");
            let (head, length) = Head::parse(text, cut).unwrap().unwrap();
            assert_eq!((head.status, length), (206, text.len() - 3));
            assert_eq!(head.get("etag"), Some("\"a\""));
            assert!(matches!(head.framing("GET"), Ok(Framing::Length(3))));
        }
    }

    #[test]
    fn connections_are_kept_by_the_rules() {
        for (text, kept) in [
            ("HTTP/1.1 200 OK\r\n\r\n", true),
            ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", false),
            ("HTTP/1.1 200 OK\r\nConnection: foo, Close\r\n\r\n", false),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", false),
        ] {
            assert_eq!(head(text).keeps_alive(), kept, "{text}");
        }
    }

    #[test]
    fn nonsense_is_named() {
        let with = |header: &str| format!("HTTP/1.1 200 OK\r\n{header}\r\n\r\n");
        assert!(error("SSH-2.0-OpenSSH\r\n").contains("not HTTP"));
        assert!(error(&with("Content-Length: +3")).contains("`+3`"));
        assert!(error(&with("Content-Length: 99999999999999999999")).contains("not a number"));
        assert!(error(&with("Content-Length: 3\r\nContent-Length: 4")).contains("two lengths"));
        assert!(error(&with("Transfer-Encoding: gzip")).contains("`gzip`"));
        assert!(error(&with("no colon")).contains("cannot be read"));
        assert!(error(&with(&"a: b\r\n".repeat(101))).contains("too many headers"));
        assert!(
            error(&format!("HTTP/1.1 200 OK\r\na: {}", "b".repeat(LIMIT_BYTES))).contains("65536")
        );
    }
}
