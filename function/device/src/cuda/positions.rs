//! Where rows stand in the context, and the angles by which their heads turn there.

use std::ops::Range;

use firstlight_kernels::Span;

use super::arena::ALIGN_BYTES;
use super::memory::{Address, Memory};
use super::stream::Stream;
use crate::Error;

/// Positions that follow each other, one a row.
///
/// The number of those before them lies on the device, too, where the kernels read it: a recorded step sees the number
/// of now.
#[derive(Debug)]
pub struct Positions {
    /// That number; behind it the frequencies `(head_dim / 2)`; behind them the turns `(rows, head_dim)`.
    memory: Memory,
    half: usize,
    first: usize,
    rows: usize,
    capacity_rows: usize,
}

impl Positions {
    /// With the frequencies still to come, to [where they lie](Self::frequencies).
    pub(super) fn new(stream: &Stream, rows: usize, half: usize) -> Result<Self, Error> {
        let bytes = turns_offset(half).saturating_add(rows.saturating_mul(2 * half * 4) as u64);
        let memory = Memory::new(stream.context(), bytes, "the positions of a pass")?;
        Ok(Self { memory, half, first: 0, rows: 0, capacity_rows: rows })
    }

    /// Sets them, the turns apart.
    pub(super) fn set(&mut self, stream: &Stream, spans: &[Span<'_>]) -> Result<(), Error> {
        let &[Span { first, rows, .. }] = spans else {
            panic!("{} sequences in a pass of a GPU, which takes one", spans.len());
        };
        let capacity = self.capacity_rows;
        assert!(rows <= capacity, "{rows} rows in positions made for {capacity}");
        (self.first, self.rows) = (first, rows);
        let before = u32::try_from(first).expect("a context has less than 2^32 positions");
        self.memory.set_first_word(before, stream)
    }

    pub(super) fn range(&self) -> Range<usize> {
        self.first..self.first + self.rows
    }

    pub(super) fn head_dim(&self) -> usize {
        2 * self.half
    }

    /// The number of positions before the first row.
    pub(super) fn before(&self) -> Address {
        self.memory.start()
    }

    pub(super) fn frequencies(&self) -> Address {
        self.memory.start() + ALIGN_BYTES
    }

    pub(super) fn turns(&self) -> Address {
        self.memory.start() + turns_offset(self.half)
    }
}

fn turns_offset(half: usize) -> u64 {
    ALIGN_BYTES + (half as u64 * 4).next_multiple_of(ALIGN_BYTES)
}
