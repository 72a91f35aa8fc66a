//! The router as a service, without a socket and without an engine.

use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use firstlight_generate::{Embedder, Tokenizer};
use firstlight_model::Embeds;
use firstlight_timeline::Timeline;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower_service::Service;

use super::*;
use crate::speech::tests::TOKENIZER;
use crate::{Keys, Limits, Model, Ready, Settings};

fn model() -> Model {
    Model::new(vec!["owner/story".to_owned(), "alias".to_owned()], Timeline::start(None))
}

fn server(settings: Settings) -> Server {
    Server::new(model(), settings)
}

/// Status, headers and body of the answer.
async fn ask(server: &Server, request: Request) -> (StatusCode, axum::http::HeaderMap, Vec<u8>) {
    let response = server.router().call(request).await.unwrap();
    let (head, body) = response.into_parts();
    (head.status, head.headers, body.collect().await.unwrap().to_bytes().to_vec())
}

async fn ask_json(server: &Server, request: Request) -> (StatusCode, Value) {
    let (status, _, body) = ask(server, request).await;
    (status, serde_json::from_slice(&body).unwrap())
}

fn get(path: &str) -> Request {
    Request::get(path).body(Body::empty()).unwrap()
}

fn post(path: &str, body: impl Into<Body>) -> Request {
    Request::post(path).header(CONTENT_TYPE, "application/json").body(body.into()).unwrap()
}

#[tokio::test]
async fn models_are_listed_and_found_by_each_name_under_both_prefixes() {
    let server = server(Settings::default());
    for prefix in ["/v1", "/openai/v1"] {
        let (status, list) = ask_json(&server, get(&format!("{prefix}/models"))).await;
        assert_eq!((status, &list["data"][0]["id"]), (StatusCode::OK, &json!("owner/story")));
        let (status, one) = ask_json(&server, get(&format!("{prefix}/models/owner/story"))).await;
        assert_eq!((status, &one["object"]), (StatusCode::OK, &json!("model")));
        let (status, none) = ask_json(&server, get(&format!("{prefix}/models/gpt-4"))).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert_eq!(none["error"]["code"], "model_not_found");
    }
}

#[tokio::test]
async fn what_does_not_exist_is_an_error_object_too() {
    let server = server(Settings::default());
    let (status, body) = ask_json(&server, get("/v1/images")).await;
    assert_eq!((status, &body["error"]["code"]), (StatusCode::NOT_FOUND, &json!("unknown_url")));
    for path in ["/chat/completions", "/v1/v1/chat/completions", "//v1/chat/completions/"] {
        let (status, body) = ask_json(&server, post(path, "{}")).await;
        let message = body["error"]["message"].as_str().unwrap();
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert!(message.ends_with("did you mean `/v1/chat/completions`?"), "{message}");
    }
    let (status, body) = ask_json(&server, get("/v1/models/%ff")).await;
    let message = body["error"]["message"].as_str().unwrap();
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(message.starts_with("there is no model `%ff` here"), "{message}");
    let (status, body) = ask_json(&server, get("/v1/chat/completions")).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(body["error"]["type"], "invalid_request_error");
}

