//! What to fetch, in which order, and where each byte goes.
//!
//! Stage by stage, in execution order, each wanted tensor is found in the manifest, checked against
//! the shape that the model expects, and given its place in the arena; then the stage's bytes,
//! sorted by shard and offset, become fetches. A fetch serves one stage, so that a stage is
//! complete when its own fetches are, and none of them waits for another's. Every byte of every
//! wanted tensor is placed exactly once, and no other byte is placed at all.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use safetensors::Dtype;

use crate::fetch::{CUT_BYTES, fetches};
use crate::near::listed;
use crate::{Error, Fetch, Manifest, Place, Stage, TensorEntry, Want};

/// An ordered list of fetches, and the arena they fill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The size of the arena, with the space that alignment takes.
    pub arena_bytes: u64,
    /// In execution order.
    pub stages: Vec<StagePlan>,
    /// In execution order; within a stage by shard and offset.
    pub fetches: Vec<Fetch>,
}

/// One stage of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagePlan {
    /// As the model calls it.
    pub name: String,
    /// In the order in which the stage wants them.
    pub tensors: Vec<Placed>,
    /// Its fetches among the plan's.
    pub fetches: Range<usize>,
    /// Of its tensors together, without alignment.
    pub bytes: u64,
}

/// One tensor of a plan: where it comes from and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// As in the checkpoint.
    pub name: String,
    /// One of [`Limits::supported`].
    pub dtype: Dtype,
    /// Outermost dimension first.
    pub shape: Vec<u64>,
    /// Its place in the manifest.
    pub shard: usize,
    /// Counted from the object's first byte. For a plan of rows, from the first of them to the
    /// last.
    pub source: Range<u64>,
    /// Its bytes in the arena; disjoint from every other's.
    pub arena: Range<u64>,
}

/// The numbers that shape a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// No fetch is longer.
    pub range_bytes: u64,
    /// So many fetches at the start are shorter, each by an equal step: those that are in flight
    /// together share the link, and if they were equally long they would end together, again and
    /// again, and leave the link idle for a first byte each time. One: none is.
    pub ramp: usize,
    /// Wanted bytes that are at most so far apart are fetched together, with what lies between
    /// them.
    pub gap_bytes: u64,
    /// Every tensor begins at a multiple of it in the arena; a power of two.
    pub align_bytes: u64,
    /// What the engine computes with.
    pub supported: &'static [Dtype],
}

impl Limits {
    /// The usual limits for an engine that computes with `supported`.
    #[must_use]
    pub const fn new(supported: &'static [Dtype]) -> Self {
        Self {
            // 80 ms of one S3 connection at 100 MB/s, against 30 ms to its first byte.
            range_bytes: 8 << 20,
            // As many as are usually in flight.
            ramp: 16,
            // Half a millisecond of the wire at 1 Gbit/s, against one request more on a connection
            // that is busy.
            gap_bytes: 64 << 10,
            // A cache line, and the widest vector load.
            align_bytes: 64,
            supported,
        }
    }

    /// The longest that a fetch may be which has `before` fetches before it.
    pub(crate) fn fetch_bytes(&self, before: usize) -> u64 {
        let (step, steps) = ((before + 1).min(self.ramp) as u64, self.ramp as u64);
        let bytes = (self.range_bytes / steps * step).next_multiple_of(CUT_BYTES);
        if step < steps { bytes.clamp(1, self.range_bytes) } else { self.range_bytes }
    }
}

impl Plan {
    /// Plans `stages`, in their order, over the shards of `manifest`.
    pub fn new(manifest: &Manifest, stages: &[Stage], limits: &Limits) -> Result<Self, Error> {
        check_wanted_once(stages)?;
        let mut builder = Builder::new(limits);
        for stage in stages {
            builder.stage(manifest, stage)?;
        }
        Ok(builder.plan)
    }

