//! What happened, told by the shape of the event: nothing else says who sent it.

use serde_json::{Map, Value};

use super::Error;
use super::direct::Direct;
use super::http::Exchange;
use super::notice::{self, Work};

/// What the function is to do.
#[derive(Debug)]
pub(crate) enum Event {
    /// Answer a request.
    Http(Box<Exchange>),
    /// Answer the body of one.
    Direct(Direct),
    /// Work, of which all must be done.
    Work(Vec<Work>),
    /// Messages, each of which may fail on its own.
    Queue(Vec<Message>),
}

/// A message of a queue.
#[derive(Debug)]
pub(crate) struct Message {
    /// What the queue calls it.
    pub(crate) id: String,
    /// What is to be done, if that can be understood.
    pub(crate) works: Result<Vec<Work>, Error>,
}

impl Event {
    /// What the event with this payload is.
    pub(crate) fn parse(payload: Value) -> Result<Self, Error> {
        let Value::Object(fields) = payload else {
            return Err(unknown(&payload));
        };
        if is_http(&fields) {
            return Ok(Self::Http(Box::new(Exchange::parse(fields)?)));
        }
        if let Some(records) = records(&fields, "eventSource", "aws:sqs") {
            return Ok(Self::Queue(records.iter().map(Message::read).collect::<Result<_, _>>()?));
        }
        match Direct::new(fields) {
            Ok(direct) => Ok(Self::Direct(direct)),
            Err(fields) => notice::works(&Value::Object(fields), None).map(Self::Work),
        }
    }
}

impl Message {
    fn read(record: &Value) -> Result<Self, Error> {
        let text = |name: &str| record[name].as_str();
        let missing = |name| Error::MalformedEvent {
            kind: "messages of SQS",
            reason: format!("a record has no `{name}`"),
        };
        // Without an id nothing could be said of it to the queue.
        let id = text("messageId").ok_or_else(|| missing("messageId"))?;
        let body = text("body").ok_or_else(|| missing("body"));
        let works = body.and_then(|body| notice::of_text(body, &format!("sqs/{id}")));
        Ok(Self { id: id.to_owned(), works })
    }
}

/// Authorizers are asked in the same words, but for their `type`; and of a `WebSocket` comes what was
/// an HTTP request once, with a connection. Some tools write all fields, those that are not there as
/// null.
fn is_http(fields: &Map<String, Value>) -> bool {
    let Some(context) = fields.get("requestContext").and_then(Value::as_object) else {
        return false;
    };
    let has_text =
        |fields: &Map<String, Value>, name| fields.get(name).is_some_and(Value::is_string);
    let is_request =
        has_text(fields, "httpMethod") || context.get("http").is_some_and(Value::is_object);
    is_request && !has_text(fields, "type") && !has_text(context, "connectionId")
}

/// The records, where all of them come from `source`, which stands at `name`.
pub(crate) fn records<'a>(
    fields: &'a Map<String, Value>,
    name: &str,
    source: &str,
) -> Option<&'a [Value]> {
    let records = fields.get("Records")?.as_array()?;
    let is_from = |record: &Value| record[name].as_str() == Some(source);
    (!records.is_empty() && records.iter().all(is_from)).then_some(records)
}

/// What an event looks like, for whoever sent it.
pub(crate) fn unknown(payload: &Value) -> Error {
    let found = match payload {
        Value::Object(fields) if fields.is_empty() => "it is an object without fields".to_owned(),
        Value::Object(fields) => {
            let names: Vec<_> =
                fields.keys().take(SHOWN_FIELDS).map(|it| format!("`{it}`")).collect();
            format!("it is an object with {}", names.join(", "))
        }
        Value::Array(_) => "it is an array".to_owned(),
        Value::String(_) => "it is a text".to_owned(),
        _ => "it is neither an object nor a text".to_owned(),
    };
    Error::UnknownEvent { found }
}

/// Enough to recognise an event by.
const SHOWN_FIELDS: usize = 8;

#[cfg(test)]
mod tests;
