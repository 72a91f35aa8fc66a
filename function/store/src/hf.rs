//! Models of the Hugging Face hub, by its resolve URLs.
//!
//! The hub answers a file's URL with a redirect to a signed one of its content network. The first request to a file
//! follows it and keeps where it led, so that each further range is one round trip; when the signature has expired the
//! hub is asked again. An object's version is its entity tag there, a hash of its contents: a file that changes while it
//! is read is noticed. A branch that moves *between* two files is not: name a commit where that matters.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Mutex;

use async_trait::async_trait;
use url::Url;

use crate::client::Client;
use crate::http::{Ask, BUNDLES, open, read};
use crate::{Body, Error, Object, Opened, Settings, Store};

/// The hub, unless another is named (`HF_ENDPOINT` is how users do).
const ENDPOINT: &str = "https://huggingface.co";

/// One revision of one repository.
pub struct Hub {
    client: Client,
    endpoint: Url,
    repository: String,
    revision: String,
    token: Option<String>,
    /// Where each file's first request was led to.
    resolved: Mutex<HashMap<String, Url>>,
}

impl Hub {
    /// A client of its own; nothing is requested yet.
    pub fn new(repository: &str, revision: &str, settings: &Settings) -> Result<Self, Error> {
        let given = |value: &Option<String>| value.clone().filter(|value| !value.trim().is_empty());
        let endpoint = given(&settings.hub_endpoint).unwrap_or_else(|| ENDPOINT.into());
        let token = given(&settings.hub_token);
        token.as_deref().map_or(Ok(()), check_token)?;
        Ok(Self {
            client: Client::new(&BUNDLES),
            endpoint: parse_endpoint(&endpoint)?,
            repository: repository.into(),
            revision: revision.into(),
            token,
            resolved: Mutex::default(),
        })
    }

    /// `{endpoint}/{owner}/{name}/resolve/{revision}/{file}`, the revision's slashes escaped.
    fn url(&self, key: &str) -> Url {
        let mut url = self.endpoint.clone();
        url.path_segments_mut()
            .expect("checked when the store was made")
            .pop_if_empty()
            .extend(self.repository.split('/'))
            .push("resolve")
            .push(&self.revision)
            .extend(key.split('/'));
        url
    }

    fn ask_hub(&self, key: &str) -> Ask {
        let authorization = self.token.as_ref().map(|token| format!("Bearer {token}"));
        Ask { url: self.url(key), authorization }
    }

    fn resolved(&self, key: &str) -> Option<Url> {
        self.resolved.lock().expect("no holder panics").get(key).cloned()
    }

    /// Remembers where a file is, unless the hub itself serves it: then its own URL, with the token, is the way.
    fn remember(&self, key: &str, url: Url) {
        if url.host_str() != self.endpoint.host_str() || url.port() != self.endpoint.port() {
            self.resolved.lock().expect("no holder panics").insert(key.into(), url);
        }
    }

    fn with_hint(&self, error: Error) -> Error {
        let hint = match &self.token {
            Some(_) => {
                "the token may not read this repository: accept its terms on the hub, or use another token"
            }
            None => "a gated or private repository needs HF_TOKEN; a wrong name answers 401 too",
        };
        match error {
            Error::Denied { object, status, code, .. } => {
                Error::Denied { object, status, code, hint: Some(hint.into()) }
            }
            other => other,
        }
    }
}

#[async_trait]
impl Store for Hub {
    fn locate(&self, key: &str) -> String {
        format!("hf://{}@{}/{key}", self.repository, self.revision)
    }

    async fn open(&self, key: &str, head_bytes: u64) -> Result<Opened, Error> {
        let answer = open(&self.client, self.ask_hub(key), key, self.locate(key), head_bytes).await;
        let (opened, url) = answer.map_err(|error| self.with_hint(error))?;
        self.remember(key, url);
        Ok(opened)
    }

    async fn read(&self, object: &Object, range: Range<u64>) -> Result<Box<dyn Body>, Error> {
        let key = &*object.key;
        if let Some(url) = self.resolved(key) {
            match read(&self.client, Ask::new(url), object, self.locate(key), range.clone()).await {
                Err(Error::Denied { .. }) => {} // the signature has expired: the hub gives a new one
                answer => return answer.map(|(body, _)| body),
            }
        }
        let answer = read(&self.client, self.ask_hub(key), object, self.locate(key), range).await;
        let (body, url) = answer.map_err(|error| self.with_hint(error))?;
        self.remember(key, url);
        Ok(body)
    }
}

/// It is a secret: what is wrong with it is said, and not what it is.
fn check_token(token: &str) -> Result<(), Error> {
    if token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    let reason = "it has a space, a line end or another character that no token has".into();
    Err(Error::Setting { what: "the hub's token", value: "HF_TOKEN".into(), reason })
}

fn parse_endpoint(endpoint: &str) -> Result<Url, Error> {
    let refuse = |reason: String| Error::Setting {
        what: "the hub's endpoint",
        value: endpoint.into(),
        reason,
    };
    let url = Url::parse(endpoint).map_err(|error| refuse(error.to_string()))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        _ => Err(refuse("it is not of the form `https://host`".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolve_urls_are_those_of_the_hub() {
        let hub = Hub::new("a/b", "refs/pr/1", &Settings::default()).unwrap();
        let url = hub.url("config.json");
        assert_eq!(url.as_str(), "https://huggingface.co/a/b/resolve/refs%2Fpr%2F1/config.json");
    }

    #[test]
    fn an_endpoint_that_is_none_is_named() {
        let settings = Settings { hub_endpoint: Some("localhost".into()), ..Settings::default() };
        let error = Hub::new("a/b", "main", &settings).err().unwrap().to_string();
        assert!(error.contains("`localhost`"), "{error}");
    }

    #[test]
    fn settings_without_a_value_are_none_and_a_token_is_not_printed() {
        let none = Some(String::new());
        let empty = Settings { hub_endpoint: none.clone(), hub_token: none, ..Settings::default() };
        let hub = Hub::new("a/b", "main", &empty).unwrap();
        assert!(hub.token.is_none() && hub.endpoint.as_str().starts_with(ENDPOINT));
        let settings = Settings { hub_token: Some("secret\n".into()), ..Settings::default() };
        let error = Hub::new("a/b", "main", &settings).err().unwrap().to_string();
        assert!(error.contains("`HF_TOKEN`") && !error.contains("secret"), "{error}");
    }
}
