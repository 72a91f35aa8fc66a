//! What a request asks for, as far as faults and the journal need to know: method, bucket, key,
//! bytes.
//!
//! The request itself is parsed and checked by s3s; this is a second, forgiving look at its head.

use std::ops::Range;

use hyper::{Method, header, http::request::Parts};

use crate::objects::Objects;

#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) method: Method,
    pub(crate) bucket: String,
    pub(crate) key: String,
    /// The bytes that the answer would hold, if it names any.
    pub(crate) range: Option<Range<u64>>,
}

impl Target {
    pub(crate) fn of(head: &Parts, objects: &Objects) -> Self {
        let path = percent_decoded(head.uri.path().trim_start_matches('/'));
        let (bucket, key) = path.split_once('/').unwrap_or((&path, ""));
        let size = || objects.find(bucket, key).map_or(0, |object| object.data.len() as u64);
        let asked = head.headers.get(header::RANGE).and_then(|range| range.to_str().ok());
        let range = asked.and_then(|asked| parse_range(asked, size));
        Self { method: head.method.clone(), bucket: bucket.to_owned(), key: key.to_owned(), range }
    }
}

/// The region that a request was signed for, from `Credential=KEY/DATE/REGION/s3/aws4_request`.
pub(crate) fn signed_region(head: &Parts) -> Option<&str> {
    let authorization = head.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (_, credential) = authorization.split_once("Credential=")?;
    let scope = credential.split(',').next()?;
    scope.rsplit('/').nth(2)
}

/// `bytes=A-B`, `bytes=A-`, `bytes=-N` of an object of `size` bytes.
fn parse_range(text: &str, size: impl Fn() -> u64) -> Option<Range<u64>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    match (first, last) {
        ("", suffix) => {
            let size = size();
            Some(size.saturating_sub(suffix.parse().ok()?)..size)
        }
        (first, "") => Some(first.parse().ok()?..size()),
        (first, last) => Some(first.parse().ok()?..last.parse::<u64>().ok()?.checked_add(1)?),
    }
}

fn percent_decoded(path: &str) -> String {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [byte, tail @ ..] = rest {
        let escaped = (*byte == b'%').then(|| tail.get(..2)).flatten();
        let value = escaped.and_then(|hex| u8::from_str_radix(str::from_utf8(hex).ok()?, 16).ok());
        decoded.push(value.unwrap_or(*byte));
        rest = if value.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(path: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = hyper::Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn paths_and_ranges_are_read_as_s3_reads_them() {
        let objects = Objects::new();
        objects.insert("models", "a b/c", "0123456789");
        for (range, expected) in [
            ("bytes=2-4", Some(2..5)),
            ("bytes=7-", Some(7..10)),
            ("bytes=-3", Some(7..10)),
            ("bytes=-30", Some(0..10)),
            ("bytes=x-", None),
            ("lines=1-2", None),
        ] {
            let target = Target::of(&head("/models/a%20b/c", &[("range", range)]), &objects);
            assert_eq!((target.bucket.as_str(), target.key.as_str()), ("models", "a b/c"));
            assert_eq!(target.range, expected, "{range}");
        }
        let target = Target::of(&head("/models?list-type=2", &[]), &objects);
        assert_eq!((target.bucket.as_str(), target.key.as_str()), ("models", ""));
    }

    #[test]
    fn broken_escapes_stay_as_they_are() {
        assert_eq!(percent_decoded("a%2Fb%c3%a9%zz%4"), "a/bé%zz%4");
    }

    #[test]
    fn the_signed_region_is_found() {
        let authorization = "AWS4-HMAC-SHA256 Credential=K/E/Y/20260101/eu-west-1/s3/aws4_request, \
                             SignedHeaders=host, Signature=0";
        let signed = head("/", &[("authorization", authorization)]);
        assert_eq!(signed_region(&signed), Some("eu-west-1"));
        assert_eq!(signed_region(&head("/", &[])), None);
        assert_eq!(signed_region(&head("/", &[("authorization", "Basic Zm9v")])), None);
    }
}
