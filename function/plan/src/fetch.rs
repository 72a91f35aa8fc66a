//! Bytes that are wanted, to the ranges that fetch them.
//!
//! The wanted bytes of one shard, sorted, become runs: neighbours are joined where the gap between
//! them is small, since a few bytes too many are cheaper than one request more. A run that is
//! longer than a range may be is cut into equal pieces, so that the last one is not a crumb that
//! costs a request of its own (the first ones of a plan are shorter: see [`Limits::ramp`]); and what a cut leaves of a gap at either end of a piece is trimmed.

use std::ops::Range;

use crate::plan::Limits;

/// One range to read, and where its bytes go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// Its place in the manifest.
    pub shard: usize,
    /// Counted from the object's first byte; at most [`Limits::range_bytes`] long, and never empty.
    pub range: Range<u64>,
    /// The only stage that needs it.
    pub stage: usize,
    /// Sorted by source, disjoint; what lies between them is not wanted.
    pub places: Vec<Place>,
}

/// Where one part of a fetch goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Within the fetch's range, counted from the object's first byte; never empty.
    pub source: Range<u64>,
    /// The first byte's place in the arena.
    pub arena: u64,
    /// Its place among the tensors of the stage.
    pub tensor: usize,
}

/// The fetches of `wanted`: parts of `shard`, sorted by source, disjoint and not empty. There are
/// `before` fetches before them in the plan.
pub(crate) fn fetches(
    shard: usize,
    stage: usize,
    wanted: &[Place],
    (limits, before): (&Limits, usize),
) -> Vec<Fetch> {
    let near = |a: &Place, b: &Place| b.source.start - a.source.end <= limits.gap_bytes;
    let mut fetches = Vec::new();
    for run in wanted.chunk_by(near) {
        for piece in pieces(run, limits, before + fetches.len()) {
            let places = clip(run, &piece);
            if let (Some(first), Some(last)) = (places.first(), places.last()) {
                let range = first.source.start..last.source.end;
                fetches.push(Fetch { shard, range, stage, places });
            }
        }
    }
    fetches
}

/// Cuts a run into as few pieces as there can be behind `before` fetches, about equal where they
/// may be equally long.
fn pieces(run: &[Place], limits: &Limits, before: usize) -> Vec<Range<u64>> {
    let (first, last) = (&run[0], &run[run.len() - 1]); // `chunk_by` makes no empty chunks
    let (mut at, end) = (first.source.start, last.source.end);
    let mut pieces = Vec::new();
    while at < end {
        let limit = limits.fetch_bytes(before + pieces.len());
        let count = (end - at).div_ceil(limit);
        // Rounded so that no element is cut in tensors that are aligned themselves.
        let bytes = (end - at).div_ceil(count).next_multiple_of(CUT_BYTES).min(limit);
        pieces.push(at..end.min(at + bytes));
        at += bytes;
    }
    pieces
}

/// The parts of a run that lie in `piece`.
fn clip(run: &[Place], piece: &Range<u64>) -> Vec<Place> {
    let within = |place: &Place| {
        let source = place.source.start.max(piece.start)..place.source.end.min(piece.end);
        let arena = place.arena + source.start.checked_sub(place.source.start)?;
        (!source.is_empty()).then_some(Place { source, arena, tensor: place.tensor })
    };
    run.iter().filter_map(within).collect()
}

/// What cuts are rounded to: a cache line, and a multiple of every dtype's size.
pub(crate) const CUT_BYTES: u64 = 64;
