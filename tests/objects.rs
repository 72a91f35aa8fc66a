//! Events of S3, whose objects are on a server that others wrote: the real binary as a Lambda function, and SeaweedFS.

use libtest_mimic::{Arguments, run};
use serde_json::{Value, json};

use support::demo_model::references;
use support::function::Function;
use support::needs::trial;
use support::seaweedfs::{SeaweedFs, Written};

mod support;

fn main() {
    let trials = vec![trial("events_of_objects", SeaweedFs::start, |server: SeaweedFs| {
        server.create_bucket("inbox");
        server.create_bucket("outbox");
        an_object_is_answered_once(&server);
        what_is_gone_is_told_and_harms_nobody(&server);
        each_version_is_answered(&server);
    })];
    run(&Arguments::from_args(), trials).exit();
}

/// A function that completes what comes into `inbox`, into `outbox`.
fn at_work(server: &SeaweedFs) -> Function {
    Function::start(|command| {
        let command = command.envs(server.environment()).env("RESULT_BUCKET", "outbox");
        let command = command.env("RESULT_PREFIX", "done/").env("FIRSTLIGHT_S3_TASK", "completion");
        command.env("FIRSTLIGHT_S3_PARAMS", r#"{"temperature": 0, "max_tokens": 48}"#)
    })
}

/// What S3 says when an object was written.
fn created(key: &str, written: &Written) -> Value {
    let mut object = json!({"key": key, "eTag": written.etag});
    if let Some(id) = &written.version_id {
        object["versionId"] = json!(id);
    }
    json!({"Records": [{
        "eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": "inbox"}, "object": object},
    }]})
}

/// What became of the one object that an event told of.
fn outcome(function: &Function, event: &Value) -> String {
    let told = function.invoke(event).whole();
    let outcome = told["results"][0]["outcome"].as_str();
    outcome.unwrap_or_else(|| panic!("no outcome: {told}")).to_owned()
}

/// The texts of a result, line by line.
fn texts(server: &SeaweedFs, key: &str) -> Vec<String> {
    let result = server.get("outbox", key).expect("there is a result");
    let result = String::from_utf8(result).expect("UTF-8");
    let text = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let text = line["response"]["body"]["choices"][0]["text"].as_str();
        text.unwrap_or_else(|| panic!("no text: {line}")).to_owned()
    };
    result.lines().map(text).collect()
}

fn an_object_is_answered_once(server: &SeaweedFs) {
    let function = at_work(server);
    let references = references();
    let prompts: Vec<_> = references.iter().map(|(prompt, _)| prompt).collect();
    let lines: Vec<_> = prompts.iter().map(|prompt| json!(prompt).to_string()).collect();
    let written = server.write("inbox", "a b/ü.jsonl", &lines.join("\n"));
    let event = created("a+b/%C3%BC.jsonl", &written);
    assert_eq!(outcome(&function, &event), "written");
    let key = format!("done/inbox/a b/ü.jsonl@{}.jsonl", written.etag);
    let expected: Vec<_> = references.into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts(server, &key), expected);

    let first = server.get("outbox", &key).expect("it was read before");
    assert_eq!(outcome(&function, &event), "present");
    // Another instance, which has not seen the event.
    drop(function);
    let other = Function::start(|command| {
        command
            .envs(server.environment())
            .env("RESULT_BUCKET", "outbox")
            .env("RESULT_PREFIX", "done/")
    });
    assert_eq!(outcome(&other, &event), "present");
    assert_eq!(server.list("outbox"), std::slice::from_ref(&key));
    assert_eq!(server.get("outbox", &key), Ok(first));
}

fn each_version_is_answered(server: &SeaweedFs) {
    let function = at_work(server);
    server.keep_versions("inbox");
    let [one, two] = [0, 1].map(|n| references().swap_remove(n));
    let first = server.write("inbox", "story.txt", &one.0);
    let second = server.write("inbox", "story.txt", &two.0);
    assert!(first.version_id.is_some() && first.version_id != second.version_id);
    for (version, expected) in [(second, two.1), (first, one.1)] {
        assert_eq!(outcome(&function, &created("story.txt", &version)), "written");
        let id = version.version_id.expect("it has one");
        assert_eq!(texts(server, &format!("done/inbox/story.txt@{id}.jsonl")), [expected]);
    }
}

fn what_is_gone_is_told_and_harms_nobody(server: &SeaweedFs) {
    let function = at_work(server);
    let (prompt, expected) = references().swap_remove(0);
    let gone = server.write("inbox", "gone.txt", "a");
    server.delete("inbox", "gone.txt");
    let told = function.invoke(&created("gone.txt", &gone)).error();
    let message = told["errorMessage"].as_str().expect("an error has a message");
    assert!(message.contains("s3://inbox/gone.txt") && message.contains("1 of 1"), "{message}");

    let old = server.write("inbox", "story.txt", "old");
    let new = server.write("inbox", "story.txt", &prompt);
    assert_eq!(outcome(&function, &created("story.txt", &old)), "replaced");

    // By way of a queue the good message is worked with, and the other one comes again.
    let message = |(n, event): (usize, &Value)| {
        let (id, body) = (format!("m{n}"), event.to_string());
        json!({"eventSource": "aws:sqs", "messageId": id, "body": body})
    };
    let events = [created("gone.txt", &gone), created("story.txt", &new)];
    let records: Vec<_> = events.iter().enumerate().map(message).collect();
    let told = function.invoke(&json!({ "Records": records })).whole();
    assert_eq!(told, json!({"batchItemFailures": [{"itemIdentifier": "m0"}]}));
    assert_eq!(texts(server, &format!("done/inbox/story.txt@{}.jsonl", new.etag)), [expected]);
}
