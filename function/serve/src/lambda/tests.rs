//! Whole invocations, over a router that stands for the server and objects in memory.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use axum::body::to_bytes;
use axum::http::header::CONTENT_TYPE;
use bytes::Bytes;
use firstlight_timeline::Timeline;

use super::*;
use crate::{Model, json};

/// Objects by bucket and key, each with its version.
#[derive(Default)]
struct InMemory {
    objects: Mutex<BTreeMap<String, (String, Bytes)>>,
    reads: AtomicUsize,
}

impl InMemory {
    fn put(&self, name: &str, version: &str, text: &str) {
        let object = (version.to_owned(), Bytes::copy_from_slice(text.as_bytes()));
        self.objects.lock().unwrap().insert(name.to_owned(), object);
    }

    fn get(&self, name: &str) -> Option<String> {
        let objects = self.objects.lock().unwrap();
        objects.get(name).map(|(_, bytes)| String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// The lines of a result.
    fn lines(&self, name: &str) -> Vec<Value> {
        let text = self.get(name).unwrap_or_else(|| panic!("no `{name}`"));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[async_trait]
impl Objects for InMemory {
    async fn read(&self, source: &Source, _: u64) -> Result<Found, BoxError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let objects = self.objects.lock().unwrap();
        match objects.get(&format!("{}/{}", source.bucket, source.key)) {
            None => Err("it is gone".into()),
            Some((version, _)) if Some(version) != source.etag.as_ref() => Ok(Found::Replaced),
            Some((_, bytes)) => Ok(Found::Content(Content { bytes: bytes.clone(), kind: None })),
        }
    }

    async fn exists(&self, bucket: &str, key: &str) -> Result<bool, BoxError> {
        Ok(self.objects.lock().unwrap().contains_key(&format!("{bucket}/{key}")))
    }

    async fn create(&self, bucket: &str, key: &str, content: Bytes) -> Result<bool, BoxError> {
        let object = ("new".to_owned(), content);
        Ok(self.objects.lock().unwrap().insert(format!("{bucket}/{key}"), object).is_none())
    }

    async fn renew(&self) -> Result<(), BoxError> {
        Ok(())
    }
}

/// Says what was asked, where; refuses `bad`, has no time for `busy` and takes all of it for `slow`.
async fn echo(request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let is_trusted = request.extensions().get::<Trusted>().is_some();
    let body = to_bytes(request.into_body(), usize::MAX).await.unwrap();
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let refused = |status, message| {
        json::response(status, &json!({"error": {"message": message, "type": "a_type"}}))
    };
    match asked["prompt"].as_str() {
        Some("bad") => refused(StatusCode::BAD_REQUEST, "bad indeed"),
        Some("busy") => refused(StatusCode::TOO_MANY_REQUESTS, "busy"),
        Some("slow") => std::future::pending().await,
        _ => json::response(
            StatusCode::OK,
            &json!({"at": path, "asked": asked, "trusted": is_trusted}),
        ),
    }
}

struct Function {
    lambda: Lambda,
    objects: Arc<InMemory>,
    model: Model,
}

fn function(streams: bool, options: Options) -> Function {
    let objects = Arc::new(InMemory::default());
    let model = Model::new(vec!["m".to_owned()], Timeline::start(None));
    let results = Place { bucket: "out".to_owned(), prefix: "r/".to_owned() };
    let store: Arc<dyn Objects> = Arc::clone(&objects) as _;
    let batch = Some(Batch::new(store, results, options).unwrap());
    let server = Server::new(model.clone(), crate::Settings::default());
    let router = Router::new().fallback(echo);
    Function { lambda: Lambda::over(router, server, Settings { streams, batch }), objects, model }
}

fn completing() -> Options {
    Options { task: Task::Completion, ..Options::default() }
}

impl Function {
    async fn invoke(&self, payload: Value) -> Result<Told, Error> {
        self.invoke_within(Duration::from_mins(1), payload).await
    }

    async fn invoke_within(&self, time: Duration, payload: Value) -> Result<Told, Error> {
        let end = SystemTime::now() + time;
        let end = end.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let mut context = lambda_runtime::Context::default();
        context.deadline = u64::try_from(end.as_millis()).unwrap();
        self.lambda.clone().answer(LambdaEvent::new(payload, context)).await
    }

    async fn whole(&self, payload: Value) -> Value {
        match self.invoke(payload).await.unwrap() {
            FunctionResponse::BufferedResponse(value) => value,
            FunctionResponse::StreamingResponse(_) => panic!("it is streamed"),
        }
    }

    async fn refused(&self, payload: Value) -> Error {
        self.invoke(payload).await.err().expect("an error")
    }
}

fn url_event(path: &str, body: &Value) -> Value {
    json!({
        "version": "2.0", "rawPath": path, "rawQueryString": "",
        "headers": {"content-type": "application/json"},
        "requestContext": {"http": {"method": "POST", "path": path}, "domainName": "x.lambda-url.y.on.aws"},
        "body": body.to_string(), "isBase64Encoded": false,
    })
}

fn created(key: &str, etag: &str) -> Value {
    json!({"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": {
        "bucket": {"name": "in"}, "object": {"key": key, "size": 1, "eTag": etag},
    }}]})
}

fn queue(bodies: &[Value]) -> Value {
    let records = bodies.iter().enumerate().map(|(n, body)| {
        json!({"eventSource": "aws:sqs", "messageId": format!("m{n}"), "body": body.to_string()})
    });
    json!({ "Records": records.collect::<Vec<_>>() })
}

#[tokio::test]
async fn http_is_answered_whole_or_streamed_as_the_platform_takes_it() {
    let event = url_event("/v1/x", &json!({"prompt": "a"}));
    let whole = function(false, completing()).whole(event.clone()).await;
    assert_eq!((&whole["statusCode"], &whole["cookies"]), (&json!(200), &json!([])));
    let body: Value = serde_json::from_str(whole["body"].as_str().unwrap()).unwrap();
    assert_eq!(body, json!({"at": "/v1/x", "asked": {"prompt": "a"}, "trusted": false}));

    let told = function(true, completing()).invoke(event).await.unwrap();
    let FunctionResponse::StreamingResponse(streamed) = told else { panic!("it is whole") };
    assert_eq!(streamed.metadata_prelude.status_code, 200);
    assert_eq!(streamed.metadata_prelude.headers[CONTENT_TYPE], "application/json");
    let bytes = to_bytes(axum::body::Body::from_stream(streamed.stream), usize::MAX).await.unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), body);
}