    /// Plans the rows `rows`, sorted and each once, of a tensor `(n, columns)`: one stage of one
    /// tensor `(rows.len(), columns)`, for an embedding table of which a prompt needs little.
    ///
    /// # Panics
    ///
    /// If `shape` has not two dimensions, if `rows` are not sorted and unique, or if a row of the
    /// tensor ends within a byte.
    pub fn rows(
        manifest: &Manifest,
        tensor: &str,
        shape: &[u64],
        rows: &[u32],
        limits: &Limits,
    ) -> Result<Self, Error> {
        let &[count, _] = shape else { panic!("`{tensor}` {shape:?} has no rows") };
        assert!(rows.is_sorted_by(|a, b| a < b), "the rows of `{tensor}` must ascend");
        let want = Want { name: tensor.into(), shape: shape.into() };
        let (shard, entry) = find(manifest, &want, limits)?;
        if let Some(&row) = rows.last().filter(|row| u64::from(**row) >= count) {
            return Err(Error::Row { tensor: tensor.into(), row, rows: count });
        }
        let mut builder = Builder::new(limits);
        builder.rows(shard, entry, rows);
        Ok(builder.plan)
    }

    /// The bytes of the planned tensors.
    #[must_use]
    pub fn weight_bytes(&self) -> u64 {
        self.stages.iter().map(|stage| stage.bytes).sum()
    }

    /// The bytes that the fetches ask for: those of the tensors, and the gaps that are fetched
    /// over.
    #[must_use]
    pub fn fetched_bytes(&self) -> u64 {
        self.fetches.iter().map(|fetch| fetch.range.end - fetch.range.start).sum()
    }

    /// Shard and entry of the tensors in `manifest` that this plan leaves out.
    pub fn unused<'a>(
        &self,
        manifest: &'a Manifest,
    ) -> impl Iterator<Item = (usize, &'a TensorEntry)> {
        let stages = self.stages.iter();
        let used: HashSet<&str> =
            stages.flat_map(|stage| &stage.tensors).map(|placed| placed.name.as_str()).collect();
        manifest.tensors().filter(move |(_, entry)| !used.contains(entry.name.as_str()))
    }
}

/// A plan as it grows, stage by stage.
struct Builder<'a> {
    limits: &'a Limits,
    plan: Plan,
}

impl<'a> Builder<'a> {
    fn new(limits: &'a Limits) -> Self {
        assert!(limits.range_bytes > 0, "a range holds at least one byte");
        assert!(limits.ramp > 0, "the first fetch has a length");
        assert!(limits.align_bytes.is_power_of_two(), "alignments are powers of two");
        assert!(limits.align_bytes <= ALIGN_LIMIT_BYTES, "no processor needs such an alignment");
        Self { limits, plan: Plan { arena_bytes: 0, stages: Vec::new(), fetches: Vec::new() } }
    }

    fn stage(&mut self, manifest: &Manifest, stage: &Stage) -> Result<(), Error> {
        let mut tensors = Vec::with_capacity(stage.tensors.len());
        let mut wanted = Vec::with_capacity(stage.tensors.len());
        for (tensor, want) in stage.tensors.iter().enumerate() {
            let (shard, entry) = find(manifest, want, self.limits)?;
            let arena = self.reserve(entry.bytes());
            wanted.push(Place { source: entry.range.clone(), arena: arena.start, tensor });
            tensors.push(placed(shard, entry, arena));
        }
        self.finish(&stage.name, tensors, wanted);
        Ok(())
    }

    fn rows(&mut self, shard: usize, entry: &TensorEntry, rows: &[u32]) {
        let [count, columns] = entry.shape[..] else { unreachable!("the shape was compared") };
        let row_bytes = entry.bytes().checked_div(count).unwrap_or(0);
        assert_eq!(row_bytes * count, entry.bytes(), "a row of {} ends within a byte", entry.dtype);
        let arena = self.reserve(row_bytes * rows.len() as u64);
        let place = |(row, to): (&u32, u64)| {
            let start = entry.range.start + u64::from(*row) * row_bytes;
            let source = start..start + row_bytes;
            Place { source, arena: arena.start + to * row_bytes, tensor: 0 }
        };
        let wanted: Vec<Place> = rows.iter().zip(0..).map(place).collect();
        let (first, last) = (wanted.first(), wanted.last());
        let source = first.map_or(0, |row| row.source.start)..last.map_or(0, |row| row.source.end);
        let shape = vec![rows.len() as u64, columns];
        let tensor = Placed { shape, source, ..placed(shard, entry, arena) };
        self.finish(&entry.name, vec![tensor], wanted);
    }

