use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use serde_json::json;

use super::super::http::Dialect;
use super::super::notice::Source;
use super::*;

/// Where the example events of the crate of all events are.
fn fixtures() -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--format-version=1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages.iter().find(|package| package["name"] == "aws_lambda_events").unwrap();
    let manifest = PathBuf::from(package["manifest_path"].as_str().unwrap());
    manifest.parent().unwrap().join("src/fixtures")
}

/// What an event is, in a word.
fn kind(payload: &Value) -> &'static str {
    match Event::parse(payload.clone()) {
        Ok(Event::Http(exchange)) => match exchange.dialect {
            Dialect::Gateway1 => "gateway 1",
            Dialect::Gateway2 => "gateway 2",
            Dialect::Url => "url",
            Dialect::Balancer { .. } => "balancer",
        },
        Ok(Event::Direct(_)) => "direct",
        Ok(Event::Work(_)) => "work",
        Ok(Event::Queue(messages)) if messages.iter().all(|it| it.works.is_err()) => {
            "queue of poison"
        }
        Ok(Event::Queue(_)) => "queue",
        Err(Error::UnknownEvent { .. }) => "unknown",
        Err(_) => "malformed",
    }
}

#[test]
fn every_example_event_is_what_its_name_says() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for file in fs::read_dir(fixtures()).unwrap() {
        let path = file.unwrap().path();
        let name =
            path.file_stem().unwrap().to_str().unwrap().trim_start_matches("example-").to_owned();
        let Ok(payload) = serde_json::from_slice(&fs::read(&path).unwrap()) else { continue };
        let expected = match name.as_str() {
            "apigw-request"
            | "apigw-request-catch-all"
            | "apigw-request-multi-value-parameters"
            | "apigw-restapi-openapi-request"
            | "apigw-sam-rest-request"
            | "apigw-console-test-request"
            | "apigw-console-request" => "gateway 1",
            // The tool's local stand-in names another host.
            "apigw-sam-http-request" => "url",
            name if name.starts_with("apigw-v2-request") => "gateway 2",
            "alb-lambda-target-request-headers-only"
            | "alb-lambda-target-request-multivalue-headers" => "balancer",
            "s3-event" | "s3-event-with-decoded" => "work",
            // Their texts are not JSON, or nothing that is known here.
            "sqs-event" | "sqs-event-obj" => "queue of poison",
            "sns-event" | "sns-event-pascal-case" => "malformed",
            _ => "unknown",
        };
        let found = kind(&payload);
        if found != expected {
            wrong.push(format!("{name}: {found}, not {expected}"));
        }
        seen += 1;
    }
    assert_eq!(wrong, [""; 0]);
    assert!(seen > 100, "{seen} events");
}

fn s3_record(name: &str, key: &str) -> Value {
    json!({"eventSource": "aws:s3", "eventName": name, "s3": {
        "bucket": {"name": "in"},
        "object": {"key": key, "size": 3, "eTag": "abc", "versionId": "null", "sequencer": "0"},
    }})
}

fn s3_event() -> Value {
    json!({"Records": [s3_record("ObjectCreated:Put", "a+b/%C3%BC%2B.txt")]})
}

fn source() -> Source {
    Source {
        bucket: "in".to_owned(),
        key: "a b/ü+.txt".to_owned(),
        version_id: None,
        etag: Some("abc".to_owned()),
        size: Some(3),
    }
}

fn sns(message: &Value) -> Value {
    json!({"Type": "Notification", "MessageId": "m", "TopicArn": "t", "Message": message.to_string()})
}

fn bridged() -> Value {
    json!({"version": "0", "id": "e", "detail-type": "Object Created", "source": "aws.s3", "detail": {
        "bucket": {"name": "in"},
        "object": {"key": "a b/ü+.txt", "size": 3, "etag": "abc", "sequencer": "0"},
    }})
}

fn sqs(bodies: &[String]) -> Value {
    let records = bodies.iter().enumerate().map(
        |(n, body)| json!({"eventSource": "aws:sqs", "messageId": n.to_string(), "body": body}),
    );
    json!({ "Records": records.collect::<Vec<_>>() })
}

