//! Local files, used where the page cache has them: nothing is read or copied, a tensor is a piece of the mapping.

use std::collections::HashMap;

use bytes::Bytes;
use firstlight_device::Tensor;
use firstlight_plan::{Placed, Plan, StagePlan};
use firstlight_store::Reader;

use crate::{Checkpoint, Error, Layer, device_dtype};

/// All layers of the plan, or nothing where the store cannot map, or where the plan takes parts of tensors.
pub(crate) fn layers(
    reader: &Reader,
    checkpoint: &Checkpoint,
    plan: &Plan,
) -> Result<Option<Vec<Layer>>, Error> {
    if plan.stages.iter().flat_map(|stage| &stage.tensors).any(|placed| !is_contiguous(placed)) {
        return Ok(None);
    }
    let mut shards = Vec::with_capacity(checkpoint.objects.len());
    for object in &checkpoint.objects {
        match reader.map(object)? {
            Some(bytes) => shards.push(bytes),
            None => return Ok(None),
        }
    }
    plan.stages.iter().map(|stage| layer(&shards, stage)).collect::<Result<_, _>>().map(Some)
}

fn layer(shards: &[Bytes], stage: &StagePlan) -> Result<Layer, Error> {
    let tensor = |placed: &Placed| -> Result<_, Error> {
        let source = offset(placed.source.start)..offset(placed.source.end);
        let bytes = shards[placed.shard].slice(source);
        let shape = placed.shape.iter().map(|size| offset(*size)).collect();
        Ok((placed.name.clone(), Tensor::from_bytes(bytes, device_dtype(placed.dtype), shape)?))
    };
    let tensors = stage.tensors.iter().map(tensor).collect::<Result<HashMap<_, _>, _>>()?;
    Ok(Layer { stage: stage.name.clone(), tensors })
}

/// A plan of single rows leaves out what lies between them.
fn is_contiguous(placed: &Placed) -> bool {
    placed.source.end - placed.source.start == placed.arena.end - placed.arena.start
}

fn offset(in_mapping: u64) -> usize {
    usize::try_from(in_mapping).expect("the header was checked against the size of the mapped file")
}