#[tokio::test]
async fn bad_bodies_are_told_before_the_model_is_there() {
    let settings = Settings {
        limits: Limits { body_bytes: 1000, ..Limits::default() },
        ..Settings::default()
    };
    let server = server(settings);
    let long = format!(r#"{{"model": "alias", "prompt": "{}"}}"#, "a".repeat(1000));
    let deep = "[".repeat(500);
    for (body, status, param) in [
        ("", 400, None),
        ("{", 400, None),
        ("[]", 400, None),
        ("\u{feff}{}", 400, None),
        (deep.as_str(), 400, None),
        ("{}", 400, Some("model")),
        (r#"{"model": 3}"#, 400, Some("model")),
        (r#"{"model": "gpt-4", "prompt": "x"}"#, 404, Some("model")),
        (r#"{"model": "alias"}"#, 400, Some("prompt")),
        (r#"{"model": "alias", "prompt": "x", "temperature": 1e999}"#, 400, None),
        (long.as_str(), 413, None),
    ] {
        let request = post("/v1/completions", body.to_owned());
        let (found, answer) = ask_json(&server, request).await;
        assert_eq!(found.as_u16(), status, "{body:.60}: {answer}");
        assert_eq!(answer["error"]["param"].as_str(), param, "{body:.60}: {answer}");
        assert!(answer["error"]["message"].as_str().is_some_and(|message| !message.is_empty()));
    }
    let form = Request::post("/v1/completions").header(CONTENT_TYPE, "text/plain");
    let (status, _) = ask_json(&server, form.body(Body::from("{}")).unwrap()).await;
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let mut packed = post("/v1/completions", "{}");
    packed.headers_mut().insert("content-encoding", HeaderValue::from_static("gzip"));
    let (status, headers, _) = ask(&server, packed).await;
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(headers["accept-encoding"], "identity");
}

#[tokio::test]
async fn keys_guard_the_model_and_not_the_probes() {
    let keys = Keys::parse("secret");
    let server = server(Settings { keys, ..Settings::default() });
    let (status, headers, body) = ask(&server, get("/v1/models")).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(headers["www-authenticate"], "Bearer");
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["error"]["code"], "invalid_api_key");
    let mut request = get("/v1/models");
    request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_static("Bearer secret"));
    assert_eq!(ask(&server, request).await.0, StatusCode::OK);
    assert_eq!(ask(&server, get("/health/live")).await.0, StatusCode::OK);
}

#[tokio::test]
async fn readiness_follows_the_policy_and_a_failed_load_is_told_everywhere() {
    const READY: [&str; 4] = ["/health/ready", "/v2/health/ready", "/health", "/ping"];
    const LIVE: [&str; 2] = ["/health/live", "/v2/health/live"];
    for (policy, while_loading) in [(Ready::Accepting, 200), (Ready::Loaded, 503)] {
        let model = model();
        let server = Server::new(model.clone(), Settings { ready: policy, ..Settings::default() });
        let all_are = async |paths: &[&str], status: u16| {
            for path in paths {
                assert_eq!(ask(&server, get(path)).await.0.as_u16(), status, "{path}");
            }
        };
        model.is_loading();
        all_are(&LIVE, 200).await;
        all_are(&READY, while_loading).await;
        model.is_ready();
        all_are(&READY, 200).await;
        model.has_failed("no `model.safetensors` here");
        all_are(&LIVE, 503).await;
        all_are(&READY, 503).await;
        let (_, status) = ask_json(&server, get("/status")).await;
        assert_eq!(status["state"], "FAILED");
        assert_eq!(status["error"], "no `model.safetensors` here");
        let request = post("/v1/completions", r#"{"model": "alias", "prompt": "x"}"#);
        let (status, answer) = ask_json(&server, request).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains("no `model.safetensors` here"), "{message}");
    }
}

#[tokio::test]
async fn the_page_needs_no_key_is_cached_by_its_tag_and_can_be_left_out() {
    let keys = Keys::parse("secret");
    let with = server(Settings { page: true, keys: keys.clone(), ..Settings::default() });
    for path in ["/", "/page/page.js", "/page/timeline"] {
        let (status, headers, body) = ask(&with, get(path)).await;
        assert_eq!((status, body.is_empty()), (StatusCode::OK, false), "{path}");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"));
        let head = Request::head(path).body(Body::empty()).unwrap();
        let (status, headers, body) = ask(&with, head).await;
        assert_eq!((status, body.is_empty()), (StatusCode::OK, true), "{path}");
        let mut again = get(path);
        if let Some(tag) = headers.get("etag") {
            again.headers_mut().insert("if-none-match", tag.clone());
        }
        let status = ask(&with, again).await.0;
        let is_made_anew = path == "/page/timeline";
        let expected = if is_made_anew { StatusCode::OK } else { StatusCode::NOT_MODIFIED };
        assert_eq!(status, expected, "{path}");
    }
    let (_, status) = ask_json(&with, get("/status")).await;
    assert_eq!((&status["needs_key"], &status["serves"]), (&json!(true), &Value::Null));
    let without = server(Settings { keys, ..Settings::default() });
    for path in ["/", "/page/page.js", "/page/timeline"] {
        let (status, answer) = ask_json(&without, get(path)).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert_eq!(answer["error"]["code"], "unknown_url");
    }
}

/// Its vectors are the first token and the number of tokens.
struct Vectors;

impl Embeds for Vectors {
    fn max_rows(&self) -> usize {
        64
    }

    fn max_texts(&self) -> usize {
        4
    }

    fn embed(&mut self, texts: &[&[u32]]) -> Result<Vec<Vec<f32>>, firstlight_model::Error> {
        Ok(texts.iter().map(|ids| vec![ids[0] as f32, ids.len() as f32]).collect())
    }

    fn pull(&mut self) -> Result<bool, firstlight_model::Error> {
        Ok(false)
    }
}

#[tokio::test]
async fn embeddings_are_those_of_the_embedder_in_the_form_that_was_asked_for() {
    let limits = firstlight_generate::embed::Limits {
        max_tokens: 20,
        vocabulary_size: 2048,
        lower_case: false,
        max_waiting: 4,
    };
    let (embedder, worker) = Embedder::new(Tokenizer::parse(TOKENIZER).unwrap(), limits);
    let computing = std::thread::spawn(move || worker.run(Vectors));
    let model = model();
    let server = Server::new(model.clone(), Settings::default());
    model.embeds(embedder.clone());
    let embed = async |fields: &str| {
        let body = format!(r#"{{"model": "alias", {fields}}}"#);
        ask_json(&server, post("/v1/embeddings", body)).await
    };
    let (status, list) = embed(r#""input": [[7, 8, 9], [3]]"#).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(list["data"][0]["embedding"], json!([7.0, 3.0]));
    assert_eq!(
        list["data"][1],
        json!({"object": "embedding", "index": 1, "embedding": [3.0, 1.0]})
    );
    assert_eq!(list["usage"], json!({"prompt_tokens": 4, "total_tokens": 4}));
    let (_, list) = embed(r#""input": [2, 2], "encoding_format": "base64", "dimensions": 1"#).await;
    assert_eq!(
        list["data"][0]["embedding"], "AACAPw==",
        "1.0: the rest is left out and it is scaled"
    );
    let (_, list) = embed(r#""input": "Once upon a time""#).await;
    let tokens = list["usage"]["prompt_tokens"].as_f64();
    assert_eq!(list["data"][0]["embedding"][1].as_f64(), tokens);
    let long = "word ".repeat(50);
    for (fields, param) in [
        (r#""input": [2], "dimensions": 3"#.to_owned(), "dimensions"),
        (r#""input": [9999]"#.to_owned(), "input"),
        (r#""input": [[]]"#.to_owned(), "input"),
        (format!(r#""input": "{long}""#), "input"),
    ] {
        let (status, answer) = embed(&fields).await;
        assert_eq!((status, &answer["error"]["param"]), (StatusCode::BAD_REQUEST, &json!(param)));
    }
    let (status, answer) =
        ask_json(&server, post("/v1/completions", r#"{"model": "alias", "prompt": "x"}"#)).await;
    assert_eq!((status, &answer["error"]["param"]), (StatusCode::BAD_REQUEST, &json!("model")));
    embedder.stop(std::time::Duration::ZERO);
    computing.join().unwrap().unwrap();
}

#[tokio::test]
async fn a_trace_goes_through_and_pages_may_ask_only_where_they_were_named() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let mut request = get("/v1/models");
    let parent = HeaderValue::try_from(format!("00-{TRACE}-00f067aa0ba902b7-01")).unwrap();
    request.headers_mut().insert("traceparent", parent);
    let (_, headers, _) = ask(&server(Settings::default()), request).await;
    assert_eq!(headers["x-request-id"], TRACE);
    assert!(headers["traceparent"].to_str().unwrap().starts_with(&format!("00-{TRACE}-")));
    assert!(!headers.contains_key("access-control-allow-origin"));

    let cors = Some("https://page.example".parse().unwrap());
    let server = server(Settings { cors, keys: Keys::parse("k"), ..Settings::default() });
    let preflight = Request::options("/v1/chat/completions")
        .header("access-control-request-method", "POST")
        .body(Body::empty());
    let (status, headers, _) = ask(&server, preflight.unwrap()).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(headers["access-control-allow-origin"], "https://page.example");
}

#[tokio::test]
async fn metrics_are_open_metrics_with_the_names_of_vllm() {
    let server = server(Settings::default());
    ask(&server, get("/v1/models")).await;
    let (status, headers, body) = ask(&server, get("/metrics")).await;
    let text = String::from_utf8(body).unwrap();
    assert_eq!(status, StatusCode::OK);
    assert!(headers[CONTENT_TYPE].to_str().unwrap().starts_with("application/openmetrics-text"));
    for line in [
        "vllm:num_requests_running{model_name=\"owner/story\"} 0",
        "vllm:num_requests_waiting{model_name=\"owner/story\"} 0",
        "vllm:kv_cache_usage_perc{model_name=\"owner/story\"} 0",
        "vllm:prompt_tokens_total{model_name=\"owner/story\"} 0",
        "vllm:generation_tokens_total{model_name=\"owner/story\"} 0",
        "vllm:time_to_first_token_seconds_count{model_name=\"owner/story\"} 0",
        "vllm:inter_token_latency_seconds_bucket{model_name=\"owner/story\",le=\"+Inf\"} 0",
        "firstlight_ready 0",
        "firstlight_store_hedges_total 0",
        "firstlight_http_requests_total{route=\"/v1/models\",status=\"200\"} 1",
        "# EOF",
    ] {
        let is_there = text.lines().any(|found| found == line || found == format!("{line}.0"));
        assert!(is_there, "{line}\n{text}");
    }
}