    /// The next aligned place for `bytes`. Cannot overflow: see
    /// [`MODEL_LIMIT_BYTES`](crate::manifest::MODEL_LIMIT_BYTES).
    fn reserve(&mut self, bytes: u64) -> Range<u64> {
        let start = self.plan.arena_bytes.next_multiple_of(self.limits.align_bytes);
        self.plan.arena_bytes = start + bytes;
        start..start + bytes
    }

    /// Adds a stage whose bytes are `wanted`, each part from the shard of its tensor.
    fn finish(&mut self, name: &str, tensors: Vec<Placed>, mut wanted: Vec<Place>) {
        let (stage, first) = (self.plan.stages.len(), self.plan.fetches.len());
        let shard = |place: &Place| tensors[place.tensor].shard;
        wanted.retain(|place| !place.source.is_empty());
        wanted.sort_unstable_by_key(|place| (shard(place), place.source.start));
        for wanted in wanted.chunk_by(|a, b| shard(a) == shard(b)) {
            let shard = shard(&wanted[0]); // `chunk_by` makes no empty chunks
            let before = self.plan.fetches.len();
            self.plan.fetches.extend(fetches(shard, stage, wanted, (self.limits, before)));
        }
        let bytes = tensors.iter().map(|placed| placed.arena.end - placed.arena.start).sum();
        let fetches = first..self.plan.fetches.len();
        self.plan.stages.push(StagePlan { name: name.into(), tensors, fetches, bytes });
    }
}

/// A whole tensor at its place.
fn placed(shard: usize, entry: &TensorEntry, arena: Range<u64>) -> Placed {
    let TensorEntry { name, dtype, shape, range } = entry.clone();
    Placed { name, dtype, shape, shard, source: range, arena }
}

/// A tensor that stages share would have to be in the arena twice, or one stage would have to wait
/// for another.
fn check_wanted_once(stages: &[Stage]) -> Result<(), Error> {
    let mut owners = HashMap::new();
    for stage in stages {
        for want in &stage.tensors {
            if let Some(first) = owners.insert(&want.name, &stage.name) {
                let (tensor, first, second) =
                    (want.name.clone(), first.clone(), stage.name.clone());
                return Err(Error::WantedTwice { tensor, first, second });
            }
        }
    }
    Ok(())
}

/// Where a wanted tensor is, once it is known to be what the model expects.
fn find<'a>(
    manifest: &'a Manifest,
    want: &Want,
    limits: &Limits,
) -> Result<(usize, &'a TensorEntry), Error> {
    let Some((shard, entry)) = manifest.get(&want.name) else {
        let names = manifest.tensors().map(|(_, entry)| entry.name.as_str());
        let (tensor, near) = (want.name.clone(), listed(&want.name, names));
        return Err(Error::TensorMissing { tensor, count: manifest.tensors().count(), near });
    };
    let object = || manifest.shards()[shard].name.clone();
    if entry.shape != want.shape {
        let (found, wanted) = (entry.shape.clone(), want.shape.clone());
        return Err(Error::Shape { object: object(), tensor: want.name.clone(), found, wanted });
    }
    if !limits.supported.contains(&entry.dtype) {
        let supported: Vec<String> = limits.supported.iter().map(ToString::to_string).collect();
        return Err(Error::Dtype {
            object: object(),
            tensor: want.name.clone(),
            dtype: entry.dtype,
            supported: supported.join(", "),
        });
    }
    Ok((shard, entry))
}

/// A huge page of 2 MiB.
const ALIGN_LIMIT_BYTES: u64 = 2 << 20;

#[cfg(test)]
mod tests;
