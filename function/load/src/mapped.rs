//! Local files, used where the page cache has them: nothing is copied, a tensor is a piece of the mapping.
//!
//! A thread looks at the file piece by piece, in execution order and ahead of the arithmetic, and a layer is handed over
//! when it has seen the last of it. What the page cache does not hold is read there and then. One reader is enough: from
//! a cold disk the kernel reads ahead of it as far as it likes. Measured on a file of 988 MB: 450 to 620 ms by one, 480
//! to 670 by two, 710 to 920 by four or eight that fetch pieces side by side, and 1,040 to 1,300 by sixteen that read past
//! the cache into huge pages.
//!
//! What the cache does hold is left to fault in as it is read. Mapping it ahead took 4 to 40 ms, as the cache's pages
//! were large or small, and kept others waiting for the lock of the address space: first tokens came 5 to 20 ms later,
//! not sooner. Nor does copying into huge pages pay: the arithmetic reads the mapping as fast (40 ms a pass against 37),
//! and the copy costs two passes.
//!
//! Pages that are gone, because somebody truncates the file meanwhile, are an error where the thread meets them; where the
//! arithmetic does, the process is ended by SIGBUS, with a word of why. A new version of a model is a new file, moved over
//! the old one; that somebody wrote into the old one shows in its [`Stamps`].

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use firstlight_device::{Tensor, bus_error, resident};
use firstlight_plan::{Placed, Plan, StagePlan};
use firstlight_store::{Error as StoreError, Object, Reader};
use firstlight_timeline::{At, FetchRecord, Mark, Outcome, Timeline};

use crate::layers::Source;
use crate::stamps::{Stamp, Stamps};
use crate::{Checkpoint, Error, Layer, device_dtype};

/// What is made resident at once: as much as a range from a store, so that both look alike on a timeline, and a hundred
/// times what a disk takes to answer.
const PIECE_BYTES: u64 = 8 << 20;
/// Two tensors of a stage are one piece where no more than padding lies between them.
const GAP_BYTES: u64 = 4096;
/// What of a piece shows whether the cache has it: as much as the kernel maps in one fault.
const PROBE_BYTES: usize = 64 << 10;
/// Mapping so much from the cache takes 2 to 20 us; the fastest disks answer after 60.
const PROBE: Duration = Duration::from_micros(50);

/// The layers of mapped files, in execution order.
pub(crate) struct Mapped {
    stages: std::vec::IntoIter<StagePlan>,
    shards: Arc<[Shard]>,
    /// One word a stage, in their order.
    resident: Receiver<Result<At, Error>>,
    timeline: Timeline,
}

/// A mapped file.
struct Shard {
    object: Object,
    /// The file's full name.
    name: String,
    bytes: Bytes,
}

impl Mapped {
    /// Begins to make the plan's files resident. Nothing where the store cannot map, or where the plan takes parts of
    /// tensors.
    pub(crate) fn start(
        reader: &Reader,
        checkpoint: &Checkpoint,
        plan: &Plan,
        timeline: &Timeline,
    ) -> Result<Option<(Self, Stamps)>, Error> {
        if plan.stages.iter().flat_map(|stage| &stage.tensors).any(|placed| !is_contiguous(placed))
        {
            return Ok(None);
        }
        let mut shards = Vec::with_capacity(checkpoint.objects.len());
        let mut stamps = Vec::with_capacity(checkpoint.objects.len());
        for object in &checkpoint.objects {
            let Some(file) = reader.file(object)? else { return Ok(None) };
            let Some(bytes) = reader.map(object)? else { return Ok(None) };
            let name = reader.locate(&object.key);
            stamps.push(stamp(file, name.clone())?);
            shards.push(Shard { object: object.clone(), name, bytes });
        }
        bus_error::explain();
        let shards: Arc<[Shard]> = shards.into();
        let stages = plan.stages.clone();
        let (sender, resident) = sync_channel(stages.len());
        let populating = Populating {
            stages: stages
                .iter()
                .map(|stage| (stage.name.as_str().into(), pieces(stage)))
                .collect(),
            shards: Arc::clone(&shards),
            timeline: timeline.clone(),
        };
        populating.begin(sender);
        let stages = stages.into_iter();
        let mapped = Self { stages, shards, resident, timeline: timeline.clone() };
        Ok(Some((mapped, stamps.into_iter().collect())))
    }

