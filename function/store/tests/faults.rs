//! What a reader makes of a bad network: bytes all the same, or an error that says why not. Times are never asserted.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use firstlight_bucket::{Action, Faults, Requests, Running};
use firstlight_store::{Error, Limits, Location, Settings, connect};
use firstlight_timeline::{Counter, Outcome, Report, Timeline};
use support::{BUCKET, KEY, PREFIX, bucket, contents, fetch, impatient, reader, s3_settings};

const SIZE: usize = 4_000_000;

fn of_the_object() -> Requests {
    Requests::get(BUCKET, &format!("{PREFIX}/{KEY}"))
}

/// The whole object over a bucket with `faults`, as one range; what came, and how.
async fn read_all(faults: Faults) -> (Result<Vec<u8>, Error>, Report, Running) {
    let bucket = bucket(SIZE, Faults::default());
    let (reader, timeline) = reader(&bucket, impatient()).await;
    let (object, _) = reader.open(KEY, 16).await.unwrap();
    bucket.set_faults(faults);
    let bytes = fetch(&reader, &object, 0..SIZE as u64).await;
    (bytes, timeline.report(), bucket)
}

fn count(report: &Report, counter: Counter) -> u64 {
    report.counters[&counter]
}

#[tokio::test]
async fn a_reset_in_the_middle_goes_on_from_the_byte_reached() {
    let faults = Faults::new(1).on(of_the_object().nth(1), Action::ResetAfter(1_000_000));
    let (bytes, report, bucket) = read_all(faults).await;
    assert!(bytes.unwrap() == contents(SIZE, 0));
    assert_eq!(count(&report, Counter::Retries), 1);
    assert_eq!(count(&report, Counter::BytesTwice), 0);
    let ranges = report.fetches.iter().filter(|fetch| fetch.stage == "test");
    let outcomes: Vec<_> = ranges.map(|fetch| &fetch.outcome).collect();
    assert!(matches!(outcomes[..], [Outcome::Retried(_), Outcome::Complete]), "{outcomes:?}");
    let again = bucket.requests().last().unwrap().range.clone().unwrap();
    assert!(again.start > 0 && again.start <= 1_000_000, "{again:?}");
}

#[tokio::test]
async fn a_stall_is_asked_for_again() {
    let faults = Faults::new(1).on(of_the_object().nth(1), Action::StallAfter(500_000));
    let (bytes, report, bucket) = read_all(faults).await;
    assert!(bytes.unwrap() == contents(SIZE, 0));
    assert_eq!(count(&report, Counter::Stalls), 1);
    let connections: std::collections::BTreeSet<_> =
        bucket.requests().iter().map(|request| request.connection).collect();
    assert_eq!(connections.len(), 2, "the stalled connection is not used again");
}

#[tokio::test]
async fn an_early_end_goes_on_and_slow_down_is_waited_out() {
    let faults = Faults::new(1)
        .on(of_the_object().nth(1), Action::TruncateAfter(123_456))
        .on(of_the_object().nth(2), Action::slow_down());
    let (bytes, report, _bucket) = read_all(faults).await;
    assert!(bytes.unwrap() == contents(SIZE, 0));
    assert_eq!(count(&report, Counter::Retries), 2);
}

#[tokio::test]
async fn a_server_that_stops_for_good_ends_in_an_error() {
    let (bytes, _, _bucket) =
        read_all(Faults::new(1).on(of_the_object(), Action::StallAfter(0))).await;
    let error = bytes.unwrap_err();
    assert!(matches!(error, Error::GaveUp { attempts: 5, .. }), "{error}");
    assert!(error.to_string().contains(&format!("s3://{BUCKET}/{PREFIX}/{KEY}")), "{error}");
}

#[tokio::test]
async fn an_object_replaced_in_the_middle_is_an_error_and_no_mixture() {
    let bucket = bucket(SIZE, Faults::default());
    let (reader, _) = reader(&bucket, impatient()).await;
    let (object, _) = reader.open(KEY, 16).await.unwrap();
    fetch(&reader, &object, 0..1_000_000).await.unwrap();
    bucket.objects().insert(BUCKET, &format!("{PREFIX}/{KEY}"), contents(SIZE, 9));
    let error = fetch(&reader, &object, 1_000_000..2_000_000).await.unwrap_err();
    assert!(matches!(error, Error::Changed { .. }), "{error}");
}

