//! Token ids to embeddings.
//!
//! A pass takes whole texts, one behind the other and none padded: its rows are all their tokens.
//! It goes layer by layer, and asks for each when it is about to compute it, so that in the first
//! pass layer k is computed while layers k+1.. arrive. Each row sees the rows of its own text,
//! through a cache of keys and values that holds this pass and this layer.

mod spec;
mod weights;

use firstlight_device::{Device, KV_BLOCK, Span};

pub(crate) use self::spec::{ENCODERS, KnownEncoder};
pub use self::spec::{EncoderSpec, Names, SUPPORTED_ENCODERS};
use self::weights::Weights;
use crate::{
    Error, Group, Sentence,
    bert::{Pass, Scratch},
};

/// What an [`Encoder`] has to know besides its model.
#[derive(Clone, Copy, Debug)]
pub struct EncoderSettings {
    /// How the checkpoint names its tensors.
    pub names: Names,
    /// What becomes of the rows of a text.
    pub sentence: Sentence,
    /// Rows of a pass: at least those of the longest text.
    pub max_rows: usize,
    /// Texts of a pass.
    pub max_texts: usize,
}

/// What makes embeddings of texts.
pub trait Embeds {
    /// Rows of a pass: the tokens of all its texts.
    fn max_rows(&self) -> usize;

    /// Texts of a pass.
    fn max_texts(&self) -> usize;

    /// An embedding for each text. An error that says what is wrong with a text leaves this as it
    /// was.
    fn embed(&mut self, texts: &[&[u32]]) -> Result<Vec<Vec<f32>>, Error>;

    /// Takes one more stage of the weights, and waits for it; `false` once all are there.
    fn pull(&mut self) -> Result<bool, Error>;
}

/// A model on a device.
pub struct Encoder<D: Device, I> {
    device: D,
    spec: EncoderSpec,
    settings: EncoderSettings,
    weights: Weights<D::Tensor, I>,
    hidden: D::Activations, // (rows, hidden_size)
    positions: D::Positions,
    scratch: Scratch<D>,
}

impl<D: Device, I> Encoder<D, I> {
    /// An encoder without weights: they are pulled from `groups` as the first pass needs them.
    /// Allocates all intermediate results.
    ///
    /// # Panics
    /// If the longest text does not fit a pass.
    pub fn new(
        device: D,
        spec: EncoderSpec,
        settings: EncoderSettings,
        groups: I,
    ) -> Result<Self, Error> {
        let EncoderSettings { sentence, max_rows, max_texts, .. } = settings;
        let longest = sentence.max_tokens(&spec);
        assert!(max_texts > 0 && max_rows >= longest, "a pass takes a text of {longest} tokens");
        let blocks = max_rows / KV_BLOCK + max_texts;
        Ok(Self {
            weights: Weights::new(settings.names, groups),
            hidden: device.activations(max_rows, spec.hidden_size)?,
            positions: device.positions(max_rows, blocks, &[])?,
            scratch: Scratch::new(&device, &spec, max_rows, blocks)?,
            device,
            spec,
            settings,
        })
    }

    /// The model.
    #[must_use]
    pub fn spec(&self) -> &EncoderSpec {
        &self.spec
    }

    fn check(&self, texts: &[&[u32]]) -> Result<(), Error> {
        let EncoderSettings { sentence, max_rows, max_texts, .. } = self.settings;
        let rows: usize = texts.iter().map(|ids| ids.len()).sum();
        assert!(rows <= max_rows && texts.len() <= max_texts, "{rows} rows of {}", texts.len());
        texts.iter().try_for_each(|ids| sentence.check(&self.spec, ids))
    }
}

impl<D, I, E> Encoder<D, I>
where
    D: Device,
    I: Iterator<Item = Result<Group<D::Tensor>, E>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// The last layer's rows of all texts, `(rows, hidden_size)`.
    ///
    /// # Panics
    /// If there are more rows or texts than a pass takes.
    pub fn forward(&mut self, texts: &[&[u32]]) -> Result<Vec<f32>, Error> {
        self.check(texts)?;
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let ids = texts.concat();
        let places: Vec<u32> = texts.iter().flat_map(|ids| self.spec.places(ids)).collect();
        self.begin(texts, ids.len())?;
        let Self { device, spec, weights, hidden, positions, scratch, .. } = self;
        let pass = Pass { device: &*device, spec: &*spec, positions: &*positions };
        weights.embeddings(spec)?.forward(&pass, &ids, &places, hidden, scratch)?; // (rows, hidden_size)
        for layer in 0..spec.layers {
            weights.layer(spec, layer)?.forward(&pass, hidden, scratch)?; // (rows, hidden_size)
        }
        Ok(device.read(hidden)?)
    }

    /// Makes room for the rows, and gives each text its blocks.
    fn begin(&mut self, texts: &[&[u32]], rows: usize) -> Result<(), Error> {
        let Self { device, hidden, positions, scratch, .. } = self;
        device.set_rows(hidden, rows);
        scratch.set_rows(device, rows);
        let mut free = 0_u32..;
        let mut blocks = |ids: &&[u32]| free.by_ref().take(ids.len().div_ceil(KV_BLOCK)).collect();
        let blocks: Vec<Vec<u32>> = texts.iter().map(&mut blocks).collect();
        let spans = texts.iter().zip(&blocks);
        let spans: Vec<_> =
            spans.map(|(ids, blocks)| Span { first: 0, rows: ids.len(), blocks }).collect();
        Ok(device.set_positions(positions, &spans)?)
    }
}

impl<D, I, E> Embeds for Encoder<D, I>
where
    D: Device,
    I: Iterator<Item = Result<Group<D::Tensor>, E>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn max_rows(&self) -> usize {
        self.settings.max_rows
    }

    fn max_texts(&self) -> usize {
        self.settings.max_texts
    }

    fn embed(&mut self, texts: &[&[u32]]) -> Result<Vec<Vec<f32>>, Error> {
        let rows = self.forward(texts)?;
        let (mut rest, width) = (&rows[..], self.spec.hidden_size);
        let embeddings = texts.iter().map(|ids| {
            let (rows, behind) = rest.split_at(ids.len() * width);
            rest = behind;
            self.settings.sentence.embedding(rows, width)
        });
        Ok(embeddings.collect())
    }

    fn pull(&mut self) -> Result<bool, Error> {
        self.weights.pull(&self.spec)
    }
}

#[cfg(test)]
mod tests;
