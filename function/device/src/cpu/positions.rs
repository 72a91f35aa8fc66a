//! Where rows stand in their sequences, and the angles by which their heads turn there.

use std::ops::Range;

use firstlight_kernels::{self as kernels, Span};

use super::Activations;
use crate::{Error, shapes};

/// Rows of some sequences, one sequence behind the other.
#[derive(Debug)]
pub struct Positions {
    inverse_frequencies: Box<[f32]>, // (head_dim / 2)
    turns: Activations,              // (rows, head_dim)
    spans: Vec<OwnSpan>,
    /// Of all sequences.
    blocks: Vec<u32>,
    /// Room for rows and for blocks.
    capacity: (usize, usize),
}

/// A [`Span`] whose blocks are some of the positions'.
#[derive(Debug)]
struct OwnSpan {
    first: usize,
    rows: usize,
    blocks: Range<usize>,
}

impl Positions {
    pub(super) fn new(
        rows: usize,
        blocks: usize,
        inverse_frequencies: &[f32],
    ) -> Result<Self, Error> {
        Ok(Self {
            inverse_frequencies: inverse_frequencies.into(),
            turns: Activations::new(rows, 2 * inverse_frequencies.len())?,
            spans: Vec::new(),
            blocks: Vec::new(),
            capacity: (rows, blocks),
        })
    }

    pub(super) fn set(&mut self, spans: &[Span<'_>]) {
        shapes::check_spans(spans, self.capacity);
        self.spans.clear();
        self.blocks.clear();
        for span in spans {
            let start = self.blocks.len();
            self.blocks.extend(shapes::used_blocks(span));
            let blocks = start..self.blocks.len();
            self.spans.push(OwnSpan { first: span.first, rows: span.rows, blocks });
        }
        self.set_turns(spans);
    }

    fn set_turns(&mut self, spans: &[Span<'_>]) {
        self.turns.set_rows(spans.iter().map(|span| span.rows).sum());
        let (_, head_dim) = self.turns.shape();
        if head_dim == 0 {
            return; // of heads that do not turn
        }
        let mut turns = self.turns.as_mut_slice();
        for span in spans {
            let own = turns.split_off_mut(..span.rows * head_dim).expect("a turn for each row");
            kernels::turns(&self.inverse_frequencies, span.first, own);
        }
    }

    /// Rows of all spans.
    pub(super) fn rows(&self) -> usize {
        self.turns.shape().0
    }

    pub(super) fn spans(&self) -> impl Iterator<Item = Span<'_>> {
        self.spans.iter().map(|span| Span {
            first: span.first,
            rows: span.rows,
            blocks: &self.blocks[span.blocks.clone()],
        })
    }

    /// The largest number of a block.
    pub(super) fn largest_block(&self) -> Option<u32> {
        self.blocks.iter().copied().max()
    }

    /// Cosines, then sines, of the angles of each row.
    pub(super) fn turns(&self) -> &Activations {
        &self.turns
    }
}
