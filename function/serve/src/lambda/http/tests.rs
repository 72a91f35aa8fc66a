use std::time::Duration;

use axum::http::Method;
use axum::http::header::{CONTENT_TYPE, HOST};

use super::*;

fn exchange(event: &Value) -> Exchange {
    Exchange::parse(event.as_object().unwrap().clone()).unwrap()
}

async fn read(event: &Value) -> (Dialect, Method, String, HeaderMap, String) {
    let Exchange { dialect, request } = exchange(event);
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    (dialect, parts.method, parts.uri.to_string(), parts.headers, body)
}

fn all(headers: &HeaderMap, name: &str) -> Vec<String> {
    headers.get_all(name).iter().map(text).collect()
}

#[tokio::test]
async fn payload_format_1_has_lists_and_decoded_parameters() {
    let event = json!({
        "version": "1.0", "httpMethod": "POST", "path": "/v1/chat/completions",
        "headers": {"Content-Type": "application/json", "X-Two": "b"},
        "multiValueHeaders": {"Content-Type": ["application/json"], "X-Two": ["a", "b"]},
        "queryStringParameters": {"q": "2"},
        "multiValueQueryStringParameters": {"q": ["a b&c", "2"]},
        "requestContext": {"stage": "prod", "httpMethod": "POST", "path": "/prod/v1/chat/completions"},
        "body": "{}", "isBase64Encoded": false,
    });
    let (dialect, method, uri, headers, body) = read(&event).await;
    assert_eq!((dialect, method), (Dialect::Gateway1, Method::POST));
    assert_eq!(uri, "/v1/chat/completions?q=a%20b%26c&q=2");
    assert_eq!(all(&headers, "x-two"), ["a", "b"]);
    assert_eq!((all(&headers, "content-type").len(), body.as_str()), (1, "{}"));
}

#[tokio::test]
async fn payload_format_2_has_cookies_a_stage_and_base64() {
    let event = json!({
        "version": "2.0", "routeKey": "$default", "rawPath": "/prod/v1/a b/é", "rawQueryString": "a=1&b=%20",
        "cookies": ["x=1", "y=2"], "headers": {"host": "h", "x-list": "a,b"},
        "requestContext": {"stage": "prod", "domainName": "x.execute-api.eu-west-1.amazonaws.com",
                           "http": {"method": "PUT", "path": "/prod/v1/a b/é"}},
        "body": BASE64_STANDARD.encode("{\"a\": \"é\"}"), "isBase64Encoded": true,
    });
    let (dialect, method, uri, headers, body) = read(&event).await;
    assert_eq!((dialect, method), (Dialect::Gateway2, Method::PUT));
    assert_eq!(uri, "/v1/a%20b/%C3%A9?a=1&b=%20");
    assert_eq!(
        (all(&headers, "cookie"), all(&headers, HOST.as_str())),
        (vec!["x=1; y=2".into()], vec!["h".into()])
    );
    assert_eq!(body, "{\"a\": \"é\"}");
}

#[tokio::test]
async fn a_function_url_has_no_stage_to_take_away() {
    let event = |path: &str| {
        json!({
            "version": "2.0", "rawPath": path, "rawQueryString": "", "headers": {},
            "requestContext": {"stage": "$default", "domainName": "x.lambda-url.eu-west-1.on.aws",
                               "http": {"method": "GET", "path": path}},
            "isBase64Encoded": false,
        })
    };
    let (dialect, method, uri, _, body) = read(&event("/v1/models")).await;
    assert_eq!(
        (dialect, method, uri.as_str(), body.as_str()),
        (Dialect::Url, Method::GET, "/v1/models", "")
    );
    assert!(dialect.can_stream() && !Dialect::Gateway2.can_stream());
    let staged = |path| {
        exchange(&json!({
            "rawPath": path, "requestContext": {"stage": "v1", "http": {"method": "GET"}},
        }))
    };
    assert_eq!(staged("/v1").request.uri(), "/");
    assert_eq!(staged("/v1beta/x").request.uri(), "/v1beta/x");
}

