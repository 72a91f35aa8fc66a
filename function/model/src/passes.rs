//! What runs passes over the rows of several sequences, whatever it runs on.

use firstlight_device::{Device, Draw};

use crate::{Decoder, Error, Group, Rows};

/// A model, and the blocks in which it keeps what it has seen.
pub trait Passes {
    /// Takes the next of the weights, for which it may have to wait. Whether more are to come.
    fn pull(&mut self) -> Result<bool, Error>;

    /// Runs the rows of all sequences at once. A row's result does not depend on those beside it.
    fn forward(&mut self, rows: &[Rows<'_>]) -> Result<(), Error>;

    /// Begins a pass as [`forward`](Self::forward) does, to be taken on layer by layer; one that was
    /// not taken to its end is given up.
    fn open(&mut self, rows: &[Rows<'_>]) -> Result<(), Error>;

    /// Rows of other sequences join the pass that was begun, where it is.
    fn join(&mut self, rows: &[Rows<'_>]) -> Result<(), Error>;

    /// Takes that pass through its next layer, for which it may have to wait, or to its logits.
    /// Whether more is to come.
    fn advance(&mut self) -> Result<bool, Error>;

    /// The logits of the last pass, `(wanted, vocab_size)`, in the order of its rows.
    fn logits(&mut self) -> Result<Vec<f32>, Error>;

    /// Tokens that were drawn of these logits, for each row that has a draw and where the device can;
    /// see [`Decoder::draw`].
    fn draw(&mut self, draws: &[Option<Draw>]) -> Result<Vec<Option<u32>>, Error>;

    /// The logits of every row of one sequence, `(ids.len(), vocab_size)`: for scoring.
    fn forward_all(&mut self, rows: Rows<'_>) -> Result<Vec<f32>, Error>;
}

impl<D, I, E> Passes for Decoder<D, I>
where
    D: Device,
    I: Iterator<Item = Result<Group<D::Tensor>, E>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn pull(&mut self) -> Result<bool, Error> {
        Self::pull(self)
    }

    fn forward(&mut self, rows: &[Rows<'_>]) -> Result<(), Error> {
        Self::forward(self, rows)
    }

    fn open(&mut self, rows: &[Rows<'_>]) -> Result<(), Error> {
        Self::open(self, rows)
    }

    fn join(&mut self, rows: &[Rows<'_>]) -> Result<(), Error> {
        Self::join(self, rows)
    }

    fn advance(&mut self) -> Result<bool, Error> {
        Self::advance(self)
    }

    fn logits(&mut self) -> Result<Vec<f32>, Error> {
        Self::logits(self)
    }

    fn draw(&mut self, draws: &[Option<Draw>]) -> Result<Vec<Option<u32>>, Error> {
        Self::draw(self, draws)
    }

    fn forward_all(&mut self, rows: Rows<'_>) -> Result<Vec<f32>, Error> {
        Self::forward_all(self, rows)
    }
}
