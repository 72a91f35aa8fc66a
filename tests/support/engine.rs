//! The parts of a start, put together by hand: what `firstlight run` does, without a process, a prompt or a clock.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use firstlight_device::Tensor;
use firstlight_load::{Checkpoint, Error, Layer, Layers, SUPPORTED};
use firstlight_model::{
    DEFAULT_CHUNK_ROWS, Group, PromptRows, Sequence, Settings, Spec, StageOrder, TensorSpec,
};
use firstlight_plan::{Limits as PlanLimits, Plan, Stage, Want};
use firstlight_store::folder::Folder;
use firstlight_store::{Limits, Priority, Reader, Store};
use firstlight_timeline::Timeline;

/// A model whose weights are on their way.
pub(crate) struct Load {
    pub(crate) reader: Reader,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) spec: Spec,
    pub(crate) layers: Layers,
    pub(crate) timeline: Timeline,
}

/// A model whose weights can be asked for.
pub(crate) struct Planned {
    pub(crate) reader: Reader,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) spec: Spec,
    pub(crate) plan: Plan,
    pub(crate) timeline: Timeline,
}

/// Begins to load the model in `store`.
pub(crate) async fn load(store: impl Store, order: StageOrder) -> Load {
    let Planned { reader, checkpoint, spec, plan, timeline } =
        planned(store, order, &PlanLimits::new(SUPPORTED)).await;
    let layers = Layers::start(&reader, &checkpoint, plan, Priority::Weights, &timeline);
    let layers = layers.expect("there is memory");
    Load { reader, checkpoint, spec, layers, timeline }
}

/// Reads what says what the model in `store` is, and plans its load.
pub(crate) async fn planned(
    store: impl Store,
    order: StageOrder,
    plan_limits: &PlanLimits,
) -> Planned {
    let timeline = Timeline::start(None);
    let limits = Limits { hedge_share: 0.0, stall: Duration::from_mins(5), ..Limits::default() };
    let reader = Reader::new(Arc::new(store), limits, timeline.clone());
    let config = reader.whole("config.json", 1 << 20).await.expect("it is there");
    let spec = Spec::parse(&config).expect("it is supported");
    let checkpoint = Checkpoint::open(&reader, &timeline).await.expect("it is whole");
    let plan = plan(&spec, &checkpoint, order, plan_limits);
    Planned { reader, checkpoint, spec, plan, timeline }
}

/// A folder, as it is.
pub(crate) fn folder(path: &Path) -> Folder {
    Folder::new(path).expect("it is there")
}

/// What a decoder over such a load is told, for one sequence of so many positions.
pub(crate) fn settings(order: StageOrder, positions: usize) -> Settings {
    let blocks = Sequence::blocks_for(positions);
    Settings { order, blocks, chunk_rows: DEFAULT_CHUNK_ROWS, logits_rows: 1 }
}

/// The loader's layer as the model's group.
pub(crate) fn group<T>(layer: Result<Layer<T>, Error>) -> Result<Group<T>, Error> {
    layer.map(|layer| Group { stage: layer.stage, tensors: layer.tensors })
}

/// The rows of the embedding that `ids` (ascending) need, each read as a range of its own.
pub(crate) fn rows(load: &Load, ids: &[u32]) -> PromptRows<Tensor> {
    let Load { reader, checkpoint, spec, timeline, .. } = load;
    let shape = spec.embedding_shape().map(|size| size as u64);
    let limits = PlanLimits { gap_bytes: 0, ..PlanLimits::new(SUPPORTED) };
    let name = spec.embedding_name();
    let plan =
        Plan::rows(&checkpoint.manifest, name, &shape, ids, &limits).expect("there are rows");
    let layers = Layers::start(reader, checkpoint, plan, Priority::Urgent, timeline);
    let mut layers = layers.expect("there is memory");
    let mut layer = layers.next().expect("one stage").expect("it arrives");
    PromptRows { table: layer.tensors.remove(name).expect("the table"), ids: ids.into() }
}

fn plan(spec: &Spec, checkpoint: &Checkpoint, order: StageOrder, limits: &PlanLimits) -> Plan {
    let want = |tensor: &TensorSpec| Want {
        name: tensor.name.clone(),
        shape: tensor.shape.iter().map(|size| *size as u64).collect(),
    };
    let stages: Vec<_> = spec
        .stages(order)
        .iter()
        .map(|stage| Stage {
            name: stage.name.clone(),
            tensors: stage.tensors.iter().map(want).collect(),
        })
        .collect();
    Plan::new(&checkpoint.manifest, &stages, limits).expect("they agree")
}
