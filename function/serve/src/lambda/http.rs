//! HTTP as events: requests and responses in the dialects of those who invoke the function.
//!
//! | dialect | request | response |
//! |---|---|---|
//! | API Gateway 1.0 (REST) | headers and parameters in lists | headers in lists |
//! | API Gateway 2.0 (HTTP), function URL | headers joined by commas, cookies apart | the same |
//! | load balancer | lists, or the last of each, as the target group says | as the request |

use std::collections::BTreeMap;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Error;
use super::deadline::Deadline;

/// A request, and how its response is to be written.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) dialect: Dialect,
    pub(crate) request: Request,
}

/// Who asks, as far as it matters for the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// API Gateway, payload format 1.0.
    Gateway1,
    /// API Gateway, payload format 2.0: its HTTP APIs never stream.
    Gateway2,
    /// A function URL, which speaks format 2.0 as well.
    Url,
    /// A load balancer.
    Balancer {
        /// Whether headers are lists.
        has_lists: bool,
    },
}

impl Exchange {
    /// What an event of one of the dialects asks for.
    pub(crate) fn parse(event: Map<String, Value>) -> Result<Self, Error> {
        let event: Written = serde_json::from_value(Value::Object(event))
            .map_err(|source| malformed(source.to_string()))?;
        let dialect = event.dialect();
        Ok(Self { dialect, request: event.request()? })
    }
}

/// The fields that matter, of all dialects.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    http_method: Option<String>,
    path: Option<String>,
    raw_path: Option<String>,
    raw_query_string: Option<String>,
    headers: Option<BTreeMap<String, Option<String>>>,
    multi_value_headers: Option<BTreeMap<String, Option<Vec<String>>>>,
    query_string_parameters: Option<BTreeMap<String, Option<String>>>,
    multi_value_query_string_parameters: Option<BTreeMap<String, Option<Vec<String>>>>,
    cookies: Option<Vec<String>>,
    body: Option<String>,
    is_base64_encoded: Option<bool>,
    request_context: Surroundings,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Surroundings {
    http: Option<RequestLine>,
    elb: Option<Value>,
    stage: Option<String>,
    domain_name: Option<String>,
}

#[derive(Deserialize)]
struct RequestLine {
    method: String,
}

impl Written {
    fn dialect(&self) -> Dialect {
        let context = &self.request_context;
        let domain = context.domain_name.as_deref().unwrap_or_default();
        match (&context.elb, &context.http) {
            (Some(_), _) => Dialect::Balancer { has_lists: self.multi_value_headers.is_some() },
            (None, Some(_)) if domain.contains(".execute-api.") => Dialect::Gateway2,
            (None, Some(_)) => Dialect::Url,
            (None, None) => Dialect::Gateway1,
        }
    }

    fn request(self) -> Result<Request, Error> {
        let (uri, headers) = (self.uri(), self.header_map());
        let method = self.request_context.http.map(|line| line.method).or(self.http_method);
        let body = match self.body {
            Some(text) if self.is_base64_encoded == Some(true) => BASE64_STANDARD
                .decode(text)
                .map_err(|source| malformed(format!("its `body` is not base64: {source}")))?,
            Some(text) => text.into_bytes(),
            None => Vec::new(),
        };
        let mut request = Request::new(Body::from(body));
        let method = method.unwrap_or_default();
        *request.method_mut() =
            method.parse().map_err(|_| malformed(format!("`{method}` is no method")))?;
        *request.uri_mut() =
            uri.parse().map_err(|_| malformed(format!("`{uri}` is no path and query")))?;
        *request.headers_mut() = headers;
        Ok(request)
    }

    fn uri(&self) -> String {
        let raw = self.raw_path.as_deref().or(self.path.as_deref()).unwrap_or("/");
        let path = utf8_percent_encode(self.without_stage(raw), &NOT_IN_PATHS).to_string();
        let path = if path.starts_with('/') { path } else { format!("/{path}") };
        match self.query() {
            query if query.is_empty() => path,
            query => format!("{path}?{query}"),
        }
    }

    /// Format 2.0 begins its path with the stage, where that has a name.
    fn without_stage<'a>(&self, raw: &'a str) -> &'a str {
        let stage = self.request_context.stage.as_deref().filter(|_| self.raw_path.is_some());
        let rest = stage.and_then(|stage| raw.strip_prefix('/')?.strip_prefix(stage));
        rest.filter(|rest| rest.is_empty() || rest.starts_with('/')).unwrap_or(raw)
    }

    /// API Gateway decodes parameters, load balancers do not.
    fn query(&self) -> String {
        if let Some(query) = &self.raw_query_string {
            return query.clone();
        }
        let encoded = |text: &str| match self.request_context.elb {
            Some(_) => text.to_owned(),
            None => utf8_percent_encode(text, NON_ALPHANUMERIC).to_string(),
        };
        let lists = self.multi_value_query_string_parameters.as_ref();
        let pairs = pairs(lists, self.query_string_parameters.as_ref());
        let pairs = pairs.map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
        pairs.collect::<Vec<_>>().join("&")
    }

    /// What is no header is left out: it came over HTTP, so there is none.
    fn header_map(&self) -> HeaderMap {
        let pairs = pairs(self.multi_value_headers.as_ref(), self.headers.as_ref());
        let headers = pairs.filter_map(|(name, value)| {
            Some((name.parse::<HeaderName>().ok()?, HeaderValue::from_str(value).ok()?))
        });
        let cookies = self.cookies.iter().filter(|cookies| !cookies.is_empty());
        let cookies =
            cookies.filter_map(|it| Some((COOKIE, HeaderValue::from_str(&it.join("; ")).ok()?)));
        let mut map = HeaderMap::new();
        for (name, value) in headers.chain(cookies) {
            map.append(name, value);
        }
        map
    }
}

