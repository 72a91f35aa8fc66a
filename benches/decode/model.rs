//! Models of published shapes, ready to compute.

use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use criterion::Criterion;
use firstlight_device::{Arena, Cpu, Tensor};
use firstlight_model::{Decoder, Group, Spec, StageOrder};

use crate::engine::{self, Load, group, load, settings};
use crate::random_model::RandomModel;

/// Calls `measure` with each of the models and its name; with the first alone to see whether it runs.
pub(crate) fn for_each(mut measure: impl FnMut(&mut Criterion, &str, &RandomModel)) {
    let is_test = std::env::args().any(|arg| arg == "--test");
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(4))
        .configure_from_args();
    let models = [
        ("SmolLM2-135M", RandomModel::smollm2_135m()),
        ("Qwen2.5-0.5B", RandomModel::qwen2_5_0_5b()),
        ("Llama-3.2-1B", RandomModel::llama_3_2_1b()),
    ];
    for (name, random) in models.iter().take(if is_test { 1 } else { models.len() }) {
        measure(&mut criterion, name, random);
    }
}

/// A model whose weights are in memory.
pub(crate) struct Model {
    pub(crate) spec: Spec,
    groups: Vec<Group<Tensor>>,
}

impl Model {
    /// From its file, mapped, as a start from a local folder has it.
    pub(crate) fn mapped(model: &RandomModel) -> Self {
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench-models");
        let folder = model.folder_in(&cache).expect("there is room on the disk");
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        let loading = load(engine::folder(&folder), StageOrder::EmbeddingFirst);
        let Load { spec, layers, .. } = runtime.block_on(loading);
        Self { spec, groups: layers.map(|layer| group(layer).expect("it is whole")).collect() }
    }

    /// The same in an arena of huge pages, as a start from a bucket has it.
    pub(crate) fn streamed(&self) -> Self {
        let group = |group: &Group<Tensor>| Group {
            stage: group.stage.clone(),
            tensors: group.tensors.iter().map(|(name, it)| (name.clone(), copy(it))).collect(),
        };
        Self { spec: self.spec.clone(), groups: self.groups.iter().map(group).collect() }
    }

    /// With room for one sequence of so many positions.
    pub(crate) fn decoder(
        &self,
        positions: usize,
    ) -> Decoder<Cpu, impl Iterator<Item = Result<Group<Tensor>, Infallible>>> {
        let groups = self.groups();
        let settings = settings(StageOrder::EmbeddingFirst, positions);
        Decoder::new(Cpu::new(), self.spec.clone(), settings, groups).expect("there is memory")
    }

    /// Its stages, all of which are there.
    pub(crate) fn groups(&self) -> impl Iterator<Item = Result<Group<Tensor>, Infallible>> + use<> {
        self.groups.clone().into_iter().map(Ok)
    }

    /// Bytes of all weights, each of which a token reads: the table is the output matrix as well.
    pub(crate) fn bytes(&self) -> usize {
        let tensors = self.groups.iter().flat_map(|group| group.tensors.values());
        tensors.map(|tensor| tensor.bytes().len()).sum()
    }
}

/// A few hundred copies, each in huge pages of its own: the least of them takes one.
fn copy(tensor: &Tensor) -> Tensor {
    let bytes = tensor.bytes();
    let length = bytes.len() as u64;
    let arena = Arena::new(length).expect("there is memory");
    #[expect(clippy::single_range_in_vec_init, reason = "one region is the whole arena")]
    let mut regions = arena.carve(&[0..length]).expect("it is the arena");
    let mut region = regions.pop().expect("one region");
    region.as_mut().copy_from_slice(bytes);
    let shape = tensor.shape().to_vec();
    Tensor::from_bytes(Bytes::from_owner(region), tensor.dtype(), shape).expect("the same shape")
}
