//! The bucket as AWS's own client sees it: signatures, versions, ranges, listings, errors.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use aws_sdk_s3::{
    Client,
    config::{BehaviorVersion, Credentials, Region, retry::RetryConfig},
    error::{ProvideErrorMetadata, SdkError},
    operation::get_object::{GetObjectError, GetObjectOutput, builders::GetObjectFluentBuilder},
};
use firstlight_bucket::{Action, Bucket, Builder, Faults, Objects, Requests, Running};

#[tokio::test]
async fn reads_ranges_and_versions() {
    let server = start(bucket());
    let client = client(&server);
    let whole = read(get(&client, "a/weights")).await.unwrap();
    assert_eq!(whole, CONTENTS);
    for (range, expected) in [("bytes=2-4", "234"), ("bytes=7-", "789"), ("bytes=-2", "89")] {
        assert_eq!(read(get(&client, "a/weights").range(range)).await.unwrap(), expected);
    }

    let head = client.head_object().bucket("models").key("a/weights").send().await.unwrap();
    assert_eq!(head.content_length(), Some(10));
    let version = head.e_tag().unwrap();
    assert_eq!(read(get(&client, "a/weights").if_match(version)).await.unwrap(), CONTENTS);

    server.objects().insert("models", "a/weights", "replaced");
    assert_eq!(
        refusal(get(&client, "a/weights").if_match(version)).await,
        (412, "PreconditionFailed".into())
    );
    assert_eq!(read(get(&client, "a/weights")).await.unwrap(), "replaced");
    server.objects().remove("models", "a/weights");
    assert_eq!(refusal(get(&client, "a/weights")).await, (404, "NoSuchKey".into()));
}

#[tokio::test]
async fn a_new_object_is_put_once() {
    let server = start(bucket());
    let client = client(&server);
    let put = |key: &str, text: &'static str| {
        let body = aws_sdk_s3::primitives::ByteStream::from_static(text.as_bytes());
        client.put_object().bucket("models").key(key).body(body)
    };
    put("new/a", "first").if_none_match("*").send().await.unwrap();
    let again = put("new/a", "second").if_none_match("*").send().await.unwrap_err();
    assert_eq!(again.raw_response().unwrap().status().as_u16(), 412);
    assert_eq!(read(get(&client, "new/a")).await.unwrap(), "first");
    put("new/a", "third").send().await.unwrap();
    assert_eq!(server.objects().get("models", "new/a").unwrap(), "third");
    let nowhere = put("a", "").bucket("no-such-bucket").send().await.unwrap_err();
    assert_eq!(nowhere.code(), Some("NoSuchBucket"));
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let server = start(bucket());
    let client = client(&server);
    assert_eq!(refusal(get(&client, "none")).await, (404, "NoSuchKey".into()));
    let elsewhere = client.get_object().bucket("no-such-bucket").key("a");
    assert_eq!(refusal(elsewhere).await, (404, "NoSuchBucket".into()));
    let past_the_end = get(&client, "a/weights").range("bytes=10-");
    assert_eq!(refusal(past_the_end).await, (416, "InvalidRange".into()));

    let head = client.head_object().bucket("models").key("none").send().await;
    assert!(head.unwrap_err().into_service_error().is_not_found());
}

#[tokio::test]
async fn without_listing_a_missing_key_is_forbidden() {
    let server = start(bucket().allow_listing(false));
    let client = client(&server);
    assert_eq!(refusal(get(&client, "none")).await, (403, "AccessDenied".into()));
    assert!(client.list_objects_v2().bucket("models").send().await.is_err());
    assert_eq!(read(get(&client, "a/weights")).await.unwrap(), CONTENTS);
}

#[tokio::test]
async fn signatures_are_checked() {
    let server = start(bucket());
    let with = |access: &str, secret: &str| client_with(&server, access, secret, "us-east-1");
    let wrong_secret = with(server.access_key(), "wrong");
    assert_eq!(
        refusal(get(&wrong_secret, "a/weights")).await,
        (403, "SignatureDoesNotMatch".into())
    );
    let unknown = with("nobody", server.secret_key());
    assert_eq!(refusal(get(&unknown, "a/weights")).await, (403, "InvalidAccessKeyId".into()));
}

#[tokio::test]
async fn another_region_is_told_the_right_one() {
    let server = start(bucket().region("eu-central-1"));
    let right = client(&server);
    assert_eq!(read(get(&right, "a/weights")).await.unwrap(), CONTENTS);

    let wrong = client_with(&server, server.access_key(), server.secret_key(), "us-east-1");
    let error = get(&wrong, "a/weights").send().await.unwrap_err();
    let response = error.raw_response().unwrap();
    assert_eq!(response.status().as_u16(), 400);
    assert_eq!(response.headers().get("x-amz-bucket-region"), Some("eu-central-1"));
    assert_eq!(error.code(), Some("AuthorizationHeaderMalformed"));
    assert!(error.message().unwrap().contains("expecting 'eu-central-1'"));
}

#[tokio::test]
async fn errors_that_pass_are_retried_by_the_client() {
    let server = start(
        bucket()
            .faults(Faults::new(0).on(Requests::get("models", "*").first(2), Action::slow_down())),
    );
    let patient = RetryConfig::standard().with_initial_backoff(std::time::Duration::from_millis(1));
    let config = client(&server).config().to_builder().retry_config(patient).build();
    assert_eq!(read(get(&Client::from_conf(config), "a/weights")).await.unwrap(), CONTENTS);
    let statuses: Vec<_> = server.requests().iter().map(|request| request.status).collect();
    assert_eq!(statuses, [Some(503), Some(503), Some(200)]);
}

