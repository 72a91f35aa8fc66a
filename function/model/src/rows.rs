//! What a pass is to run: ids of one or more sequences.

use std::ops::Range;

use firstlight_device::{KV_BLOCK, Span};

use crate::Error;

/// Ids of one sequence that a pass runs.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// One at least.
    pub ids: &'a [u32],
    /// The position of the first of them: how many the sequence has run before.
    pub first: usize,
    /// The blocks of the cache that the sequence has, in the order of its positions. No other one
    /// may have them, and there is room for these ids.
    pub blocks: &'a [u32],
    /// Whether the logits of the last id are wanted.
    pub logits: bool,
}

/// All ids, if they can be run.
pub(crate) fn checked(rows: &[Rows<'_>], vocab_size: usize) -> Result<Vec<u32>, Error> {
    if rows.is_empty() {
        return Err(Error::NoIds);
    }
    for &Rows { ids, first, blocks, .. } in rows {
        let capacity = blocks.len() * KV_BLOCK;
        if ids.is_empty() {
            return Err(Error::NoIds);
        }
        if ids.len() > capacity.saturating_sub(first) {
            return Err(Error::Capacity { new: ids.len(), held: first, capacity });
        }
        if let Some(index) = ids.iter().position(|&id| id as usize >= vocab_size) {
            return Err(Error::Id { id: ids[index], position: first + index, vocab_size });
        }
    }
    Ok(rows.iter().flat_map(|rows| rows.ids).copied().collect())
}

/// Those of the rows that are within `part` of all, as a device knows them.
pub(crate) fn spans_within<'a>(rows: &[Rows<'a>], part: Range<usize>) -> Vec<Span<'a>> {
    let mut end = 0;
    let span = |rows: &Rows<'a>| {
        let start = end;
        end += rows.ids.len();
        let own = start.max(part.start)..end.min(part.end);
        let first = rows.first + own.start.saturating_sub(start);
        (!own.is_empty()).then(|| Span { first, rows: own.len(), blocks: rows.blocks })
    };
    rows.iter().filter_map(span).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_may_begin_and_end_within_a_sequence() {
        let ids = [1; 10];
        let rows =
            |count: usize, first, blocks| Rows { ids: &ids[..count], first, blocks, logits: true };
        let rows = [rows(5, 60, &[7, 3]), rows(1, 0, &[1]), rows(6, 2, &[2])];
        let spans = |part| {
            let spans = spans_within(&rows, part).into_iter();
            spans.map(|span| (span.first, span.rows, span.blocks[0])).collect::<Vec<_>>()
        };
        assert_eq!(spans(0..12), [(60, 5, 7), (0, 1, 1), (2, 6, 2)]);
        assert_eq!(spans(0..4), [(60, 4, 7)]);
        assert_eq!(spans(4..8), [(64, 1, 7), (0, 1, 1), (2, 2, 2)]);
        assert_eq!(spans(8..12), [(4, 4, 2)]);
    }
}
