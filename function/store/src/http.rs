//! Objects behind any HTTP server that answers range requests, through our own `client`.

use std::io;
use std::ops::Range;
use std::task::{Context, Poll};

use async_trait::async_trait;
use url::Url;

use crate::client::{self, Client, Head, Request, Response, Target, basic_authorization};
use crate::error::unanswered;
use crate::location::without_query;
use crate::{Body, Error, Object, Opened, Store, Version};

/// The variables that may name root certificates, the first of them first.
pub(crate) const BUNDLES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];
const USER_AGENT: &str = concat!("firstlight/", env!("CARGO_PKG_VERSION"));
/// A hub leads to its content network in one or two; browsers give up after 20.
const LIMIT_REDIRECTS: u32 = 10;
/// What is read of an answer that nobody wants: making a new connection costs as much.
const LIMIT_REFUSAL_BYTES: usize = 64 << 10;

/// The files below one URL.
pub struct Http {
    client: Client,
    base: Url,
}

impl Http {
    /// A client of its own; nothing is requested yet.
    #[must_use]
    pub fn new(base: Url) -> Self {
        let client = Client::new(&BUNDLES);
        Self { client, base }
    }

    fn url(&self, key: &str) -> Url {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .expect("an http URL has a path")
            .pop_if_empty()
            .extend(key.split('/'));
        url
    }
}

#[async_trait]
impl Store for Http {
    fn locate(&self, key: &str) -> String {
        without_query(&self.url(key))
    }

    async fn open(&self, key: &str, head_bytes: u64) -> Result<Opened, Error> {
        let ask = Ask::new(self.url(key));
        let answer = open(&self.client, ask, key, self.locate(key), head_bytes).await;
        answer.map(|(opened, _)| opened)
    }

    async fn read(&self, object: &Object, range: Range<u64>) -> Result<Box<dyn Body>, Error> {
        let ask = Ask::new(self.url(&object.key));
        let answer = read(&self.client, ask, object, self.locate(&object.key), range).await;
        answer.map(|(body, _)| body)
    }
}

/// `Content-Range: bytes 0-99/1234` (RFC 9110, 14.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ContentRange {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) size: u64,
}

impl ContentRange {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (range, size) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (start, end) = (first.parse().ok()?, last.parse::<u64>().ok()?.checked_add(1)?);
        let size = size.parse().ok()?;
        (start < end && end <= size).then_some(Self { start, end, size })
    }
}

/// A request that is to be made: where, and in whose name.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) url: Url,
    pub(crate) authorization: Option<String>,
}

impl Ask {
    /// In the name that the URL itself gives, if it does.
    pub(crate) fn new(url: Url) -> Self {
        Self { authorization: basic_authorization(&url), url }
    }

    fn request(&self, range: &Range<u64>, version: Option<&Version>) -> io::Result<Request> {
        let bytes = format!("bytes={}-{}", range.start, range.end - 1);
        let condition = match version {
            Some(Version::ETag(tag)) if !tag.starts_with("W/") => Some(("If-Match", tag)),
            Some(Version::Modified(date)) => Some(("If-Unmodified-Since", date)),
            _ => None,
        };
        let headers = [
            Some(("Range", &bytes)),
            condition,
            self.authorization.as_ref().map(|authorization| ("Authorization", authorization)),
            Some(("User-Agent", &USER_AGENT.to_owned())),
            Some(("Accept", &"*/*".to_owned())),
        ];
        let owned = |(name, value): (&str, &String)| (name.to_owned(), value.clone());
        Ok(Request {
            method: "GET".into(),
            target: Target::parse(self.url.as_str())?,
            headers: headers.into_iter().flatten().map(owned).collect(),
            body: Vec::new(),
        })
    }

    /// The request that a redirect to `location` asks for. What was told to one server is not told to another; what was
    /// asked in secret is not asked in the open.
    fn redirected(self, location: &str) -> Option<Self> {
        let url = self.url.join(location).ok()?;
        let descends = self.url.scheme() == "https" && url.scheme() != "https";
        if descends || !matches!(url.scheme(), "http" | "https") {
            return None;
        }
        let authorization = self.authorization.filter(|_| url.origin() == self.url.origin());
        Some(Self { authorization: basic_authorization(&url).or(authorization), url })
    }
}

/// The body of an answer, and whose it is.
pub(crate) struct Received {
    body: client::Body,
    object: String,
}

impl Received {
    pub(crate) fn boxed(body: client::Body, object: String) -> Box<dyn Body> {
        Box::new(Self { body, object })
    }
}

impl Body for Received {
    fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
        memory: &mut [u8],
    ) -> Poll<Result<usize, Error>> {
        let received = self.body.poll_receive(context, memory);
        received.map_err(|error| unanswered(self.object.clone(), &error))
    }

    fn copied_bytes(&self) -> u64 {
        self.body.copied_bytes()
    }
}

/// Sends an opening request; also gives the URL that answered, behind all redirects.
pub(crate) async fn open(
    client: &Client,
    ask: Ask,
    key: &str,
    name: String,
    head_bytes: u64,
) -> Result<(Opened, Url), Error> {
    let range = 0..head_bytes;
    let (response, url) = send(client, ask, &name, &range, None).await?;
    let Response { head, body } = response;
    let length = head.get("content-length").and_then(|length| length.parse().ok());
    let found = match length {
        // A server may answer a range from the first byte on with all there is; whoever reads stops where it wants.
        Some(size) if head.status == 200 && size > 0 => ContentRange { start: 0, end: size, size },
        _ => checked_range(&head, &name, &range)?,
    };
    let object = Object { key: key.into(), size: found.size, version: version(&head) };
    Ok((Opened { object, head: Received::boxed(body, name) }, url))
}

