//! The document against the code.

use std::collections::BTreeSet;
use std::num::NonZero;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{ALLOW, CONTENT_TYPE};
use axum::http::{Method, StatusCode};
use firstlight_generate::{Embedder, Tokenizer, embed};
use firstlight_timeline::Timeline;
use http_body_util::BodyExt;
use tower_service::Service;

use super::schema::Schema;
use super::*;
use crate::fields::asked;
use crate::router::{instance, v1};
use crate::speech::tests::{TOKENIZER, speech};
use crate::{Keys, Limits, Model, Settings};

const METHODS: [&str; 7] = ["get", "put", "post", "delete", "options", "patch", "trace"];

fn server(settings: Settings) -> Server {
    Server::new(Model::new(vec!["story".to_owned()], Timeline::start(None)), settings)
}

/// A server that reads and checks whole requests, and then is stopping.
fn speaking(settings: Settings) -> Server {
    let (speech, _worker) = speech();
    speech.engine.stop(Duration::ZERO);
    let server = server(settings);
    server.model().speaks(speech);
    server
}

/// The same with an encoder.
fn embedding() -> Server {
    let limits = embed::Limits {
        max_tokens: 4096,
        vocabulary_size: 2048,
        lower_case: false,
        max_waiting: 1,
    };
    let (embedder, _worker) = Embedder::new(Tokenizer::parse(TOKENIZER).unwrap(), limits);
    embedder.stop(Duration::ZERO);
    let server = server(Settings::default());
    server.model().embeds(embedder);
    server
}