    fn layer(&self, stage: &StagePlan) -> Result<Layer, Error> {
        let tensor = |placed: &Placed| -> Result<_, Error> {
            let bytes = self.shards[placed.shard].bytes.slice(in_memory(&placed.source));
            let shape = placed.shape.iter().map(|size| offset(*size)).collect();
            Ok((placed.name.clone(), Tensor::from_bytes(bytes, device_dtype(placed.dtype), shape)?))
        };
        let tensors = stage.tensors.iter().map(tensor).collect::<Result<HashMap<_, _>, _>>()?;
        Ok(Layer { stage: stage.name.clone(), tensors })
    }
}

impl Source<Tensor> for Mapped {
    fn next_layer(&mut self) -> Option<Result<Layer, Error>> {
        let stage = self.stages.next()?;
        // Where there is no thread that tells, pages fault in as they are read.
        Some(self.resident.recv().unwrap_or_else(|_| Ok(self.timeline.now())).and_then(|at| {
            self.timeline.mark_at(Mark::FirstLayerResident, at);
            if self.stages.len() == 0 {
                self.timeline.mark_at(Mark::LastLayerResident, at);
            }
            self.layer(&stage)
        }))
    }

    fn is_at_its_end(&self) -> bool {
        self.stages.len() == 0
    }
}

fn stamp(file: File, object: String) -> Result<Stamp, StoreError> {
    let stamp = Stamp::new(file, object.clone());
    stamp.map_err(|source| StoreError::File { object, source })
}

/// What is made resident together: a range of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    shard: usize,
    range: Range<u64>,
}

/// What the thread works with that makes the stages resident.
struct Populating {
    stages: Vec<(Arc<str>, Vec<Piece>)>,
    shards: Arc<[Shard]>,
    timeline: Timeline,
}

impl Populating {
    fn begin(self, sender: SyncSender<Result<At, Error>>) {
        // Without the thread, the sender is dropped and all pages fault in as they are read.
        drop(thread::Builder::new().name("populate".into()).spawn(move || self.run(&sender)));
    }

    /// Stage by stage, until one fails or nobody waits for them any more.
    fn run(&self, sender: &SyncSender<Result<At, Error>>) {
        for (stage, pieces) in &self.stages {
            let populated = pieces.iter().try_for_each(|piece| self.populate(stage, piece));
            let failed = populated.is_err();
            let told = sender.send(populated.map(|()| self.timeline.now()));
            if failed || told.is_err() {
                return;
            }
        }
        self.timeline.mark(Mark::LastWeightByte);
    }

    /// Makes a piece resident that has to be read for that.
    fn populate(&self, stage: &Arc<str>, piece: &Piece) -> Result<(), Error> {
        let shard = &self.shards[piece.shard];
        let bytes = &shard.bytes[in_memory(&piece.range)];
        let requested = self.timeline.now();
        let unreadable =
            |_| Error::Unreadable { object: shard.name.clone(), at: piece.range.start };
        let is_there = is_cached(bytes).map_err(unreadable)?;
        self.timeline.mark(Mark::FirstWeightByte);
        if is_there || !resident::populate(bytes).map_err(unreadable)? {
            return Ok(());
        }
        self.timeline.fetch(FetchRecord {
            object: Arc::clone(&shard.object.key),
            range: piece.range.clone(),
            stage: Arc::clone(stage),
            requested,
            // The kernel tells of the whole piece only.
            first_byte: Some(requested),
            done: self.timeline.now(),
            bytes: bytes.len() as u64,
            attempt: 1,
            hedge: false,
            outcome: Outcome::Complete,
        });
        Ok(())
    }
}

