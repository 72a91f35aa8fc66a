//! The parts of a start, put together by hand: what `firstlight run` does, without a process, a prompt or a clock.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use firstlight_device::Tensor;
use firstlight_load::{Checkpoint, Error, Layer, Layers, SUPPORTED};
use firstlight_model::{DEFAULT_CHUNK_ROWS, Group, Settings, Spec, StageOrder, TensorSpec};
use firstlight_plan::{Limits as PlanLimits, Plan, Stage, Want};
use firstlight_store::folder::Folder;
use firstlight_store::{Limits, Priority, Reader, Store};
use firstlight_timeline::Timeline;

/// A model whose weights are on their way.
pub(crate) struct Load {
    pub(crate) spec: Spec,
    pub(crate) layers: Layers,
    pub(crate) timeline: Timeline,
}

/// Begins to load the model in `store`, the embedding table first.
pub(crate) async fn load(store: impl Store) -> Load {
    let timeline = Timeline::start(None);
    let limits = Limits { hedge_share: 0.0, stall: Duration::from_mins(5), ..Limits::default() };
    let reader = Reader::new(Arc::new(store), limits, timeline.clone());
    let config = reader.whole("config.json", 1 << 20).await.expect("it is there");
    let spec = Spec::parse(&config).expect("it is supported");
    let checkpoint = Checkpoint::open(&reader, &timeline).await.expect("it is whole");
    let plan = plan(&spec, &checkpoint);
    let layers = Layers::start(&reader, &checkpoint, plan, Priority::Weights, &timeline);
    Load { spec, layers: layers.expect("there is memory"), timeline }
}

/// A folder, as it is.
pub(crate) fn folder(path: &Path) -> Folder {
    Folder::new(path).expect("it is there")
}

/// What a decoder over such a load is told.
pub(crate) fn settings(capacity: usize) -> Settings {
    Settings { order: StageOrder::EmbeddingFirst, capacity, chunk_rows: DEFAULT_CHUNK_ROWS }
}

/// The loader's layer as the model's group.
pub(crate) fn group(layer: Result<Layer, Error>) -> Result<Group<Tensor>, Error> {
    layer.map(|layer| Group { stage: layer.stage, tensors: layer.tensors })
}

fn plan(spec: &Spec, checkpoint: &Checkpoint) -> Plan {
    let want = |tensor: &TensorSpec| Want {
        name: tensor.name.clone(),
        shape: tensor.shape.iter().map(|size| *size as u64).collect(),
    };
    let stages: Vec<_> = spec
        .stages(StageOrder::EmbeddingFirst)
        .iter()
        .map(|stage| Stage {
            name: stage.name.clone(),
            tensors: stage.tensors.iter().map(want).collect(),
        })
        .collect();
    Plan::new(&checkpoint.manifest, &stages, &PlanLimits::new(SUPPORTED)).expect("they agree")
}