/// Status and body of an answer.
async fn post(server: &Server, path: &str, body: &Value) -> (StatusCode, Value) {
    let request = Request::post(path).header(CONTENT_TYPE, "application/json");
    let request = request.body(Body::from(body.to_string())).unwrap();
    let response = server.router().call(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

fn with(body: &Value, name: &str, value: Value) -> Value {
    let mut body = body.clone();
    body[name] = value;
    body
}

/// Each interface: its address, its schema, the server, and a request that is right.
fn interfaces() -> [(&'static str, &'static str, Server, Value); 3] {
    let said = json!([{"role": "user", "content": "a"}]);
    [
        (
            "/v1/chat/completions",
            "ChatRequest",
            speaking(Settings::default()),
            // What some fields are allowed with.
            json!({"model": "story", "messages": said, "stream": true, "logprobs": true}),
        ),
        (
            "/v1/completions",
            "CompletionRequest",
            speaking(Settings::default()),
            json!({"model": "story", "prompt": "a", "stream": true, "echo": true,
                   "max_tokens": u32::MAX}),
        ),
        (
            "/v1/embeddings",
            "EmbeddingRequest",
            embedding(),
            json!({"model": "story", "input": "a"}),
        ),
    ]
}

/// What is at an address of the document: its methods, in capitals.
fn methods(document: &Value, path: &str) -> Vec<String> {
    let mut item = &document["paths"][path];
    if let Some(pointer) = item["$ref"].as_str() {
        item = document.pointer(pointer.trim_start_matches('#')).unwrap();
    }
    let known = METHODS.into_iter().filter(|method| item.get(method).is_some());
    known.map(str::to_uppercase).collect()
}

#[tokio::test]
async fn every_route_is_in_it_and_nothing_else() {
    let server = server(Settings::default());
    let document = document(&server);
    let v1 = v1().into_iter().map(|(path, _)| format!("/v1{path}"));
    let instance = instance().into_iter().map(|(path, _)| path.to_owned());
    let known = v1.chain(instance).map(|path| path.replace("{*name}", "{model}"));
    let known: BTreeSet<_> = known.collect();
    let told = document["paths"].as_object().unwrap().keys().cloned();
    assert_eq!(known, told.collect());
    for path in known {
        let asked = Request::builder().method(Method::TRACE).uri(path.replace("{model}", "story"));
        let response = server.router().call(asked.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let allowed = response.headers()[ALLOW].to_str().unwrap();
        let allowed: Vec<_> = allowed.split(',').filter(|method| *method != "HEAD").collect();
        assert_eq!(methods(&document, &path), allowed, "{path}");
    }
}

#[tokio::test]
async fn every_field_that_is_asked_for_is_in_it_and_nothing_else() {
    let parts = json!([{"type": "text", "text": "a"}]);
    for (path, name, server, body) in interfaces() {
        let document = document(&server);
        let mut told = Vec::new();
        Schema::component(&document, name).params("", &mut told);
        let mut body = with(&body, "stream_options", json!({"include_usage": false}));
        if name == "ChatRequest" {
            body["messages"] = json!([{"role": "user", "content": parts}]);
        }
        if name != "EmbeddingRequest" {
            body["response_format"] = json!({"type": "text"});
        }
        asked::take();
        let (status, answer) = post(&server, path, &body).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{answer}");
        assert_eq!(asked::take(), told.into_iter().collect(), "{path}");
    }
}

/// What a field might be given: what clients write, and what lies at the bounds of `schema`.
fn candidates(schema: Schema<'_>) -> Vec<Value> {
    let common = json!([
        null, true, false, 0, 1, -1, 2.5, 1e300, -0.1, 3.0,
        "", "x", "text", "none", "float", "base64", "story", "x".repeat(256), "x".repeat(257),
        [], [1], [-1], ["a"], [""], [[1], [2]], ["a", [1]], [true], [null], vec!["a"; 17],
        vec!["a"; 129], {}, {"type": "text"}, {"a": 1}, {"5": 101}, {"5": -3}, {"5": "a"},
    ]);
    let near = schema.bounds().into_iter().flat_map(|bound| {
        let near = |it: i64| [json!(it.saturating_sub(1)), json!(it.saturating_add(1))];
        bound.as_i64().map(near).into_iter().flatten().chain([bound.clone()])
    });
    common.as_array().unwrap().iter().cloned().chain(near).collect()
}

#[tokio::test]
async fn what_it_allows_is_taken_and_everything_else_is_refused_by_name() {
    let mut wrong = Vec::new();
    for (path, name, server, body) in interfaces() {
        let document = document(&server);
        let schema = Schema::component(&document, name);
        assert!(schema.allows(&body));
        for (field, schema) in schema.properties() {
            for value in candidates(schema) {
                let mut body = with(&body, field, value.clone());
                if field == "best_of" {
                    body["n"] = value.clone();
                }
                let (status, answer) = post(&server, path, &body).await;
                let param = answer["error"]["param"].as_str().unwrap_or_default();
                let is_named = param.starts_with(field) || (field, param) == ("best_of", "n");
                let expected = if schema.allows(&value) {
                    StatusCode::SERVICE_UNAVAILABLE
                } else if field == "model" && value.is_string() {
                    StatusCode::NOT_FOUND
                } else {
                    StatusCode::BAD_REQUEST
                };
                let is_right = status == expected && (is_named || status.is_server_error());
                if !is_right {
                    wrong.push(format!("{path} {field}: {value:.80} is {status}: {answer}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn the_limit_of_an_answer_is_for_what_was_asked_and_cuts_what_is_usual() {
    let limits = Limits { answer_tokens: NonZero::new(9), ..Limits::default() };
    let server = speaking(Settings { limits, ..Settings::default() });
    let chat = json!({"model": "story", "messages": [{"role": "user", "content": "a"}]});
    let completion = json!({"model": "story", "prompt": "a"});
    for (path, body, param) in [
        ("/v1/chat/completions", with(&chat, "max_completion_tokens", json!(9)), None),
        (
            "/v1/chat/completions",
            with(&chat, "max_completion_tokens", json!(10)),
            Some("max_completion_tokens"),
        ),
        ("/v1/chat/completions", with(&chat, "max_tokens", json!(10)), Some("max_tokens")),
        ("/v1/completions", completion.clone(), None),
        ("/v1/completions", with(&completion, "max_tokens", json!(10)), Some("max_tokens")),
    ] {
        let (_, answer) = post(&server, path, &body).await;
        assert_eq!(answer["error"]["param"].as_str(), param, "{path}: {answer}");
    }
}

#[tokio::test]
async fn names_limits_and_keys_are_those_of_the_instance() {
    let model = Model::new(vec!["a/b".to_owned(), "b".to_owned()], Timeline::start(None));
    let limits = Limits { answer_tokens: NonZero::new(9), ..Limits::default() };
    let settings = Settings { limits, keys: Keys::parse("secret"), ..Settings::default() };
    let server = Server::new(model, settings);
    let request = Request::get("/openapi.json").body(Body::empty()).unwrap();
    let response = server.router().call(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK, "it is no secret what is served");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let document: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(document["security"], json!([{"key": []}]));
    let allows = |name, value| Schema::component(&document, name).allows(&value);
    assert!(allows("AnswerTokens", json!(9)) && !allows("AnswerTokens", json!(10)));
    assert!(allows("ModelName", json!("a/b")) && !allows("ModelName", json!("c")));
    assert!(!body.windows(6).any(|bytes| bytes == b"secret"));
}
