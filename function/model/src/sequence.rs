//! One sequence that has a decoder for itself.

use firstlight_device::{Device, KV_BLOCK};

use crate::{Decoder, Error, Group, Rows};

/// The blocks of a sequence, and how far they are filled.
#[derive(Clone, Debug)]
pub struct Sequence {
    blocks: Vec<u32>,
    position: usize,
}

impl Sequence {
    /// The only one of a decoder with so many blocks.
    ///
    /// # Panics
    /// If they are 2^32 or more.
    #[must_use]
    pub fn alone(blocks: usize) -> Self {
        let blocks = u32::try_from(blocks).expect("a cache has less than 2^32 blocks");
        Self { blocks: (0..blocks).collect(), position: 0 }
    }

    /// Blocks that so many positions take.
    #[must_use]
    pub fn blocks_for(positions: usize) -> usize {
        positions.div_ceil(KV_BLOCK)
    }

    /// Ids run so far.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// Runs `ids` behind those that were run before, and leaves the
    /// [logits](Decoder::logits) of the last one.
    pub fn forward<D, I, E>(
        &mut self,
        decoder: &mut Decoder<D, I>,
        ids: &[u32],
    ) -> Result<(), Error>
    where
        D: Device,
        I: Iterator<Item = Result<Group<D::Tensor>, E>>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        decoder.forward(&[self.rows(ids)])?;
        self.position += ids.len();
        Ok(())
    }

    /// [`Decoder::forward_all`] of `ids`, behind those that were run before.
    pub fn forward_all<D, I, E>(
        &mut self,
        decoder: &mut Decoder<D, I>,
        ids: &[u32],
    ) -> Result<Vec<f32>, Error>
    where
        D: Device,
        I: Iterator<Item = Result<Group<D::Tensor>, E>>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let logits = decoder.forward_all(self.rows(ids))?;
        self.position += ids.len();
        Ok(logits)
    }

    fn rows<'a>(&'a self, ids: &'a [u32]) -> Rows<'a> {
        Rows { ids, first: self.position, blocks: &self.blocks, logits: true }
    }
}
