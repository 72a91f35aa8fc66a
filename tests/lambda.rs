//! The function, as Lambda sees it: the real binary, the demo model, and a runtime API that gives it events.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::path::Path;
use std::thread;
use std::time::Duration;

use firstlight_bucket::{Bucket, Objects, RequestRecord, Running, Turnstile};
use serde_json::{Value, json};
use support::demo_model::{demo_model, references};
use support::function::Function;
use support::process::Firstlight;

fn greedy(prompt: &str) -> Value {
    json!({"prompt": prompt, "temperature": 0, "max_tokens": 48})
}

fn url_event(path: &str, body: &Value) -> Value {
    json!({
        "version": "2.0", "rawPath": path, "rawQueryString": "",
        "headers": {"content-type": "application/json", "host": "x.lambda-url.y.on.aws"},
        "requestContext": {"http": {"method": "POST", "path": path}, "domainName": "x.lambda-url.y.on.aws"},
        "body": body.to_string(), "isBase64Encoded": false,
    })
}

fn text(answer: &Value) -> &str {
    answer["choices"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

#[test]
fn bodies_alone_and_over_http_get_the_references_answer() {
    let function = Function::start(|command| command);
    let (prompt, expected) = references().remove(0);
    assert_eq!(text(&function.invoke(&greedy(&prompt)).whole()), expected);
    let mut named = greedy(&prompt);
    named["model"] = json!("demo-model");
    let whole = function.invoke(&url_event("/v1/completions", &named)).whole();
    assert_eq!(
        (&whole["statusCode"], &whole["headers"]["content-type"]),
        (&json!(200), &json!("application/json"))
    );
    assert_eq!(text(&serde_json::from_str(whole["body"].as_str().unwrap()).unwrap()), expected);
    named["stream"] = json!(true);
    let whole = function.invoke(&url_event("/v1/completions", &named)).whole();
    assert!(whole["body"].as_str().unwrap().ends_with("data: [DONE]\n\n"), "{whole}");

    let unknown = function.invoke(&json!({"key1": "value1"})).error();
    assert_eq!(unknown["errorType"], "unknown_event");
    assert!(unknown["errorMessage"].as_str().unwrap().contains("understood are"), "{unknown}");
    let wrong = function.invoke(&json!({"prompt": 7})).error();
    assert_eq!(wrong["errorType"], "invalid_request_error");
    let other = function.invoke(&url_event("/v1/nothing", &json!({}))).whole();
    assert_eq!(other["statusCode"], 404);
    let health = json!({
        "requestContext": {"elb": {}}, "httpMethod": "GET", "path": "/health/ready", "body": "",
        "headers": {"user-agent": "ELB-HealthChecker/2.0"}, "isBase64Encoded": false,
    });
    assert_eq!(function.invoke(&health).whole()["statusDescription"], "200 OK");
}

#[test]
fn answers_over_http_are_streamed_where_the_platform_takes_that() {
    let function =
        Function::start(|command| command.env("FIRSTLIGHT_INVOKE_MODE", "RESPONSE_STREAM"));
    let (prompt, expected) = references().remove(0);
    let mut body = greedy(&prompt);
    (body["model"], body["stream"]) = (json!("demo-model"), json!(true));
    let (prelude, chunks) = function.invoke(&url_event("/v1/completions", &body)).streamed();
    assert_eq!(
        (&prelude["statusCode"], &prelude["headers"]["content-type"]),
        (&json!(200), &json!("text/event-stream"))
    );
    assert!(chunks.len() > 3, "{} chunks", chunks.len());
    let events = chunks.concat();
    let events = events.strip_suffix("data: [DONE]\n\n").unwrap().split_terminator("\n\n");
    let event =
        |line: &str| serde_json::from_str::<Value>(line.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(events.map(|line| text(&event(line)).to_owned()).collect::<String>(), expected);

    let (prelude, chunks) = function.invoke(&url_event("/v1/completions", &json!({}))).streamed();
    assert_eq!((&prelude["statusCode"], chunks.len()), (&json!(400), 1));
}

/// The demo model in a bucket of which nothing is answered but what is let go.
fn held_back() -> (Turnstile, Running) {
    let objects = Objects::new();
    objects.serve_folder("models", "demo-model/", &demo_model()).unwrap();
    let turnstile = Turnstile::default();
    let bucket = Bucket::builder().objects(objects).turnstile(&turnstile);
    let bucket = bucket.start_on_own_thread("127.0.0.1:0").unwrap();
    (turnstile, bucket)
}

#[test]
fn the_first_event_is_asked_for_at_once_and_rides_the_load() {
    let (turnstile, bucket) = held_back();
    let function = Function::start(|command| {
        command.env("MODEL", "s3://models/demo-model").envs(bucket.environment())
    });
    function.api.until_asked();
    assert_eq!(turnstile.answering(), 0, "nothing of the model is there");
    let (prompt, expected) = references().remove(0);
    let invocation = function.api.invoke_within(&greedy(&prompt), Duration::from_mins(1));
    let answer = thread::scope(|scope| {
        let answer = scope.spawn(|| function.api.answer(&invocation));
        while !answer.is_finished() {
            turnstile.release();
            thread::sleep(Duration::from_millis(1));
        }
        answer.join().unwrap()
    });
    assert_eq!(text(&answer.whole()), expected);
}

#[test]
fn a_load_that_fails_is_told_to_the_one_who_meets_it_and_ends_the_process() {
    let start = || Function::start(|command| command.env("MODEL", "/no/such/model"));
    let mut function = start();
    let told = function.invoke(&greedy("a")).error();
    assert!(told["errorMessage"].as_str().unwrap().contains("/no/such/model"), "{told}");
    assert!(!function.ended().success());

    let mut function = start();
    let mut body = greedy("a");
    body["model"] = json!("model");
    let whole = function.invoke(&url_event("/v1/completions", &body)).whole();
    assert_eq!(whole["statusCode"], 503);
    assert!(whole["body"].as_str().unwrap().contains("/no/such/model"), "{whole}");
    assert!(!function.ended().success());
}

#[test]
fn what_is_late_is_given_up_and_the_next_is_answered() {
    let function = Function::start(|command| command);
    let (prompt, expected) = references().remove(0);
    // Warm, so that what is late is the answer.
    assert_eq!(text(&function.invoke(&greedy(&prompt)).whole()), expected);
    let endless =
        json!({"prompt": vec!["Once"; 32], "n": 4, "max_tokens": 500, "logit_bias": {"1": -100}});
    let late = function.api.invoke_within(&endless, Duration::from_millis(400));
    assert_eq!(function.api.answer(&late).error()["errorType"], "deadline");
    assert_eq!(text(&function.invoke(&greedy(&prompt)).whole()), expected);
}

#[test]
fn several_are_answered_at_once_where_the_platform_gives_several() {
    let function = Function::start(|command| command.env("AWS_LAMBDA_MAX_CONCURRENCY", "3"));
    function.api.allow_several();
    let (prompt, expected) = references().remove(0);
    let within = Duration::from_mins(1);
    let long =
        json!({"prompt": "Once", "temperature": 0, "max_tokens": 500, "logit_bias": {"1": -100}});
    let long: Vec<_> = (0..2).map(|_| function.api.invoke_within(&long, within)).collect();
    function.api.until_given(2);
    let short = function.api.invoke_within(&greedy(&prompt), within);
    assert_eq!(text(&function.api.answer(&short).whole()), expected);
    for id in long {
        assert_eq!(function.api.answer(&id).whole()["usage"]["completion_tokens"], 500);
    }
}

fn created(key: &str, etag: &str) -> Value {
    json!({"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": {
        "bucket": {"name": "inbox"}, "object": {"key": key, "eTag": etag},
    }}]})
}

fn queue(bodies: &[Value]) -> Value {
    let records = bodies.iter().enumerate().map(|(n, body)| {
        json!({"eventSource": "aws:sqs", "messageId": format!("m{n}"), "body": body.to_string()})
    });
    json!({ "Records": records.collect::<Vec<_>>() })
}

/// A bucket for objects and one for results.
fn buckets() -> Running {
    let objects = Objects::new();
    objects.insert("outbox", "unrelated", "");
    let (prompt, _) = references().remove(0);
    objects.insert("inbox", "a b/story.txt", prompt.clone());
    let lines = format!("{}\n{{\"custom_id\": \"x\", \"prompt\": 7}}\n", json!(prompt));
    objects.insert("inbox", "lines.jsonl", lines);
    Bucket::builder().objects(objects).start_on_own_thread("127.0.0.1:0").unwrap()
}

fn at_work(buckets: &Running) -> Function {
    Function::start(|command| {
        let command = command.envs(buckets.environment()).env("RESULT_BUCKET", "outbox");
        let command = command.env("RESULT_PREFIX", "done/").env("FIRSTLIGHT_S3_TASK", "completion");
        command.env("FIRSTLIGHT_S3_PARAMS", r#"{"temperature": 0, "max_tokens": 48}"#)
    })
}

/// The `ETag` of an object of the inbox, as an event has it.
fn etag(buckets: &Running, key: &str) -> String {
    buckets.objects().etag("inbox", key).unwrap()
}

fn lines(buckets: &Running, key: &str) -> Vec<Value> {
    let result = buckets.objects().get("outbox", key).unwrap_or_else(|| panic!("no `{key}`"));
    let text = std::str::from_utf8(&result).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn new_objects_are_worked_with_once() {
    let buckets = buckets();
    let function = at_work(&buckets);
    let (_, expected) = references().remove(0);
    let etag = etag(&buckets, "a b/story.txt");
    let event = created("a+b/story.txt", &etag);
    let told = function.invoke(&event).whole();
    assert_eq!(told["results"][0]["outcome"], "written", "{told}");
    let key = format!("done/inbox/a b/story.txt@{etag}.jsonl");
    assert_eq!(told["results"][0]["result"], format!("s3://outbox/{key}"));
    assert_eq!(text(&lines(&buckets, &key)[0]["response"]["body"]), expected);
    assert_eq!(function.invoke(&event).whole()["results"][0]["outcome"], "present");
    let replaced = function.invoke(&created("a+b/story.txt", "another")).whole();
    assert_eq!(replaced["results"][0]["outcome"], "replaced");
    let gone = function.invoke(&created("gone.txt", "v")).error();
    let message = gone["errorMessage"].as_str().unwrap();
    assert!(message.contains("s3://inbox/gone.txt") && message.contains("1 of 1"), "{message}");
}

/// The platform repeats it then, and keeps the event in the end as it came: a queue may bring it again.
#[test]
fn one_object_that_fails_fails_the_invocation_and_what_was_done_stays() {
    let buckets = buckets();
    let function = at_work(&buckets);
    let etag = etag(&buckets, "lines.jsonl");
    let [mut event, gone] = [created("lines.jsonl", &etag), created("gone.txt", "v")];
    event["Records"].as_array_mut().unwrap().push(gone["Records"][0].clone());
    for _ in 0..2 {
        let failed = function.invoke(&event).error();
        assert!(failed["errorMessage"].as_str().unwrap().contains("1 of 2"), "{failed}");
        assert_eq!(lines(&buckets, &format!("done/inbox/lines.jsonl@{etag}.jsonl")).len(), 2);
    }
    let kept = function.invoke(&queue(&[event, created("lines.jsonl", &etag)])).whole();
    assert_eq!(kept, json!({"batchItemFailures": [{"itemIdentifier": "m0"}]}));
}

#[test]
fn of_a_queue_only_what_failed_is_kept() {
    let buckets = buckets();
    let function = at_work(&buckets);
    let (prompt, expected) = references().remove(0);
    let etag = etag(&buckets, "lines.jsonl");
    let messages =
        [json!("poison"), created("lines.jsonl", &etag), created("gone.txt", "v"), greedy(&prompt)];
    let told = function.invoke(&queue(&messages)).whole();
    let failed = json!([{"itemIdentifier": "m0"}, {"itemIdentifier": "m2"}]);
    assert_eq!(told, json!({ "batchItemFailures": failed }));
    let written = lines(&buckets, &format!("done/inbox/lines.jsonl@{etag}.jsonl"));
    assert_eq!(text(&written[0]["response"]["body"]), expected);
    assert_eq!(
        (&written[1]["custom_id"], &written[1]["response"]["status_code"]),
        (&json!("x"), &json!(400))
    );
    assert_eq!(text(&lines(&buckets, "done/sqs/m3.jsonl")[0]["response"]["body"]), expected);
}

/// What no service writes, and who may send messages could.
#[test]
fn poisoned_messages_fail_alone() {
    let buckets = buckets();
    let function = at_work(&buckets);
    let (prompt, expected) = references().remove(0);
    let elsewhere = |bucket: Value| {
        let mut event = created("story.txt", "v");
        event["Records"][0]["s3"]["bucket"]["name"] = bucket;
        event
    };
    let mut versioned = created("story.txt", "v");
    versioned["Records"][0]["s3"]["object"]["versionId"] = json!("a\r\nb\0");
    let deep = (0..500).fold(json!([]), |inner, _| json!([inner]));
    let removed = json!({"Records": [{"eventSource": "aws:s3", "eventName": "ObjectRemoved:DeleteMarkerCreated",
        "s3": {"bucket": {"name": "inbox"}, "object": {"key": "a b/story.txt", "versionId": "v"}}}]});
    let mut messages = vec![
        created("story.txt", "a\r\nhost: elsewhere"),
        created(&"k".repeat(5000), "v"),
        created("%ff%fe.txt", "v"),
        created("../../outbox/unrelated.txt", "v"),
        elsewhere(json!("In Box/..")),
        elsewhere(json!({"name": "inbox"})),
        elsewhere(json!("b".repeat(100_000))),
        versioned,
        deep,
        removed,
        json!({"Records": [null]}),
        json!({"Records": [{"eventSource": "aws:s3"}]}),
        json!({"messages": "x".repeat(100_000)}),
    ];
    // The last is a request that is refused, which another delivery would not mend.
    let poisoned = messages.len() - 1;
    messages.push(greedy(&prompt));
    let told = function.invoke(&queue(&messages)).whole();
    let failed: Vec<_> =
        (0..poisoned).map(|n| json!({ "itemIdentifier": format!("m{n}") })).collect();
    assert_eq!(told, json!({ "batchItemFailures": failed }));
    let refused = lines(&buckets, &format!("done/sqs/m{poisoned}.jsonl"));
    assert_eq!(refused[0]["response"]["status_code"], 400);
    let answered = lines(&buckets, &format!("done/sqs/m{}.jsonl", poisoned + 1));
    assert_eq!(text(&answered[0]["response"]["body"]), expected);
}

#[test]
fn settings_that_would_make_a_loop_are_told_and_end_the_process() {
    let mut function = Function::start(|command| {
        let command = command.env("RESULT_BUCKET", "inbox").env("RESULT_PREFIX", "new/done/");
        command.env("FIRSTLIGHT_S3_SOURCE", "s3://inbox/new/")
    });
    let told = function.invoke(&greedy("a")).error();
    assert!(told["errorMessage"].as_str().unwrap().contains("s3://inbox/new/done/"), "{told}");
    assert!(!function.ended().success());
}

#[test]
fn a_snapshot_has_the_weights_and_answers_once_it_is_restored() {
    let (turnstile, bucket) = held_back();
    let function = Function::start(|command| {
        let command = command.env("MODEL", "s3://models/demo-model").envs(bucket.environment());
        command.env("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")
    });
    while turnstile.waiting() == 0 {
        thread::sleep(Duration::from_millis(1));
    }
    assert!(!function.api.is_snapped(), "there are no weights yet");
    thread::scope(|scope| {
        let snapped = scope.spawn(|| function.api.until_snapped());
        while !snapped.is_finished() {
            turnstile.release();
            thread::sleep(Duration::from_millis(1));
        }
    });
    function.api.restore();
    let (prompt, expected) = references().remove(0);
    assert_eq!(text(&function.invoke(&greedy(&prompt)).whole()), expected);
}

#[test]
fn what_lambda_always_sets_is_asked_for() {
    let none: [&str; 0] = [];
    let ended = Firstlight::new(none)
        .env("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:1")
        .env("AWS_LAMBDA_FUNCTION_NAME", "f")
        .env("MODEL", demo_model())
        .run()
        .failure();
    assert!(ended.stderr.contains("AWS_LAMBDA_FUNCTION_VERSION"), "{}", ended.stderr);
}

/// A model of random weights that embeds.
fn embedding_models(objects: &Objects) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-random-bert");
    objects.serve_folder("models", "bert/", &folder).unwrap();
    let (_, mut tokenizer) =
        support::small::all().into_iter().find(|(name, _)| *name == "bert_uncased").unwrap();
    // As many as there are rows for.
    let vocabulary = tokenizer["model"]["vocab"].as_object_mut().unwrap();
    vocabulary.retain(|_, id| id.as_u64().unwrap() < 512);
    objects.insert("models", "bert/tokenizer.json", tokenizer.to_string());
}

fn vector(item: &Value) -> Vec<f64> {
    let list = item["embedding"].as_array().unwrap_or_else(|| panic!("{item}"));
    list.iter().map(|x| x.as_f64().unwrap()).collect()
}

#[test]
fn a_function_that_embeds_answers_inputs_and_new_objects() {
    let objects = Objects::new();
    embedding_models(&objects);
    objects.insert("outbox", "unrelated", "");
    objects.insert(
        "inbox",
        "à la carte+1.jsonl",
        "\"one text\"\n{\"id\": \"two\", \"text\": \"another\"}\n",
    );
    let buckets = Bucket::builder().objects(objects).start_on_own_thread("127.0.0.1:0").unwrap();
    let function = Function::start(|command| {
        let command = command.env("MODEL", "s3://models/bert").envs(buckets.environment());
        command.env("RESULT_BUCKET", "outbox").env("FIRSTLIGHT_S3_TASK", "embedding")
    });
    let asked = json!({"input": ["one text", "another"], "encoding_format": "float"});
    let answer = function.invoke(&asked).whole();
    let expected: Vec<_> = answer["data"].as_array().unwrap().iter().map(vector).collect();
    let length = expected[0].iter().map(|x| x * x).sum::<f64>();
    assert!(expected.len() == 2 && expected[0].len() == 64 && length > 0.0, "{answer}");
    assert_ne!(expected[0], expected[1]);

    // As S3 writes keys: a plus for a space, and a plus itself encoded.
    let etag = etag(&buckets, "à la carte+1.jsonl");
    let told = function.invoke(&created("%C3%A0+la+carte%2B1.jsonl", &etag)).whole();
    assert_eq!(told["results"][0]["entries"], 2, "{told}");
    let key = format!("firstlight-results/inbox/à la carte+1.jsonl@{etag}.jsonl");
    let written = lines(&buckets, &key);
    assert_eq!(written[1]["custom_id"], "two");
    for (line, expected) in written.iter().zip(&expected) {
        assert_eq!(vector(&line["response"]["body"]["data"][0]), *expected);
    }
    let prompt = function.invoke(&greedy("Once")).error();
    assert!(prompt["errorMessage"].as_str().unwrap().contains("/v1/embeddings"), "{prompt}");
    let long = function.invoke(&json!({"input": "word ".repeat(1000)})).error();
    assert_eq!(long["errorType"], "invalid_request_error");
}

/// Not killed by the platform when the memory is used up, but told, and before it is fetched.
#[test]
fn what_the_function_has_no_memory_for_is_told_and_not_fetched() {
    let objects = Objects::new();
    objects.serve_folder("models", "demo-model/", &demo_model()).unwrap();
    let bucket = Bucket::builder().objects(objects).start_on_own_thread("127.0.0.1:0").unwrap();
    let mut function = Function::start(|command| {
        let command = command.env("MODEL", "s3://models/demo-model").envs(bucket.environment());
        let command = command.env("FIRSTLIGHT_MAX_NUM_SEQS", "1000");
        let command = command.env("FIRSTLIGHT_KV_CACHE_MEMORY", "1GiB");
        command.env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
    });
    let told = function.invoke(&greedy("Once")).error();
    let message = told["errorMessage"].as_str().unwrap();
    assert!(message.contains("for keys and values") && message.contains("are free"), "{message}");
    assert!(!function.ended().success());
    let weights = bucket.requests().into_iter().filter(|it| it.key.ends_with(".safetensors"));
    let far =
        |request: &RequestRecord| request.range.as_ref().is_none_or(|range| range.end > 1 << 20);
    assert_eq!(weights.filter(far).count(), 0, "no more than the head");
}