/// Names and values: of the lists, where there are any, since the other form has the last of each.
fn pairs<'a>(
    lists: Option<&'a BTreeMap<String, Option<Vec<String>>>>,
    single: Option<&'a BTreeMap<String, Option<String>>>,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let single = single.filter(|_| lists.is_none());
    let lists = lists.into_iter().flatten().flat_map(|(name, values)| {
        let values = values.iter().flatten();
        values.map(move |value| (name.as_str(), value.as_str()))
    });
    let single = single.into_iter().flatten();
    lists.chain(single.filter_map(|(name, value)| Some((name.as_str(), value.as_deref()?))))
}

impl Dialect {
    /// Whether the platform may stream to whoever asks.
    pub(crate) fn can_stream(self) -> bool {
        matches!(self, Self::Gateway1 | Self::Url)
    }

    /// A response whose body is awaited.
    pub(crate) async fn whole(self, response: Response, deadline: Deadline) -> Value {
        let whole = self.try_whole(response, deadline).await;
        whole.unwrap_or_else(|error| {
            let (parts, _) = error.response().into_parts();
            let body = error.object().to_string();
            self.written(parts.status, &parts.headers, body.as_bytes())
        })
    }

    async fn try_whole(self, response: Response, deadline: Deadline) -> Result<Value, Error> {
        let (parts, body) = response.into_parts();
        let body = deadline.bound(to_bytes(body, usize::MAX)).await?;
        let body = body.map_err(|error| Error::Broken { reason: error.to_string() })?;
        let written = self.written(parts.status, &parts.headers, &body);
        check_length(&written, self.limit_bytes())?;
        Ok(written)
    }

    fn written(self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Value {
        let (body, is_base64) = match std::str::from_utf8(body) {
            Ok(text) => (text.to_owned(), false),
            Err(_) => (BASE64_STANDARD.encode(body), true),
        };
        let mut written = json!({
            "statusCode": status.as_u16(), "body": body, "isBase64Encoded": is_base64,
        });
        let mut set = |name: &str, value: Value| written[name] = value;
        match self {
            Self::Gateway1 | Self::Balancer { has_lists: true } => {
                set("multiValueHeaders", lists(headers));
            }
            Self::Gateway2 | Self::Url => {
                set("headers", joined(headers));
                set("cookies", cookies(headers).into());
            }
            Self::Balancer { has_lists: false } => set("headers", joined(headers)),
        }
        if let Self::Balancer { .. } = self {
            let reason = status.canonical_reason().unwrap_or("Unknown");
            set("statusDescription", format!("{} {reason}", status.as_u16()).into());
        }
        written
    }

    fn limit_bytes(self) -> usize {
        match self {
            Self::Balancer { .. } => BALANCER_LIMIT_BYTES,
            _ => WHOLE_LIMIT_BYTES,
        }
    }
}

/// Checks that the platform takes `answer`. It is written out once more to know that: a millisecond
/// for a megabyte.
pub(crate) fn check_length(answer: &Value, limit_bytes: usize) -> Result<(), Error> {
    let bytes = answer.to_string().len();
    if bytes > limit_bytes { Err(Error::AnswerTooLong { bytes, limit_bytes }) } else { Ok(()) }
}

/// The cookies of a response, which cannot be joined.
pub(crate) fn cookies(headers: &HeaderMap) -> Vec<String> {
    headers.get_all(SET_COOKIE).iter().map(text).collect()
}

fn lists(headers: &HeaderMap) -> Value {
    let values = |name| headers.get_all(name).iter().map(text).collect::<Vec<_>>();
    headers.keys().map(|name| (name.to_string(), values(name).into())).collect::<Map<_, _>>().into()
}

fn joined(headers: &HeaderMap) -> Value {
    let values = |name| headers.get_all(name).iter().map(text).collect::<Vec<_>>().join(", ");
    let names = headers.keys().filter(|name| **name != SET_COOKIE);
    names.map(|name| (name.to_string(), values(name).into())).collect::<Map<_, _>>().into()
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

fn malformed(reason: String) -> Error {
    Error::MalformedEvent { kind: "an HTTP request", reason }
}

/// What the platform takes of a whole answer
/// (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>).
pub(crate) const WHOLE_LIMIT_BYTES: usize = 6 << 20;

/// What a load balancer takes
/// (<https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html>).
const BALANCER_LIMIT_BYTES: usize = 1 << 20;

/// What no path has; `%` stands, since most paths come encoded.
const NOT_IN_PATHS: AsciiSet = CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}');

#[cfg(test)]
mod tests;
