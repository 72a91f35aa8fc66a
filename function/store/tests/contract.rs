//! One contract for all stores: S3, HTTP, HTTPS, the hub, folders.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use firstlight_bucket::{Bucket, Faults, Running};
use firstlight_store::{Body, Error, Location, Settings, Store, connect};
use support::hub::{Hub, TOKEN};
use support::{BUCKET, KEY, PREFIX, bucket, contents, s3_settings};

const SIZE: usize = 3_000_017;

async fn gather(mut body: Box<dyn Body>) -> Result<Vec<u8>, Error> {
    let (mut all, mut piece) = (Vec::new(), vec![0; 100_000]);
    loop {
        match body.receive(&mut piece).await? {
            0 => return Ok(all),
            count => all.extend_from_slice(&piece[..count]),
        }
    }
}

/// What every store keeps to. `replace` puts another object of the same size in the place of `KEY`.
async fn keeps_the_contract(store: Arc<dyn Store>, replace: impl FnOnce(Vec<u8>)) {
    let expected = contents(SIZE, 0);
    let size = SIZE as u64;

    let opened = store.open(KEY, 1000).await.unwrap();
    assert_eq!((&*opened.object.key, opened.object.size), (KEY, size));
    assert_eq!(gather(opened.head).await.unwrap(), expected[..1000]);
    let whole = store.open(KEY, 2 * size).await.unwrap();
    assert_eq!(whole.object, opened.object);
    assert!(gather(whole.head).await.unwrap() == expected, "an object smaller than its head");

    let object = opened.object;
    for range in [0..1, 0..size, size - 1..size, 7..1_500_000, 1_000_000..1_000_001] {
        let bytes = gather(store.read(&object, range.clone()).await.unwrap()).await.unwrap();
        let indices = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        assert!(bytes == expected[indices], "{range:?}");
    }

    let missing = store.open("nothing.json", 10).await.err().unwrap();
    assert!(matches!(missing, Error::NotFound { .. }), "{missing}");
    assert!(missing.to_string().contains(&store.locate("nothing.json")), "{missing}");

    if let Some(mapped) = store.map(&object).unwrap() {
        assert!(mapped == expected, "mapped");
    }
    replace(contents(SIZE, 1));
    let changed = store.read(&object, 0..10).await.err().unwrap();
    assert!(matches!(changed, Error::Changed { .. }), "{changed}");
    assert!(changed.to_string().contains(&store.locate(KEY)), "{changed}");
    let again = store.open(KEY, 10).await.unwrap();
    assert_ne!(again.object.version, object.version);
    assert_eq!(gather(again.head).await.unwrap(), contents(SIZE, 1)[..10]);
}

async fn store(location: &str, settings: &Settings) -> Arc<dyn Store> {
    connect(&location.parse::<Location>().unwrap(), settings).await.unwrap()
}

fn replace(bucket: &Running) -> impl FnOnce(Vec<u8>) {
    let objects = bucket.objects().clone();
    move |bytes| objects.insert(BUCKET, &format!("{PREFIX}/{KEY}"), bytes)
}

fn http_base(bucket: &Running) -> String {
    format!("{}/{BUCKET}/{PREFIX}", bucket.endpoint())
}

#[tokio::test]
async fn s3_keeps_the_contract() {
    let bucket = bucket(SIZE, Faults::default());
    let store = store(&format!("s3://{BUCKET}/{PREFIX}"), &s3_settings(&bucket)).await;
    keeps_the_contract(store, replace(&bucket)).await;
}

#[tokio::test]
async fn anonymous_s3_keeps_the_contract() {
    let bucket = bucket(SIZE, Faults::default());
    let settings = Settings { s3_anonymous: true, ..s3_settings(&bucket) };
    let store = store(&format!("s3://{BUCKET}/{PREFIX}/"), &settings).await;
    keeps_the_contract(store, replace(&bucket)).await;
}

#[tokio::test]
async fn http_keeps_the_contract() {
    let bucket = bucket(SIZE, Faults::default());
    let store = store(&http_base(&bucket), &Settings::default()).await;
    keeps_the_contract(store, replace(&bucket)).await;
}

#[tokio::test]
async fn the_hub_keeps_the_contract() {
    let bucket = bucket(SIZE, Faults::default());
    // By another name than the hub's own, as the hub's content network has.
    let files = http_base(&bucket).replace("127.0.0.1", "localhost");
    let hub = Hub::start(files).await;
    let settings = Settings {
        hub_endpoint: Some(format!("http://{}", hub.address)),
        hub_token: Some(TOKEN.into()),
        ..Settings::default()
    };
    let hub_store = store("hf://owner/name", &settings).await;
    keeps_the_contract(hub_store, replace(&bucket)).await;
    let asked = hub.asked.load(Ordering::Relaxed);
    assert_eq!(asked, 4, "only what opens an object asks the hub: ranges go where it led");

    let stranger = Settings { hub_token: None, ..settings };
    let denied = store("hf://owner/name", &stranger).await.open(KEY, 1).await.err().unwrap();
    assert!(denied.to_string().contains("HF_TOKEN"), "{denied}");
}

#[tokio::test]
async fn a_folder_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join(KEY);
    fs::write(&path, contents(SIZE, 0)).unwrap();
    let store = store(folder.path().to_str().unwrap(), &Settings::default()).await;
    let replace = |bytes| {
        let new = path.with_extension("new");
        fs::write(&new, bytes).unwrap();
        fs::rename(&new, &path).unwrap();
    };
    keeps_the_contract(store, replace).await;
}

#[tokio::test]
async fn https_checks_who_answers() {
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (chain, key) = (certificate.cert.pem(), certificate.signing_key.serialize_pem());
    let bucket = Bucket::builder().allow_anonymous(true).tls(&chain, &key).unwrap();
    let bucket = bucket.start("127.0.0.1:0").unwrap();
    bucket.objects().insert(BUCKET, &format!("{PREFIX}/{KEY}"), contents(100, 0));
    let port = bucket.addr().port();
    let stranger = format!("https://localhost:{port}/{BUCKET}/{PREFIX}");
    let refused = store(&stranger, &Settings::default()).await.open(KEY, 10).await.err().unwrap();
    assert!(matches!(refused, Error::Untrusted { .. }), "{refused}");
    assert!(refused.to_string().to_lowercase().contains("certificate"), "{refused}");
}

#[tokio::test]
async fn a_server_without_ranges_is_named() {
    // The bucket answers a listing with 200, whatever range is asked for.
    let bucket = bucket(100, Faults::default());
    let store = store(&format!("{}/?list-type=2", bucket.endpoint()), &Settings::default()).await;
    let opened = store.open(BUCKET, 10).await.unwrap();
    let error = store.read(&opened.object, 2..10).await.err().unwrap();
    assert!(matches!(error, Error::Range { status: 200, .. }), "{error}");
    assert!(error.to_string().contains("206"), "{error}");
}
