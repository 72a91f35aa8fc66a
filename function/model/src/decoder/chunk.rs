//! Rows that go through a layer together.

use firstlight_device::{Device, Error, Span};

use crate::Spec;

/// The residual stream of some rows, and where they stand: what they keep from layer to layer.
pub(super) struct Chunk<D: Device> {
    pub(super) hidden: D::Activations, // (rows, hidden_size)
    pub(super) positions: D::Positions,
    pub(super) rows: usize,
}

/// How much a chunk has room for.
pub(super) struct Room<'a> {
    pub(super) rows: usize,
    /// Blocks of all its sequences together.
    pub(super) blocks: usize,
    pub(super) inverse_frequencies: &'a [f32], // (head_dim / 2)
}

impl<D: Device> Chunk<D> {
    pub(super) fn new(device: &D, spec: &Spec, room: &Room<'_>) -> Result<Self, Error> {
        let &Room { rows, blocks, inverse_frequencies } = room;
        Ok(Self {
            hidden: device.activations(rows, spec.hidden_size)?,
            positions: device.positions(rows, blocks, inverse_frequencies)?,
            rows,
        })
    }

    /// Its rows are those of `table` `(n, hidden_size)` with these `indices`, and belong to `spans`.
    pub(super) fn set(
        &mut self,
        device: &D,
        table: &D::Tensor,
        indices: &[u32],
        spans: &[Span<'_>],
    ) -> Result<(), Error> {
        self.rows = indices.len();
        device.set_rows(&mut self.hidden, self.rows);
        device.embed(table, indices, &mut self.hidden)?; // (rows, hidden_size)
        device.set_positions(&mut self.positions, spans)
    }
}