#[test]
fn an_object_is_found_in_every_envelope() {
    let by_sns =
        |message: &Value| json!({"Records": [{"EventSource": "aws:sns", "Sns": sns(message)}]});
    for event in [s3_event(), bridged(), by_sns(&s3_event()), by_sns(&bridged()), sns(&s3_event())]
    {
        match Event::parse(event.clone()) {
            Ok(Event::Work(works)) => assert_eq!(works, [Work::Object(source())], "{event}"),
            other => panic!("{event}: {other:?}"),
        }
    }
    let messages = [s3_event(), bridged(), sns(&s3_event()), sns(&bridged())];
    let messages: Vec<_> = messages.iter().map(Value::to_string).collect();
    let Ok(Event::Queue(messages)) = Event::parse(sqs(&messages)) else { panic!("no queue") };
    for (n, message) in messages.into_iter().enumerate() {
        assert_eq!(message.id, n.to_string());
        assert_eq!(message.works.unwrap(), [Work::Object(source())], "{n}");
    }
}

#[test]
fn bodies_of_requests_are_understood_alone_and_in_envelopes() {
    for body in [json!({"messages": []}), json!({"prompt": "a"}), json!({"input": "a"})] {
        assert_eq!(kind(&body), "direct", "{body}");
        let direct = Direct::new(body.as_object().unwrap().clone()).unwrap();
        let enveloped =
            |name: &str| [Work::Request { name: name.to_owned(), direct: direct.clone() }];
        let Ok(Event::Queue(messages)) = Event::parse(sqs(&[body.to_string()])) else {
            panic!("no queue")
        };
        assert_eq!(messages[0].works.as_ref().unwrap(), &enveloped("sqs/0"));
        let event = json!({"id": "e", "detail-type": "Ask", "source": "app", "detail": body});
        let Ok(Event::Work(works)) = Event::parse(event) else { panic!("no work") };
        assert_eq!(works, enveloped("events/e"));
    }
}

#[test]
fn a_message_that_cannot_be_read_does_not_hide_the_others() {
    let bodies = ["not JSON".to_owned(), s3_event().to_string(), "{}".to_owned(), "[]".to_owned()];
    let Ok(Event::Queue(messages)) = Event::parse(sqs(&bodies)) else { panic!("no queue") };
    let readable: Vec<_> = messages.iter().map(|message| message.works.is_ok()).collect();
    assert_eq!(readable, [false, true, false, false]);
}

#[test]
fn fields_that_are_null_are_not_there() {
    let event = json!({
        "version": "2.0", "type": null, "httpMethod": null, "rawPath": "/v1/models", "body": null,
        "isBase64Encoded": null, "headers": null, "cookies": null, "Records": null,
        "requestContext": {"connectionId": null, "stage": null, "elb": null, "http": {"method": "GET"}},
    });
    assert_eq!(kind(&event), "url");
}

#[test]
fn what_s3_sends_to_try_a_queue_asks_for_nothing() {
    let test = json!({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "in"});
    let Ok(Event::Queue(messages)) = Event::parse(sqs(&[test.to_string()])) else {
        panic!("no queue")
    };
    assert_eq!(messages[0].works.as_ref().unwrap(), &[]);
}

#[test]
fn an_event_that_is_not_understood_is_described_with_those_that_are() {
    let message = Event::parse(json!({"key1": 1, "key2": 2})).unwrap_err().to_string();
    assert!(
        message.contains("`key1`, `key2`") && message.contains("hint: understood are"),
        "{message}"
    );
    for event in [json!({}), json!([]), json!("a"), json!(3), Value::Null] {
        assert!(matches!(Event::parse(event), Err(Error::UnknownEvent { .. })));
    }
    let removed = json!({"Records": [s3_record("ObjectRemoved:Delete", "a")]});
    let message = Event::parse(removed).unwrap_err().to_string();
    assert!(message.contains("`ObjectRemoved:Delete`"), "{message}");
    let nameless =
        json!({"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put"}]});
    assert!(matches!(Event::parse(nameless), Err(Error::MalformedEvent { .. })));
    let mixed =
        json!({"Records": [s3_record("ObjectCreated:Put", "a"), {"eventSource": "aws:sqs"}]});
    assert!(matches!(Event::parse(mixed), Err(Error::UnknownEvent { .. })));
}