/// Whether the page cache has the beginning of a piece, by how long that takes. Of one that it has, the end is seen to be
/// there too.
fn is_cached(bytes: &[u8]) -> io::Result<bool> {
    let began = Instant::now();
    resident::populate(&bytes[..bytes.len().min(PROBE_BYTES)])?;
    if began.elapsed() > PROBE {
        return Ok(false);
    }
    resident::populate(&bytes[bytes.len().saturating_sub(1)..])?;
    Ok(true)
}

/// The ranges of a stage in the order of the file, joined where they touch and cut where they are long.
fn pieces(stage: &StagePlan) -> Vec<Piece> {
    let mut tensors: Vec<_> = stage.tensors.iter().collect();
    tensors.sort_by_key(|placed| (placed.shard, placed.source.start));
    let mut joined: Vec<Piece> = Vec::new();
    for Placed { shard, source, .. } in tensors {
        match joined.last_mut() {
            Some(last) if last.shard == *shard && source.start <= last.range.end + GAP_BYTES => {
                last.range.end = last.range.end.max(source.end);
            }
            _ => joined.push(Piece { shard: *shard, range: source.clone() }),
        }
    }
    joined.iter().flat_map(cut).collect()
}

fn cut(piece: &Piece) -> impl Iterator<Item = Piece> {
    let Piece { shard, range } = piece.clone();
    let starts = range.clone().step_by(offset(PIECE_BYTES));
    starts.map(move |at| Piece { shard, range: at..range.end.min(at + PIECE_BYTES) })
}

/// A plan of single rows leaves out what lies between them.
fn is_contiguous(placed: &Placed) -> bool {
    placed.source.end - placed.source.start == placed.arena.end - placed.arena.start
}

fn in_memory(range: &Range<u64>) -> Range<usize> {
    offset(range.start)..offset(range.end)
}

fn offset(in_mapping: u64) -> usize {
    usize::try_from(in_mapping).expect("the header was checked against the size of the mapped file")
}

#[cfg(test)]
mod tests {
    use firstlight_plan::Dtype;

    use super::*;

    fn stage(tensors: &[(usize, Range<u64>)]) -> StagePlan {
        let placed = |(shard, source): &(usize, Range<u64>)| Placed {
            name: String::new(),
            dtype: Dtype::F32,
            shape: Vec::new(),
            shard: *shard,
            source: source.clone(),
            arena: 0..0,
        };
        let tensors = tensors.iter().map(placed).collect();
        StagePlan { name: "layer 0".into(), tensors, fetches: 0..0, bytes: 0 }
    }

    fn ranges(stage: &StagePlan) -> Vec<(usize, Range<u64>)> {
        pieces(stage).into_iter().map(|piece| (piece.shard, piece.range)).collect()
    }

    #[test]
    fn tensors_that_touch_are_one_piece_and_shards_are_apart() {
        let near = stage(&[(0, 900..1000), (1, 1000..1100), (0, 100..200), (0, 200..900)]);
        assert_eq!(ranges(&near), [(0, 100..1000), (1, 1000..1100)]);
        let far = stage(&[(0, 0..10), (0, 11 + GAP_BYTES..20 + GAP_BYTES)]);
        assert_eq!(ranges(&far), [(0, 0..10), (0, 11 + GAP_BYTES..20 + GAP_BYTES)]);
    }

    #[test]
    fn long_ranges_are_cut_and_every_byte_is_in_one_piece() {
        let end = 2 * PIECE_BYTES + 12;
        let long = stage(&[(3, 5..PIECE_BYTES), (3, PIECE_BYTES..end)]);
        let cuts =
            [5..PIECE_BYTES + 5, PIECE_BYTES + 5..2 * PIECE_BYTES + 5, 2 * PIECE_BYTES + 5..end];
        assert_eq!(ranges(&long), cuts.map(|range| (3, range)));
    }
}