#[tokio::test]
async fn a_body_alone_is_answered_without_a_key_and_by_the_one_model() {
    let function = function(true, completing());
    let answer = function.whole(json!({"prompt": "a", "max_tokens": 3})).await;
    let asked = json!({"prompt": "a", "max_tokens": 3, "model": "m"});
    assert_eq!(answer, json!({"at": "/v1/completions", "asked": asked, "trusted": true}));
    let answer = function.whole(json!({"messages": [], "model": "n"})).await;
    assert_eq!(
        (&answer["at"], &answer["asked"]["model"]),
        (&json!("/v1/chat/completions"), &json!("n"))
    );
    assert_eq!(function.whole(json!({"input": []})).await["at"], "/v1/embeddings");

    let told = lambda_runtime::Diagnostic::from(function.refused(json!({"prompt": "bad"})).await);
    assert_eq!((told.error_type.as_str(), told.error_message.as_str()), ("a_type", "bad indeed"));
    let streamed = function.refused(json!({"prompt": "a", "stream": true})).await.to_string();
    assert!(streamed.starts_with("`stream`") && streamed.contains("function URL"), "{streamed}");
}

#[tokio::test]
async fn what_is_late_is_told_before_the_platform_ends_it() {
    let function = function(false, completing());
    let soon = Duration::from_millis(300);
    let direct = function.invoke_within(soon, json!({"prompt": "slow"})).await;
    assert!(matches!(direct, Err(Error::Late)));
    let event = url_event("/v1/x", &json!({"prompt": "slow"}));
    let Ok(FunctionResponse::BufferedResponse(http)) = function.invoke_within(soon, event).await
    else {
        panic!("it is told over HTTP")
    };
    assert_eq!(http["statusCode"], 504);
    let messages = queue(&[json!({"prompt": "slow"}), json!({"prompt": "a"})]);
    let Ok(FunctionResponse::BufferedResponse(told)) = function.invoke_within(soon, messages).await
    else {
        panic!("it is told to the queue")
    };
    assert_eq!(told, json!({"batchItemFailures": [{"itemIdentifier": "m0"}]}));
}

#[tokio::test]
async fn an_object_is_worked_with_once_for_each_of_its_versions() {
    let params =
        json!({"max_tokens": 7, "stream": true, "stream_options": {"include_usage": true}});
    let params = params.as_object().unwrap().clone();
    let template = Some(Template::new("<{text}>").unwrap());
    let function = function(false, Options { template, params, ..completing() });
    let lines = "\"a\"\n{\"id\": \"two\", \"prompt\": \"bad\"}\nnot JSON\n{\"text\": \"b\"}\n";
    function.objects.put("in/d/x.jsonl", "v1", lines);
    let told = function.whole(created("d/x.jsonl", "v1")).await;
    let name = "s3://in/d/x.jsonl";
    let result = "s3://out/r/in/d/x.jsonl@v1.jsonl";
    let written =
        json!({"source": name, "outcome": "written", "result": result, "entries": 4, "refused": 2});
    assert_eq!(told, json!({ "results": [written] }));

    let lines = function.objects.lines("out/r/in/d/x.jsonl@v1.jsonl");
    let asked = json!({"prompt": "<a>", "max_tokens": 7, "model": "m"});
    assert_eq!(lines[0]["custom_id"], format!("{name}#0"));
    assert_eq!(lines[0]["response"]["body"]["asked"], asked);
    assert_eq!(
        (&lines[0]["response"]["status_code"], &lines[0]["error"]),
        (&json!(200), &Value::Null)
    );
    assert_eq!(
        (&lines[1]["custom_id"], &lines[1]["response"]["status_code"]),
        (&json!("two"), &json!(400))
    );
    assert_eq!(lines[2]["error"]["code"], "invalid_entry");
    assert_eq!(lines[3]["response"]["body"]["asked"]["prompt"], "<b>");

    let again = function.whole(created("d/x.jsonl", "v1")).await;
    assert_eq!(again["results"][0]["outcome"], "present");
    assert_eq!(function.objects.reads.load(Ordering::SeqCst), 1, "nothing is read again");
    let replaced = function.whole(created("d/x.jsonl", "v0")).await;
    assert_eq!(replaced["results"][0]["outcome"], "replaced");
}

