//! Objects behind any HTTP server that answers range requests, through reqwest.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use reqwest::header::{
    CONTENT_RANGE, ETAG, HeaderMap, HeaderName, IF_MATCH, IF_UNMODIFIED_SINCE, LAST_MODIFIED, RANGE,
};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use url::Url;

use crate::error::chain;
use crate::location::without_query;
use crate::settings::{CONNECT, IDLE_CONNECTION};
use crate::{Chunks, Error, Object, Opened, Store, Version};

/// The files below one URL.
pub struct Http {
    client: Client,
    base: Url,
}

impl Http {
    /// A client of its own; nothing is requested yet.
    pub fn new(base: Url) -> Result<Self, Error> {
        Ok(Self { client: client()?, base })
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
        let request = self.client.get(self.url(key));
        let (opened, _) = open(request, key, self.locate(key), head_bytes).await?;
        Ok(opened)
    }

    async fn read(&self, object: &Object, range: Range<u64>) -> Result<Chunks, Error> {
        let request = self.client.get(self.url(&object.key));
        read(request, object, self.locate(&object.key), range).await.map(|(chunks, _)| chunks)
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

pub(crate) fn client() -> Result<Client, Error> {
    // A provider that another part of the process has installed serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .user_agent(concat!("firstlight/", env!("CARGO_PKG_VERSION")))
        .http1_only()
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE_CONNECTION)
        .build()
        .map_err(|error| Error::Setting {
            what: "the HTTP client",
            value: String::new(),
            reason: chain(&error),
        })
}

/// Sends an opening request; also gives the URL that answered, behind all redirects.
pub(crate) async fn open(
    request: RequestBuilder,
    key: &str,
    name: String,
    head_bytes: u64,
) -> Result<(Opened, Url), Error> {
    let range = 0..head_bytes;
    let response = send(request, &name, &range, None).await?;
    let found = match response.content_length() {
        // A server may answer a range from the first byte on with all there is; whoever reads stops where it wants.
        Some(size) if response.status() == StatusCode::OK && size > 0 => {
            ContentRange { start: 0, end: size, size }
        }
        _ => checked_range(&response, &name, &range)?,
    };
    let version = version(response.headers());
    let object = Object { key: key.into(), size: found.size, version };
    let url = response.url().clone();
    Ok((Opened { object, head: chunks(response, name) }, url))
}

/// Sends a request for a range of the version that `object` names; also gives the URL that answered.
pub(crate) async fn read(
    request: RequestBuilder,
    object: &Object,
    name: String,
    range: Range<u64>,
) -> Result<(Chunks, Url), Error> {
    let response = send(request, &name, &range, Some(&object.version)).await?;
    let found = checked_range(&response, &name, &range)?;
    let version = version(response.headers());
    if version != object.version || found.size != object.size {
        return Err(Error::Changed {
            object: name,
            planned: format!("{} of {} bytes", object.version, object.size),
            found: format!("{version} of {} bytes", found.size),
        });
    }
    let url = response.url().clone();
    Ok((chunks(response, name), url))
}

async fn send(
    request: RequestBuilder,
    name: &str,
    range: &Range<u64>,
    version: Option<&Version>,
) -> Result<Response, Error> {
    let mut request = request.header(RANGE, format!("bytes={}-{}", range.start, range.end - 1));
    request = match version {
        Some(Version::ETag(tag)) if !tag.starts_with("W/") => request.header(IF_MATCH, tag),
        Some(Version::Modified(date)) => request.header(IF_UNMODIFIED_SINCE, date),
        _ => request,
    };
    let response = request.send().await.map_err(|error| Error::Connection {
        object: name.into(),
        reason: chain(&error.without_url()),
    })?;
    match response.status() {
        StatusCode::PARTIAL_CONTENT => Ok(response),
        StatusCode::OK if version.is_none() => Ok(response),
        status => Err(failure(status, name, range, version)),
    }
}

fn failure(status: StatusCode, name: &str, range: &Range<u64>, version: Option<&Version>) -> Error {
    let object = name.to_owned();
    let code = status.canonical_reason().unwrap_or_default().to_owned();
    match status.as_u16() {
        404 | 410 => Error::NotFound { object, hint: None },
        401 | 403 => Error::Denied { object, status: status.as_u16(), code, hint: None },
        412 => Error::Changed {
            object,
            planned: version.map_or(String::new(), ToString::to_string),
            found: "another version".into(),
        },
        416 if range.start == 0 => Error::Empty { object },
        200 | 416 => {
            Error::Range { object, range: range.clone(), status: status.as_u16(), found: None }
        }
        status => Error::Status { object, status, code },
    }
}

/// A 206 must be the range that was asked for; it may be shorter only where the object ends.
fn checked_range(
    response: &Response,
    name: &str,
    range: &Range<u64>,
) -> Result<ContentRange, Error> {
    let text = header(response.headers(), CONTENT_RANGE);
    let found = text.as_deref().and_then(ContentRange::parse);
    found
        .filter(|found| found.start == range.start && found.end == range.end.min(found.size))
        .ok_or_else(|| Error::Range {
            object: name.into(),
            range: range.clone(),
            status: response.status().as_u16(),
            found: text,
        })
}

fn version(headers: &HeaderMap) -> Version {
    let tag = header(headers, ETAG).map(Version::ETag);
    tag.or_else(|| header(headers, LAST_MODIFIED).map(Version::Modified))
        .unwrap_or(Version::Unknown)
}

fn header(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn chunks(response: Response, name: String) -> Chunks {
    let name: Arc<str> = name.into();
    stream::unfold((response, name), |(mut response, name)| async move {
        let chunk = response.chunk().await.map_err(|error| Error::Connection {
            object: name.to_string(),
            reason: chain(&error.without_url()),
        });
        Some((chunk.transpose()?, (response, name)))
    })
    .boxed()
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
        let store = Http::new(base).unwrap();
        assert_eq!(store.url("config.json").as_str(), "https://h/models/m/config.json?sig=a%2Fb");
        assert_eq!(store.locate("config.json"), "https://h/models/m/config.json");
    }
}
