//! Small objects, whole, in a real server: versions, limits, and two who write the same.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use firstlight_bucket::{Action, Bucket, Faults, Objects, Requests, Running};
use firstlight_store::buckets::{Name, Which};
use firstlight_store::{Buckets, Error, Settings};

const NAME: Name<'_> = Name { bucket: "inbox", key: "a b/ü+.txt" };

async fn start(faults: Faults) -> (Running, Buckets) {
    let objects = Objects::new();
    objects.insert(NAME.bucket, NAME.key, "text");
    let bucket = Bucket::builder().objects(objects).faults(faults).start("127.0.0.1:0").unwrap();
    let settings = Settings {
        s3_endpoint: Some(bucket.endpoint()),
        s3_keys: Some((bucket.access_key().into(), bucket.secret_key().into())),
        ..Settings::default()
    };
    let buckets = Buckets::connect(&settings).await.unwrap();
    (bucket, buckets)
}

#[tokio::test]
async fn an_object_is_read_by_its_version_and_within_a_limit() {
    let (server, buckets) = start(Faults::default()).await;
    let etag = server.objects().etag(NAME.bucket, NAME.key).unwrap();
    let which = Which { id: None, etag: Some(&etag) };
    assert_eq!(buckets.read(NAME, which, 4).await.unwrap().bytes, "text");
    assert!(matches!(
        buckets.read(NAME, which, 3).await,
        Err(Error::TooLarge { size: 4, limit: 3, .. })
    ));
    server.objects().insert(NAME.bucket, NAME.key, "other");
    assert!(matches!(buckets.read(NAME, which, 9).await, Err(Error::Changed { .. })));
    assert_eq!(buckets.read(NAME, Which::default(), 9).await.unwrap().bytes, "other");
    server.objects().remove(NAME.bucket, NAME.key);
    let gone = buckets.read(NAME, which, 9).await.unwrap_err().to_string();
    assert!(gone.contains("s3://inbox/a b/ü+.txt"), "{gone}");
}

#[tokio::test]
async fn of_two_that_write_the_same_the_first_has_written() {
    let (server, buckets) = start(Faults::default()).await;
    let name = Name { key: "new", ..NAME };
    assert!(!buckets.exists(name).await.unwrap());
    assert!(buckets.create(name, "first".into()).await.unwrap());
    assert!(buckets.exists(name).await.unwrap());
    assert!(!buckets.create(name, "second".into()).await.unwrap());
    assert_eq!(server.objects().get("inbox", "new").unwrap(), "first");
    let nowhere = Name { bucket: "no-such-bucket", key: "new" };
    let error = buckets.create(nowhere, "text".into()).await.unwrap_err();
    assert!(matches!(error, Error::NoBucket { .. }), "{error}");
}

#[tokio::test]
async fn a_moments_trouble_is_passed_over() {
    let requests = Requests::get("inbox", "*").first(2);
    let (_server, buckets) = start(Faults::new(0).on(requests, Action::slow_down())).await;
    assert_eq!(buckets.read(NAME, Which::default(), 9).await.unwrap().bytes, "text");
}
