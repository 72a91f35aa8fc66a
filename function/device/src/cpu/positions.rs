//! Where rows stand in the context, and the angles by which their heads turn there.

use std::ops::Range;

use firstlight_kernels as kernels;

use super::Activations;
use crate::Error;

/// Positions that follow each other, one a row.
#[derive(Debug)]
pub struct Positions {
    inverse_frequencies: Box<[f32]>, // (head_dim / 2)
    turns: Activations,              // (rows, head_dim)
    first: usize,
}

impl Positions {
    pub(super) fn new(rows: usize, inverse_frequencies: &[f32]) -> Result<Self, Error> {
        let turns = Activations::new(rows, 2 * inverse_frequencies.len())?;
        Ok(Self { inverse_frequencies: inverse_frequencies.into(), turns, first: 0 })
    }

    pub(super) fn set(&mut self, first: usize, rows: usize) {
        self.first = first;
        self.turns.set_rows(rows);
        kernels::turns(&self.inverse_frequencies, first, self.turns.as_mut_slice());
    }

    pub(super) fn range(&self) -> Range<usize> {
        self.first..self.first + self.turns.shape().0
    }

    /// Cosines, then sines, of the angles of each row.
    pub(super) fn turns(&self) -> &Activations {
        &self.turns
    }
}
