//! What is computed: a matrix of f32 on the device, and beside it the same in 16 bits.

use std::cell::Cell;

use super::arena::ALIGN_BYTES;
use super::memory::{Address, Memory};
use super::stream::Stream;
use crate::{DType, Error};

/// A row-major f32 matrix with room for some rows.
///
/// Its numbers may have been rounded to the 16 bits of the weights that they are multiplied with: by the kernel that
/// made them, which has them at hand, or by the first product that needs them.
#[derive(Debug)]
pub struct Activations {
    /// `(capacity_rows, columns)` in f32, and behind them in 16 bits.
    memory: Memory,
    /// What the latter are, where they are the numbers of now.
    rounded_to: Cell<Option<DType>>,
    rows: usize,
    columns: usize,
    capacity_rows: usize,
}

impl Activations {
    pub(super) fn new(stream: &Stream, rows: usize, columns: usize) -> Result<Self, Error> {
        let numbers = rows.saturating_mul(columns) as u64;
        let bytes = behind(numbers.saturating_mul(4)).saturating_add(numbers.saturating_mul(2));
        let memory = Memory::new(stream.context(), bytes, "activations")?;
        memory.zero(stream)?;
        let rounded_to = Cell::new(None);
        Ok(Self { memory, rounded_to, rows, columns, capacity_rows: rows })
    }

    pub(super) fn set_rows(&mut self, rows: usize) {
        let capacity = self.capacity_rows;
        assert!(rows <= capacity, "{rows} rows in activations made for {capacity}");
        if rows > self.rows {
            self.rounded_to.set(None);
        }
        self.rows = rows;
    }

    /// `(rows, columns)`
    pub(super) fn shape(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    /// Numbers in all rows.
    pub(super) fn len(&self) -> usize {
        self.rows * self.columns
    }

    /// The numbers to read.
    pub(super) fn values(&self) -> Address {
        self.memory.start()
    }

    /// The numbers to write.
    pub(super) fn values_mut(&mut self) -> Address {
        self.rounded_to.set(None);
        self.memory.start()
    }

    /// Where they lie in 16 bits, if they do. Whoever fills it says [so](Self::set_rounded).
    pub(super) fn rounded(&self) -> Address {
        self.memory.start() + behind((self.capacity_rows * self.columns * 4) as u64)
    }

    /// Whether they are there in that type.
    pub(super) fn is_rounded_to(&self, dtype: DType) -> bool {
        self.rounded_to.get() == Some(dtype)
    }

    pub(super) fn set_rounded(&self, dtype: DType) {
        self.rounded_to.set(Some(dtype));
    }
}

/// The first place behind so many bytes where a kernel may begin to read.
fn behind(bytes: u64) -> u64 {
    bytes.checked_next_multiple_of(ALIGN_BYTES).unwrap_or(u64::MAX)
}
