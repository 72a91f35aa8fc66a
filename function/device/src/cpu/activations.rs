//! What is computed: a matrix of f32 on the host.

use crate::Error;
use crate::floats::Floats;

/// A row-major f32 matrix with room for some rows.
#[derive(Debug)]
pub struct Activations {
    floats: Floats,
    rows: usize,
    columns: usize,
    capacity_rows: usize,
}

impl Activations {
    pub(super) fn new(rows: usize, columns: usize) -> Result<Self, Error> {
        let floats = Floats::zeroed(rows.saturating_mul(columns), "activations")?;
        Ok(Self { floats, rows, columns, capacity_rows: rows })
    }

    pub(super) fn set_rows(&mut self, rows: usize) {
        let capacity = self.capacity_rows;
        assert!(rows <= capacity, "{rows} rows in activations made for {capacity}");
        self.rows = rows;
    }

    /// `(rows, columns)`
    pub(super) fn shape(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    pub(super) fn as_slice(&self) -> &[f32] {
        &self.floats.as_slice()[..self.rows * self.columns]
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut self.floats.as_mut_slice()[..self.rows * self.columns]
    }
}
