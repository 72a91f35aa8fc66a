//! The overlap is real: a layer is computed while later ones have not arrived. Proved by order, not by a clock: the last
//! range is held back until the model has asked for its second layer, so that a loader that waits for everything, or a
//! model that does, never ends.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use firstlight_device::Cpu;
use firstlight_model::{Decoder, Sequence, StageOrder};
use firstlight_store::folder::Folder;
use firstlight_store::{Body, Error, Object, Opened, Store};
use firstlight_timeline::{Lane, Mark};
use support::demo_model;
use support::engine::{Load, folder, group, load, rows, settings};
use support::gated::Gated;
use tokio::sync::Semaphore;

fn demo_model() -> Folder {
    folder(&demo_model::demo_model())
}

const FIRST: StageOrder = StageOrder::EmbeddingFirst;

const IDS: [u32; 5] = [0, 1008, 1108, 260, 535];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn layers_are_computed_before_the_last_range_has_arrived() {
    let gate = Arc::new(Semaphore::new(0));
    let store = Gated::new(demo_model(), Arc::clone(&gate)).await;
    let Load { spec, layers, timeline, .. } = load(store, FIRST).await;
    let computing = layers.computing();
    let clock = timeline.clone();
    let layers = layers.map(move |layer| {
        let layer = group(layer)?;
        if layer.stage == "layer 1" {
            assert_eq!(clock.marked(Mark::LastWeightByte), None, "the last range is held back");
            gate.add_permits(1);
        }
        Ok::<_, firstlight_load::Error>(layer)
    });
    let forward = tokio::task::spawn_blocking(move || {
        let mut decoder = Decoder::new(Cpu::new(), spec, settings(FIRST, 64), layers).unwrap();
        Sequence::alone(1).forward(&mut decoder, &IDS).unwrap();
        decoder.logits().unwrap()
    });
    let logits = tokio::time::timeout(Duration::from_mins(1), forward).await.unwrap().unwrap();
    computing.end();
    assert_eq!(logits.len(), 2048);

    let report = timeline.report();
    let computed =
        report.spans.iter().find(|span| span.lane == Lane::Compute && span.label == "layer 0");
    let last = report.fetches.iter().map(|fetch| fetch.done_ms).fold(0.0, f64::max);
    assert!(computed.unwrap().to_ms < last, "layer 0 is computed before the last range arrived");
}

/// A store that hides that it can be mapped.
struct Unmapped(Folder);

#[async_trait]
impl Store for Unmapped {
    fn locate(&self, key: &str) -> String {
        self.0.locate(key)
    }

    async fn open(&self, key: &str, head_bytes: u64) -> Result<Opened, Error> {
        self.0.open(key, head_bytes).await
    }

    async fn read(&self, object: &Object, range: Range<u64>) -> Result<Box<dyn Body>, Error> {
        self.0.read(object, range).await
    }
}

/// The bits of the logits of a load through `store`.
async fn logits(store: impl Store) -> Vec<u32> {
    let Load { spec, layers, .. } = load(store, FIRST).await;
    let forward = tokio::task::spawn_blocking(move || {
        let groups = layers.map(group);
        let mut decoder = Decoder::new(Cpu::new(), spec, settings(FIRST, 64), groups).unwrap();
        Sequence::alone(1).forward_all(&mut decoder, &IDS).unwrap()
    });
    forward.await.unwrap().into_iter().map(f32::to_bits).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_streamed_load_is_the_mapped_load_bit_for_bit() {
    let mapped = logits(demo_model()).await;
    let streamed = logits(Unmapped(demo_model())).await;
    assert!(mapped == streamed);
    assert!(mapped.iter().any(|bits| f32::from_bits(*bits) > 1.0), "they are logits");
}

/// The prompt's rows in the place of the table, which then comes last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rows_of_the_prompt_are_as_good_as_the_table_bit_for_bit() {
    let from_table = logits(demo_model()).await;
    let last = StageOrder::LayersFirst;
    let load = load(Unmapped(demo_model()), last).await;
    let forward = tokio::task::spawn_blocking(move || {
        let mut ids = IDS.to_vec();
        ids.sort_unstable();
        let rows = rows(&load, &ids);
        let Load { spec, layers, .. } = load;
        let groups = layers.map(group);
        let mut decoder = Decoder::new(Cpu::new(), spec, settings(last, 64), groups).unwrap();
        decoder.give_rows(rows);
        Sequence::alone(1).forward_all(&mut decoder, &IDS).unwrap()
    });
    // `Layers::start` spawns: the runtime is entered by `spawn_blocking`.
    let from_rows: Vec<_> = forward.await.unwrap().into_iter().map(f32::to_bits).collect();
    assert!(from_rows == from_table);
}