/// Sends a request for a range of the version that `object` names; also gives the URL that answered.
pub(crate) async fn read(
    client: &Client,
    ask: Ask,
    object: &Object,
    name: String,
    range: Range<u64>,
) -> Result<(Box<dyn Body>, Url), Error> {
    let (response, url) = send(client, ask, &name, &range, Some(&object.version)).await?;
    let Response { head, body } = response;
    let found = checked_range(&head, &name, &range)?;
    let version = version(&head);
    if version != object.version || found.size != object.size {
        return Err(Error::Changed {
            object: name,
            planned: format!("{} of {} bytes", object.version, object.size),
            found: format!("{version} of {} bytes", found.size),
        });
    }
    Ok((Received::boxed(body, name), url))
}

async fn send(
    client: &Client,
    mut ask: Ask,
    name: &str,
    range: &Range<u64>,
    version: Option<&Version>,
) -> Result<(Response, Url), Error> {
    let broken = |error| unanswered(name.to_owned(), &error);
    for _ in 0..=LIMIT_REDIRECTS {
        let request = ask.request(range, version).map_err(broken)?;
        let Response { head, body } = client.send(&request).await.map_err(broken)?;
        let status = head.status;
        if status == 206 || (status == 200 && version.is_none()) {
            return Ok((Response { head, body }, ask.url));
        }
        if status >= 300 {
            // A short answer is read to its end, so that its connection can be used again.
            drop(body.collect(LIMIT_REFUSAL_BYTES).await);
        }
        let location = head.get("location").filter(|_| matches!(status, 301..=303 | 307 | 308));
        let Some(location) = location else { return Err(failure(status, name, range, version)) };
        ask = ask.redirected(location).ok_or_else(|| Error::Status {
            object: name.into(),
            status,
            code: "with a redirect that is not followed".into(),
        })?;
    }
    let code = format!("more than {LIMIT_REDIRECTS} times with a redirect");
    Err(Error::Status { object: name.into(), status: 302, code })
}

fn failure(status: u16, name: &str, range: &Range<u64>, version: Option<&Version>) -> Error {
    let object = name.to_owned();
    let code = String::new();
    match status {
        404 | 410 => Error::NotFound { object, hint: None },
        401 | 403 => Error::Denied { object, status, code, hint: None },
        412 => Error::Changed {
            object,
            planned: version.map_or(String::new(), ToString::to_string),
            found: "another version".into(),
        },
        416 if range.start == 0 => Error::Empty { object },
        200 | 416 => Error::Range { object, range: range.clone(), status, found: None },
        status => Error::Status { object, status, code },
    }
}

/// A 206 must be the range that was asked for; it may be shorter only where the object ends.
fn checked_range(head: &Head, name: &str, range: &Range<u64>) -> Result<ContentRange, Error> {
    let text = head.get("content-range");
    let found = text.and_then(ContentRange::parse);
    found
        .filter(|found| found.start == range.start && found.end == range.end.min(found.size))
        .ok_or_else(|| Error::Range {
            object: name.into(),
            range: range.clone(),
            status: head.status,
            found: text.map(str::to_owned),
        })
}

fn version(head: &Head) -> Version {
    let header = |name| head.get(name).map(str::to_owned);
    let tag = header("etag").map(Version::ETag);
    tag.or_else(|| header("last-modified").map(Version::Modified)).unwrap_or(Version::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read_and_nonsense_is_not() {
        let read = ContentRange::parse("bytes 5-9/10");
        assert_eq!(read, Some(ContentRange { start: 5, end: 10, size: 10 }));
        for text in ["bytes 5-9/*", "bytes */10", "5-9/10", "bytes 9-5/10", "bytes 0-10/10", ""] {
            assert_eq!(ContentRange::parse(text), None, "{text}");
        }
        assert_eq!(ContentRange::parse("bytes 0-18446744073709551615/1"), None);
    }

    #[test]
    fn keys_go_behind_the_path_and_before_the_query() {
        let base = Url::parse("https://h/models/m/?sig=a%2Fb").unwrap();
        let store = Http::new(base);
        assert_eq!(store.url("config.json").as_str(), "https://h/models/m/config.json?sig=a%2Fb");
        assert_eq!(store.locate("config.json"), "https://h/models/m/config.json");
    }
    #[test]
    fn redirects_keep_secrets() {
        let ask =
            || Ask { authorization: Some("Bearer x".into()), ..Ask::new(url("https://h/a/b")) };
        let url_of = |location| ask().redirected(location).map(|ask| ask.url.to_string());
        let told = |location| ask().redirected(location).and_then(|ask| ask.authorization);
        assert_eq!(url_of("../c?x"), Some("https://h/c?x".into()));
        assert_eq!(told("/c"), Some("Bearer x".into()));
        for elsewhere in ["https://other/c", "https://h:8443/c", "//cdn.h/c"] {
            assert_eq!(told(elsewhere), None, "{elsewhere}");
        }
        for refused in ["http://h/c", "file:///etc/passwd", "https://"] {
            assert_eq!(url_of(refused), None, "{refused}");
        }
    }

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }
}