#[tokio::test]
async fn entries_that_could_not_be_answered_fail_their_object_and_no_other() {
    let function = function(false, completing());
    function.objects.put("in/busy.txt", "v", "busy");
    function.objects.put("in/fine.txt", "v", "fine");
    let mut event = created("busy.txt", "v");
    for other in [created("gone.txt", "v"), created("fine.txt", "v"), created("image.jpg", "v")] {
        event["Records"].as_array_mut().unwrap().push(other["Records"][0].clone());
    }
    function.objects.put("in/image.jpg", "v", "?");
    let error = function.refused(event).await.to_string();
    assert!(error.starts_with("3 of 4 failed: ") && error.contains("429"), "{error}");
    assert!(function.objects.get("out/r/in/fine.txt@v.jsonl").is_some());
    assert!(function.objects.get("out/r/in/busy.txt@v.jsonl").is_none());
}

#[tokio::test]
async fn a_queue_is_told_which_messages_to_keep() {
    let function = function(false, completing());
    function.objects.put("in/a.txt", "v", "a");
    let messages = [
        json!("poison"),
        created("a.txt", "v"),
        created("gone.txt", "v"),
        json!({"prompt": "a"}),
        json!({"prompt": "busy"}),
    ];
    let told = function.whole(queue(&messages)).await;
    let failed: Vec<_> = ["m0", "m2", "m4"].map(|id| json!({ "itemIdentifier": id })).into();
    assert_eq!(told, json!({ "batchItemFailures": failed }));
    assert_eq!(function.objects.lines("out/r/sqs/m3.jsonl")[0]["custom_id"], "sqs/m3");
}

#[tokio::test]
async fn what_only_looks_like_an_object_is_no_failure() {
    let function = function(false, completing());
    let mut event = created("new+folder/", "v");
    event["Records"][0]["s3"]["object"]["size"] = json!(0);
    let told = function.whole(event).await;
    assert_eq!(told["results"][0]["outcome"], "is_folder");
    let test = json!({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "in"});
    assert_eq!(function.whole(test.clone()).await, json!({"results": []}));
    let told = function.whole(queue(&[test])).await;
    assert_eq!(told, json!({"batchItemFailures": []}));
    assert_eq!(function.objects.reads.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn results_are_never_worked_with() {
    let place = |prefix: &str| Place { bucket: "out".to_owned(), prefix: prefix.to_owned() };
    for (results, sources) in [("r/", ""), ("", "r/"), ("r/", "r/"), ("r/x/", "r/")] {
        let options = Options { sources: Some(place(sources)), ..completing() };
        let batch = Batch::new(Arc::new(InMemory::default()), place(results), options);
        assert!(matches!(batch, Err(Error::Loop { .. })), "{results} {sources}");
    }
    let options = Options { sources: Some(place("in/")), ..completing() };
    let function = function(false, options);
    let mut event = created("r/in/a.txt@v.jsonl", "v");
    event["Records"][0]["s3"]["bucket"]["name"] = json!("out");
    assert_eq!(function.whole(event.clone()).await["results"][0]["outcome"], "is_result");
    event["Records"][0]["s3"]["object"]["key"] = json!("elsewhere/a.txt");
    let error = function.refused(event).await.to_string();
    assert!(error.contains("`s3://out/in/`"), "{error}");
}

#[tokio::test]
async fn without_a_place_for_results_nothing_is_worked_with() {
    let function = function(false, completing());
    let lambda = Lambda::over(
        Router::new().fallback(echo),
        function.lambda.0.server.clone(),
        Settings::default(),
    );
    let function = Function { lambda, ..function };
    let error = function.refused(created("a.txt", "v")).await.to_string();
    assert!(error.contains("RESULT_BUCKET"), "{error}");
}

#[tokio::test]
async fn a_snapshot_waits_for_the_weights_and_is_not_taken_without_them() {
    let function = function(false, completing());
    let before = tokio::spawn({
        let lambda = function.lambda.clone();
        async move { lambda.before_snapshot().await.map_err(|error| error.to_string()) }
    });
    tokio::task::yield_now().await;
    assert!(!before.is_finished());
    function.model.is_ready();
    assert_eq!(before.await.unwrap(), Ok(()));
    function.model.has_failed("no such bucket");
    let refused = function.lambda.before_snapshot().await.unwrap_err().to_string();
    assert!(refused.contains("no such bucket"), "{refused}");
}