#[tokio::test]
async fn an_object_replaced_during_a_load_is_another_version() {
    let server = start(bucket().faults(
        Faults::new(0).on(Requests::get("models", "*").nth(2), Action::Replace("new".into())),
    ));
    let client = client(&server);
    let first = get(&client, "a/weights").range("bytes=0-4").send().await.unwrap();
    let version = first.e_tag().unwrap().to_owned();
    let second = get(&client, "a/weights").range("bytes=5-9").if_match(version);
    assert_eq!(refusal(second).await, (412, "PreconditionFailed".into()));
    assert_eq!(read(get(&client, "a/weights")).await.unwrap(), "new");
}

#[tokio::test]
async fn listings_and_buckets() {
    let server = start(bucket());
    server.objects().insert("models", "b", "");
    let client = client(&server);
    let list = client.list_objects_v2().bucket("models").delimiter("/").send().await.unwrap();
    assert_eq!(list.contents()[0].key(), Some("b"));
    assert_eq!(list.common_prefixes()[0].prefix(), Some("a/"));
    let all = client.list_objects_v2().bucket("models").prefix("a/").send().await.unwrap();
    let sizes: Vec<_> = all.contents().iter().map(|line| (line.key(), line.size())).collect();
    assert_eq!(sizes, [(Some("a/weights"), Some(10))]);
    let buckets = client.list_buckets().send().await.unwrap();
    assert_eq!(buckets.buckets()[0].name(), Some("models"));
    assert!(client.head_bucket().bucket("models").send().await.is_ok());
    assert!(client.head_bucket().bucket("none").send().await.is_err());
}

#[tokio::test]
async fn a_served_folder_is_read_like_any_object() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), CONTENTS).unwrap();
    let objects = Objects::new();
    objects.serve_folder("models", "demo/", folder.path()).unwrap();
    let server = start(Bucket::builder().objects(objects));
    let client = client(&server);
    assert_eq!(read(get(&client, "demo/config.json").range("bytes=3-5")).await.unwrap(), "345");
    assert_eq!(refusal(get(&client, "demo/none")).await, (404, "NoSuchKey".into()));
}

#[tokio::test]
async fn the_journal_tells_what_was_read_on_which_connection() {
    let server = start(bucket());
    let client = client(&server);
    for range in ["bytes=0-2", "bytes=-3"] {
        read(get(&client, "a/weights").range(range)).await.unwrap();
    }
    let requests = server.requests();
    let seen: Vec<_> = requests
        .iter()
        .map(|r| (r.method.as_str(), r.key.as_str(), r.range.clone(), r.status, r.bytes_sent))
        .collect();
    assert_eq!(
        seen,
        [
            ("GET", "a/weights", Some(0..3), Some(206), 3),
            ("GET", "a/weights", Some(7..10), Some(206), 3)
        ]
    );
    assert!(requests.iter().all(|request| request.connection == 0), "one after the other");
    assert!(requests[0].at <= requests[1].at);
    let counters = server.counters();
    assert_eq!((counters.connections, counters.requests, counters.bytes_sent), (1, 2, 6));
}

#[tokio::test]
async fn it_runs_in_the_runtime_of_its_caller_too() {
    let server = bucket().start("127.0.0.1:0").unwrap();
    assert_eq!(read(get(&client(&server), "a/weights")).await.unwrap(), CONTENTS);
}

#[tokio::test]
async fn when_stopped_it_is_gone() {
    let server = start(bucket());
    let client = client(&server);
    assert!(read(get(&client, "a/weights")).await.is_ok());
    server.stop();
    let error = get(&client, "a/weights").send().await.unwrap_err();
    assert!(matches!(error, SdkError::DispatchFailure(_)), "{error:?}");
}

const CONTENTS: &str = "0123456789";

fn bucket() -> Builder {
    let objects = Objects::new();
    objects.insert("models", "a/weights", CONTENTS);
    Bucket::builder().objects(objects)
}

fn start(builder: Builder) -> Running {
    builder.start_on_own_thread("127.0.0.1:0").unwrap()
}

fn client(server: &Running) -> Client {
    client_with(server, server.access_key(), server.secret_key(), server.region())
}

fn client_with(server: &Running, access: &str, secret: &str, region: &str) -> Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(server.endpoint())
        .force_path_style(true)
        .credentials_provider(Credentials::new(access, secret, None, None, "test"))
        .region(Region::new(region.to_owned()))
        .retry_config(RetryConfig::disabled());
    Client::from_conf(config.build())
}

fn get(client: &Client, key: &str) -> GetObjectFluentBuilder {
    client.get_object().bucket("models").key(key)
}

async fn read(request: GetObjectFluentBuilder) -> Result<String, SdkError<GetObjectError>> {
    let output: GetObjectOutput = request.send().await?;
    let bytes = output.body.collect().await.expect("a whole body").into_bytes();
    Ok(String::from_utf8(bytes.into()).expect("text"))
}

/// Status and S3 error code.
async fn refusal(request: GetObjectFluentBuilder) -> (u16, String) {
    let error = request.send().await.unwrap_err();
    let status = error.raw_response().expect("an answer").status().as_u16();
    (status, error.code().unwrap_or_default().to_owned())
}