#[tokio::test]
async fn a_load_balancers_parameters_are_encoded_already() {
    let health = json!({
        "requestContext": {"elb": {"targetGroupArn": "arn"}}, "httpMethod": "GET", "path": "/health/ready",
        "queryStringParameters": {"q": "a%20b"}, "headers": {"user-agent": "ELB-HealthChecker/2.0"},
        "body": "", "isBase64Encoded": false,
    });
    let (dialect, _, uri, headers, _) = read(&health).await;
    assert_eq!(dialect, Dialect::Balancer { has_lists: false });
    assert_eq!((uri.as_str(), all(&headers, "user-agent").len()), ("/health/ready?q=a%20b", 1));
}

#[test]
fn what_is_not_a_request_is_told() {
    let refused =
        |event: Value| Exchange::parse(event.as_object().unwrap().clone()).unwrap_err().to_string();
    let body = json!({"httpMethod": "POST", "path": "/", "body": "?", "isBase64Encoded": true, "requestContext": {}});
    assert!(refused(body).contains("not base64"));
    assert!(
        refused(json!({"httpMethod": "NO METHOD", "requestContext": {}})).contains("`NO METHOD`")
    );
    assert!(
        refused(json!({"httpMethod": "GET", "headers": [], "requestContext": {}}))
            .contains("expected a map")
    );
}

fn response(body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::NOT_FOUND;
    for (name, value) in
        [("x-two", "a"), ("x-two", "b"), ("set-cookie", "x=1"), ("set-cookie", "y=2")]
    {
        response.headers_mut().append(name, HeaderValue::from_static(value));
    }
    response
}

async fn whole(dialect: Dialect, body: impl Into<Body>) -> Value {
    dialect.whole(response(body), Deadline::within(Duration::from_mins(1))).await
}

#[tokio::test]
async fn each_dialect_writes_headers_in_its_own_way() {
    let lists = json!({"x-two": ["a", "b"], "set-cookie": ["x=1", "y=2"]});
    assert_eq!(
        whole(Dialect::Gateway1, "é").await,
        json!({"statusCode": 404, "body": "é", "isBase64Encoded": false, "multiValueHeaders": lists})
    );
    let joined = json!({
        "statusCode": 404, "body": "é", "isBase64Encoded": false, "headers": {"x-two": "a, b"},
        "cookies": ["x=1", "y=2"],
    });
    assert_eq!(whole(Dialect::Gateway2, "é").await, joined);
    assert_eq!(whole(Dialect::Url, "é").await, joined);
    let balanced = whole(Dialect::Balancer { has_lists: true }, "é").await;
    assert_eq!(
        (&balanced["multiValueHeaders"], &balanced["statusDescription"]),
        (&lists, &json!("404 Not Found"))
    );
    let balanced = whole(Dialect::Balancer { has_lists: false }, "é").await;
    assert_eq!(balanced["headers"], json!({"x-two": "a, b"}));
}

#[tokio::test]
async fn bytes_that_are_no_text_are_written_as_base64() {
    let written = whole(Dialect::Url, vec![0xff, 0x00]).await;
    assert_eq!((&written["body"], &written["isBase64Encoded"]), (&json!("/wA="), &json!(true)));
}

#[tokio::test]
async fn an_answer_that_the_platform_would_not_take_is_an_error_instead() {
    let fits = whole(Dialect::Gateway1, "a".repeat(5 << 20)).await;
    assert_eq!(fits["statusCode"], 404);
    for (dialect, length) in [
        (Dialect::Gateway1, 6 << 20),
        // Each of them takes two bytes as JSON.
        (Dialect::Url, (3 << 20) + 1),
        (Dialect::Balancer { has_lists: true }, 1 << 20),
    ] {
        let refused = whole(dialect, "\n".repeat(length)).await;
        assert_eq!(refused["statusCode"], 500, "{dialect:?}");
        let body: Value = serde_json::from_str(refused["body"].as_str().unwrap()).unwrap();
        assert_eq!(body["error"]["code"], "answer_too_long");
    }
}

#[tokio::test]
async fn a_body_that_is_late_is_a_timeout() {
    let stuck = Body::new(Stuck);
    let late = Deadline::within(Duration::from_millis(1));
    let mut response = response(stuck);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    let told = Dialect::Url.whole(response, late).await;
    assert_eq!(
        (&told["statusCode"], &told["headers"]["content-type"]),
        (&json!(504), &json!("application/json"))
    );
}

/// A body that never comes.
struct Stuck;

impl http_body::Body for Stuck {
    type Data = bytes::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, axum::Error>>> {
        std::task::Poll::Pending
    }
}