#[tokio::test]
async fn a_slow_range_is_hedged_and_the_faster_answer_wins() {
    let bucket = bucket(SIZE, Faults::default());
    let limits = Limits { stall: Duration::from_secs(30), hedge_share: 0.05, ..impatient() };
    let (reader, timeline) = reader(&bucket, limits).await;
    let (object, _) = reader.open(KEY, 16).await.unwrap();
    for i in 0..32 {
        fetch(&reader, &object, i * 100_000..(i + 1) * 100_000).await.unwrap();
    }
    bucket.set_faults(Faults::new(1).on(of_the_object().nth(1), Action::StallAfter(50_000)));
    let bytes = fetch(&reader, &object, 0..SIZE as u64).await.unwrap();
    assert!(bytes == contents(SIZE, 0));
    let report = timeline.report();
    assert_eq!(count(&report, Counter::HedgesWon), 1);
    assert_eq!(count(&report, Counter::Retries), 0, "the stall was not waited for");
    assert!(report.fetches.iter().any(|fetch| fetch.outcome == Outcome::Lost && !fetch.hedge));
}

#[tokio::test]
async fn a_flaky_day_gives_the_same_bytes() {
    let bucket = bucket(SIZE, Faults::default());
    let (reader, timeline) = reader(&bucket, impatient()).await;
    let (object, _) = reader.open(KEY, 16).await.unwrap();
    let reads = Requests::get("*", "*");
    bucket.set_faults(Faults::new(3).shared(
        &reads,
        [
            (0.04, Action::ResetAfter(u64::MAX)),
            (0.04, Action::slow_down()),
            (0.01, Action::StallAfter(u64::MAX)),
        ],
    ));
    let expected = contents(SIZE, 0);
    for (i, chunk) in expected.chunks(20_000).enumerate() {
        let start = i as u64 * 20_000;
        let bytes = fetch(&reader, &object, start..start + chunk.len() as u64).await.unwrap();
        assert!(bytes == chunk, "range {i}");
    }
    assert!(
        count(&timeline.report(), Counter::Retries) > 0,
        "no fault fired: the seed is to be changed"
    );
}

/// What the server refuses, each with its own words and without a second try.
#[tokio::test]
async fn refusals_are_told_apart() {
    let bucket = bucket(SIZE, Faults::default());
    let model = format!("s3://{BUCKET}/{PREFIX}");
    let keys = |id: &str, secret: &str| Settings {
        s3_keys: Some((id.into(), secret.into())),
        ..s3_settings(&bucket)
    };
    let wrong_secret = keys(bucket.access_key(), "wrong");
    let unknown_key = keys("unknown", "wrong");
    let good = s3_settings(&bucket);
    for (location, settings, expected) in [
        (model.as_str(), &wrong_secret, "SignatureDoesNotMatch"),
        (model.as_str(), &unknown_key, "403"),
        (
            "s3://no-such-bucket/x",
            &good,
            "bucket of `s3://no-such-bucket/x/model.safetensors` does not exist",
        ),
        (
            "s3://models/elsewhere",
            &good,
            "`s3://models/elsewhere/model.safetensors` does not exist",
        ),
    ] {
        let before = bucket.requests().len();
        let error = open(location, settings).await;
        assert!(error.contains(expected), "{error}");
        assert_eq!(bucket.requests().len(), before + 1, "{error}: asked once");
    }
}

#[tokio::test]
async fn a_wrong_region_names_the_right_one() {
    for action in [Action::WrongRegion("eu-west-1".into()), Action::Redirect("eu-west-1".into())] {
        let bucket = bucket(SIZE, Faults::new(1).on(Requests::any("*", "*"), action));
        let error = open(&format!("s3://{BUCKET}/{PREFIX}"), &s3_settings(&bucket)).await;
        assert!(error.contains("`eu-west-1`") && error.contains("AWS_REGION=eu-west-1"), "{error}");
    }
}

async fn open(location: &str, settings: &Settings) -> String {
    let location: Location = location.parse().unwrap();
    let store = connect(&location, settings).await.unwrap();
    let reader = firstlight_store::Reader::new(store, impatient(), Timeline::start(None));
    reader.open(KEY, 16).await.unwrap_err().to_string()
}
