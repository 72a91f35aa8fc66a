//! What the stores' tests stand on: a real bucket, and a hub that redirects to it.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up should stop where it stands")]
#![allow(dead_code, reason = "each test uses its part")]

pub(crate) mod hub;

use std::sync::Arc;
use std::time::Duration;

use firstlight_bucket::{Bucket, Faults, Running};
use firstlight_store::{Gather, Limits, Location, Object, Priority, Reader, Settings, connect};
use firstlight_timeline::Timeline;

pub(crate) const BUCKET: &str = "models";
pub(crate) const PREFIX: &str = "family/tiny";
pub(crate) const KEY: &str = "model.safetensors";

/// An object whose bytes tell where they stand.
pub(crate) fn contents(len: usize, seed: u8) -> Vec<u8> {
    let mut state = u32::from(seed) + 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

pub(crate) fn bucket(len: usize, faults: Faults) -> Running {
    let running =
        Bucket::builder().allow_anonymous(true).faults(faults).start("127.0.0.1:0").unwrap();
    running.objects().insert(BUCKET, &format!("{PREFIX}/{KEY}"), contents(len, 0));
    running
}

pub(crate) fn s3_settings(bucket: &Running) -> Settings {
    Settings {
        s3_endpoint: Some(bucket.endpoint()),
        s3_keys: Some((bucket.access_key().into(), bucket.secret_key().into())),
        ..Settings::default()
    }
}

/// Limits under which a fault is noticed within a test's patience.
pub(crate) fn impatient() -> Limits {
    Limits { stall: Duration::from_millis(300), in_flight: 4, ..Limits::default() }
}

/// A reader over S3, as a load uses it.
pub(crate) async fn reader(bucket: &Running, limits: Limits) -> (Reader, Timeline) {
    let location: Location = format!("s3://{BUCKET}/{PREFIX}").parse().unwrap();
    let store = connect(&location, &s3_settings(bucket)).await.unwrap();
    let timeline = Timeline::start(None);
    (Reader::new(store, limits, timeline.clone()), timeline)
}

/// One range, as a load reads it.
pub(crate) async fn fetch(
    reader: &Reader,
    object: &Object,
    range: std::ops::Range<u64>,
) -> Result<Vec<u8>, firstlight_store::Error> {
    let turn = reader.turn(Priority::Weights).await;
    let sink = Gather::after(Vec::new(), range.start);
    let filled = reader.fetch(turn, object, range, &Arc::from("test"), sink).await;
    filled.map(Gather::into_bytes)
}
