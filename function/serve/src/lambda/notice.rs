//! What there is to do, in all the envelopes that it may come in: S3 tells of objects directly, by
//! way of SNS, SQS and `EventBridge`, and by way of several of them; and in each of them the body of
//! a request may stand instead.

use std::fmt;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::Error;
use super::direct::Direct;
use super::event::{records, unknown};

/// Something to be done that leaves a result.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Work {
    /// The entries of an object.
    Object(Source),
    /// The body of a request.
    Request {
        /// What its result is called.
        name: String,
        /// The request.
        direct: Direct,
    },
}

/// One version of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The bucket.
    pub bucket: String,
    /// The key in it.
    pub key: String,
    /// The version, where the bucket keeps versions.
    pub version_id: Option<String>,
    /// The `ETag`, without quotes.
    pub etag: Option<String>,
    /// The size, where it was told.
    pub size: Option<u64>,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

impl Source {
    /// Consoles and tools write such an object where somebody makes a folder.
    pub(crate) fn is_folder(&self) -> bool {
        self.key.ends_with('/') && self.size.is_none_or(|size| size == 0)
    }
}

/// What `payload` tells; its envelope calls it `name`.
pub(crate) fn works(payload: &Value, name: Option<&str>) -> Result<Vec<Work>, Error> {
    let Some(fields) = payload.as_object() else { return Err(unknown(payload)) };
    if let Some(records) = records(fields, "eventSource", "aws:s3") {
        return records.iter().map(|record| s3_record(record).map(Work::Object)).collect();
    }
    if let Some(records) = records(fields, "EventSource", "aws:sns") {
        let each = records.iter().map(|record| sns_message(&record["Sns"], name));
        return Ok(each.collect::<Result<Vec<_>, _>>()?.concat());
    }
    match (text(fields, "Type"), text(fields, "Event")) {
        (Some("Notification"), _) => return sns_message(payload, name),
        // What S3 sends once, to see whether it may.
        (_, Some("s3:TestEvent")) => return Ok(Vec::new()),
        _ => {}
    }
    if fields.contains_key("detail-type") {
        return bridge_event(fields, name);
    }
    match (name, Direct::new(fields.clone())) {
        (Some(name), Ok(direct)) => Ok(vec![Work::Request { name: name.to_owned(), direct }]),
        _ => Err(unknown(payload)),
    }
}

/// What a message tells that should be JSON.
pub(crate) fn of_text(message: &str, name: &str) -> Result<Vec<Work>, Error> {
    let payload = serde_json::from_str(message).map_err(|source| Error::MalformedEvent {
        kind: "a message",
        reason: format!("its text is not JSON: {source}"),
    })?;
    works(&payload, Some(name))
}

fn sns_message(message: &Value, name: Option<&str>) -> Result<Vec<Work>, Error> {
    let text = |name: &str| message[name].as_str();
    let (Some(id), Some(inner)) = (text("MessageId"), text("Message")) else {
        let reason = "it has no `MessageId` or no `Message`".to_owned();
        return Err(Error::MalformedEvent { kind: "a message of SNS", reason });
    };
    of_text(inner, name.unwrap_or(&format!("sns/{id}")))
}

fn bridge_event(fields: &Map<String, Value>, name: Option<&str>) -> Result<Vec<Work>, Error> {
    let detail = fields.get("detail").unwrap_or(&Value::Null);
    if text(fields, "source") == Some("aws.s3") {
        let kind = text(fields, "detail-type").unwrap_or_default();
        check_is_creation(kind, kind == "Object Created")?;
        return Ok(vec![Work::Object(bridge_object(detail)?)]);
    }
    let id = text(fields, "id").unwrap_or("unnamed");
    let inner = detail.as_object().and_then(|detail| Direct::new(detail.clone()).ok());
    let direct = inner.ok_or_else(|| Error::UnknownEvent {
        found: format!(
            "it is an event of EventBridge, of the kind `{}` from `{}`",
            text(fields, "detail-type").unwrap_or_default(),
            text(fields, "source").unwrap_or_default()
        ),
    })?;
    let name = name.map_or_else(|| format!("events/{id}"), str::to_owned);
    Ok(vec![Work::Request { name, direct }])
}

/// A record of S3's own, whose key is written as in a form: `+` is a space.
fn s3_record(record: &Value) -> Result<Source, Error> {
    let kind = record["eventName"].as_str().unwrap_or_default();
    check_is_creation(kind, kind.trim_start_matches("s3:").starts_with("ObjectCreated:"))?;
    let (bucket, object) = (&record["s3"]["bucket"], &record["s3"]["object"]);
    let key = field(object, "key")?.replace('+', " ");
    let key = percent_decode_str(&key).decode_utf8();
    let key = key.map_err(|_| malformed("the object's `key` is not UTF-8".to_owned()))?;
    Ok(Source {
        bucket: field(bucket, "name")?.to_owned(),
        key: key.into_owned(),
        version_id: optional(object, "versionId"),
        etag: optional(object, "eTag"),
        size: object["size"].as_u64(),
    })
}

/// The same by `EventBridge`, whose keys are as they are.
fn bridge_object(detail: &Value) -> Result<Source, Error> {
    let object = &detail["object"];
    Ok(Source {
        bucket: field(&detail["bucket"], "name")?.to_owned(),
        key: field(object, "key")?.to_owned(),
        version_id: optional(object, "version-id"),
        etag: optional(object, "etag"),
        size: object["size"].as_u64(),
    })
}

fn check_is_creation(kind: &str, is_creation: bool) -> Result<(), Error> {
    if is_creation {
        return Ok(());
    }
    let found = format!("S3 tells of `{kind}`, which is not the creation of an object");
    Err(Error::UnknownEvent { found })
}

fn field<'a>(value: &'a Value, name: &str) -> Result<&'a str, Error> {
    let text = value[name].as_str().filter(|text| !text.is_empty());
    text.ok_or_else(|| malformed(format!("`{name}` is missing")))
}

fn optional(value: &Value, name: &str) -> Option<String> {
    // An object of a bucket that kept no versions yet has the version `null`, in letters.
    let text = value[name].as_str().filter(|text| !text.is_empty() && *text != "null");
    text.map(|text| text.trim_matches('"').to_owned())
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    fields.get(name)?.as_str()
}

fn malformed(reason: String) -> Error {
    Error::MalformedEvent { kind: "S3's notice of an object", reason }
}
