//! Rows of the embedding table, read singly: where the table comes last, and a pass begins before.

use std::collections::BTreeSet;

use firstlight_device::Tensor;
use firstlight_load::Layers;
use firstlight_model::PromptRows;
use firstlight_plan::{Limits, Plan};
use firstlight_store::Priority;
use firstlight_timeline::Timeline;

use crate::failure::Failure;
use crate::start::{self, Known};

/// No more reads than that for the rows of a pass: two seconds of sixteen connections with 30 ms to a first byte. Rows
/// that lie closer are fetched together.
const READS: u64 = 1024;

/// The rows of these tokens, each once, by tasks of the current runtime. Waits for them.
pub(crate) fn rows(
    known: &Known,
    limits: &Limits,
    ids: impl IntoIterator<Item = u32>,
    timeline: &Timeline,
) -> Result<PromptRows<Tensor>, Failure> {
    let Known { reader, spec, checkpoint, .. } = known;
    let distinct: BTreeSet<u32> = ids.into_iter().collect();
    let ids: Vec<u32> = distinct.into_iter().collect();
    let name = spec.embedding_name();
    let shape = start::shape(&spec.embedding_shape());
    let table_bytes = checkpoint.manifest.get(name).map_or(0, |(_, entry)| entry.bytes());
    let limits = Limits { gap_bytes: limits.gap_bytes.max(table_bytes / READS), ..*limits };
    let plan = Plan::rows(&checkpoint.manifest, name, &shape, &ids, &limits)?;
    let mut layers = Layers::start(reader, checkpoint, plan, Priority::Urgent, timeline)?;
    let mut layer = layers.next().expect("a plan of rows has one stage")?;
    let table = layer.tensors.remove(name).expect("the stage's only tensor");
    Ok(PromptRows { table, ids })
}
