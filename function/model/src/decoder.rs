//! Token ids to logits.
//!
//! A pass runs rows of one or more sequences, which share nothing but the weights. It goes layer by
//! layer, and within each layer chunk by chunk of the rows: so layer k is computed for the whole
//! prompt before layer k + 1 is asked for, which in the first pass may not have arrived yet. The
//! residual stream of all rows is kept between layers, `4 * rows * hidden_size` bytes for the longest
//! pass so far; everything else is of the size of one chunk. A chunk sees the keys and values of the
//! chunks before it through the cache, so the result depends neither on the size of the chunks nor
//! on the sequences beside.
//!
//! A step in which each sequence has one row recurs for every token: it is issued [as
//! one](Device::as_one), as soon as all weights are there.
//!
//! Keys and values are kept in blocks of [`KV_BLOCK`] positions. Which of them belong to which
//! sequence is the caller's to decide, and to remember: a decoder knows no sequences, only rows.

use std::ops::Range;
use std::rc::Rc;

use firstlight_device::{Device, Draw, KV_BLOCK, Linear};

use crate::{
    Error, Group, PromptRows, Rows, Spec, StageOrder,
    layer::{Pass, Scratch},
    rows::{checked, spans_within},
    weights::Weights,
};

/// Rows that go through a layer together. Enough for the products to be limited by arithmetic and
/// not by memory, from about 100 on; few enough for the intermediate results to stay small.
pub const DEFAULT_CHUNK_ROWS: usize = 512;

/// What a [`Decoder`] has to know besides its model.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The order in which the groups come.
    pub order: StageOrder,
    /// Blocks of [`KV_BLOCK`] positions in the cache, for all sequences together.
    pub blocks: usize,
    /// [`DEFAULT_CHUNK_ROWS`], if there is no reason for another number.
    pub chunk_rows: usize,
    /// Rows of a pass that may become logits.
    pub logits_rows: usize,
}

/// A model on a device, and a cache for the sequences that it sees.
pub struct Decoder<D: Device, I> {
    /// Shared with the step that is being issued.
    device: Rc<D>,
    spec: Spec,
    settings: Settings,
    inverse_frequencies: Vec<f32>, // (head_dim / 2)
    weights: Weights<D::Tensor, I>,
    caches: Vec<D::KvCache>,      // one a layer
    hidden: Vec<D::Activations>,  // one a chunk, (rows, hidden_size)
    positions: Vec<D::Positions>, // one a chunk
    scratch: Scratch<D>,
    head: Head<D>,
    /// A pass has begun and did not end: the caches may hold different numbers of positions.
    unfinished: bool,
}

/// The rows that become logits.
struct Head<D: Device> {
    hidden: D::Activations, // (rows, hidden_size)
    normed: D::Activations, // (rows, hidden_size)
    logits: D::Activations, // (rows, vocab_size)
}

impl<D: Device, I> Decoder<D, I> {
    /// A decoder without weights: they are pulled from `groups` as the first pass needs them.
    /// Allocates the cache and all intermediate results.
    ///
    /// # Panics
    /// If there are no blocks, or chunks or logits of no rows.
    pub fn new(device: D, spec: Spec, settings: Settings, groups: I) -> Result<Self, Error> {
        let Settings { order, blocks, chunk_rows, logits_rows } = settings;
        assert!(
            blocks > 0 && chunk_rows > 0 && logits_rows > 0,
            "a cache has a block, a chunk and the logits have a row"
        );
        let chunk_rows = chunk_rows.min(blocks.saturating_mul(KV_BLOCK));
        let cache = |_| device.kv_cache(blocks, spec.kv_heads, spec.head_dim);
        Ok(Self {
            settings: Settings { chunk_rows, ..settings },
            inverse_frequencies: spec.rope.inverse_frequencies(spec.head_dim),
            weights: Weights::new(&spec, order, groups),
            caches: (0..spec.layers).map(cache).collect::<Result<_, _>>()?,
            hidden: Vec::new(),
            positions: Vec::new(),
            scratch: Scratch::new(&device, &spec, chunk_rows)?,
            head: Head {
                hidden: device.activations(logits_rows, spec.hidden_size)?,
                normed: device.activations(logits_rows, spec.hidden_size)?,
                logits: device.activations(logits_rows, spec.vocab_size)?,
            },
            unfinished: false,
            device: Rc::new(device),
            spec,
        })
    }

    /// The rows of the embedding from which the first pass starts. They are used as long as the
    /// table has not been pulled, and only for ids that are all among them.
    ///
    /// # Panics
    /// If the ids do not ascend.
    pub fn give_rows(&mut self, rows: PromptRows<D::Tensor>) {
        self.weights.give_rows(rows);
    }

    /// The model.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// What it was made with.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.settings
    }
}

impl<D, I, E> Decoder<D, I>
where
    D: Device,
    I: Iterator<Item = Result<Group<D::Tensor>, E>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Takes the next stage from the iterator, if one is to come: while there is nothing to run.
    /// Whether more are to come.
    pub fn pull(&mut self) -> Result<bool, Error> {
        self.weights.pull_next(&self.spec)
    }

    /// Runs all `rows` in one pass. Leaves on the device the logits of the last id of each that
    /// wants them: [`Decoder::logits`] are those of the latest pass.
    ///
    /// An error that says what is wrong with `rows` leaves the decoder as it was. Any other leaves
    /// it unfit for use.
    ///
    /// # Panics
    /// If more rows want logits than there is room for, or if a block is not one of the cache.
    pub fn forward(&mut self, rows: &[Rows<'_>]) -> Result<(), Error> {
        let ids = self.begin(rows)?;
        self.place(rows, &ids)?;
        let ends = rows.iter().scan(0, |end, rows| {
            *end += rows.ids.len();
            Some((*end - 1, rows.logits))
        });
        let wanted: Vec<_> = ends.filter(|(_, wanted)| *wanted).map(|(row, _)| row).collect();
        if ids.len() == rows.len() && self.weights.are_here(&self.spec) {
            let device = Rc::clone(&self.device);
            device.as_one(|| self.compute(ids.len(), &wanted))?;
        } else {
            self.compute(ids.len(), &wanted)?;
        }
        self.unfinished = false;
        Ok(())
    }

    /// The logits that the latest pass has left, `(rows that wanted them, vocab_size)`, row-major.
    pub fn logits(&self) -> Result<Vec<f32>, Error> {
        Ok(self.device.read(&self.head.logits)?)
    }

    /// Tokens drawn of these logits, where they are: one for each row that has a draw. `None` leaves
    /// the choice to the caller, by the [logits](Decoder::logits); see [`Device::draw`].
    pub fn draw(&self, draws: &[Option<Draw>]) -> Result<Vec<Option<u32>>, Error> {
        Ok(self.device.draw(&self.head.logits, draws)?)
    }

    /// [`Decoder::forward`] of one sequence, and the logits of every id, `(rows.ids.len(),
    /// vocab_size)`, row-major: for scoring and tests. The output matrix is read once for as many of
    /// them as logits have rows.
    pub fn forward_all(&mut self, rows: Rows<'_>) -> Result<Vec<f32>, Error> {
        let ids = self.begin(&[rows])?;
        self.place(&[rows], &ids)?;
        self.run(ids.len())?;
        let mut logits = Vec::with_capacity(ids.len() * self.spec.vocab_size);
        for first in (0..ids.len()).step_by(self.settings.logits_rows) {
            let end = ids.len().min(first + self.settings.logits_rows);
            self.set_logits(&(first..end).collect::<Vec<_>>())?;
            logits.extend(self.logits()?);
        }
        self.unfinished = false;
        Ok(logits)
    }

    /// The ids of all rows, if the pass can be begun.
    fn begin(&mut self, rows: &[Rows<'_>]) -> Result<Vec<u32>, Error> {
        if self.unfinished {
            return Err(Error::Unfinished);
        }
        let ids = checked(rows, self.spec.vocab_size)?;
        self.unfinished = true;
        Ok(ids)
    }

    /// What is different in each pass: the ids, and where they stand.
    fn place(&mut self, rows: &[Rows<'_>], ids: &[u32]) -> Result<(), Error> {
        self.embed(ids)?;
        self.set_positions(rows, ids.len())
    }

    /// The rest, and the logits of those rows that are wanted.
    fn compute(&mut self, rows: usize, wanted: &[usize]) -> Result<(), Error> {
        self.run(rows)?;
        self.set_logits(wanted)
    }

    /// The residual stream of all rows, through all layers.
    fn run(&mut self, rows: usize) -> Result<(), Error> {
        (0..self.spec.layers).try_for_each(|layer| self.run_layer(layer, rows))
    }

    fn embed(&mut self, ids: &[u32]) -> Result<(), Error> {
        let (table, indices) = self.weights.rows(&self.spec, ids)?;
        let chunk_rows = self.settings.chunk_rows;
        for (chunk, indices) in indices.chunks(chunk_rows).enumerate() {
            if chunk == self.hidden.len() {
                self.hidden.push(self.device.activations(chunk_rows, self.spec.hidden_size)?);
            }
            self.device.set_rows(&mut self.hidden[chunk], indices.len());
            self.device.embed(table, indices, &mut self.hidden[chunk])?; // (rows, hidden_size)
        }
        Ok(())
    }

    /// Where the rows of each chunk stand, which all layers share.
    fn set_positions(&mut self, rows: &[Rows<'_>], count: usize) -> Result<(), Error> {
        let Settings { chunk_rows, blocks, .. } = self.settings;
        for (chunk, part) in chunks(count, chunk_rows).enumerate() {
            if chunk == self.positions.len() {
                let frequencies = &self.inverse_frequencies;
                self.positions.push(self.device.positions(chunk_rows, blocks, frequencies)?);
            }
            let spans = spans_within(rows, part);
            self.device.set_positions(&mut self.positions[chunk], &spans)?;
        }
        Ok(())
    }

    fn run_layer(&mut self, layer: usize, rows: usize) -> Result<(), Error> {
        let weights = self.weights.layer(&self.spec, layer)?;
        let chunks = chunks(rows, self.settings.chunk_rows);
        for ((part, x), positions) in chunks.zip(&mut self.hidden).zip(&self.positions) {
            self.scratch.set_rows(&self.device, part.len());
            let window = self.spec.windows[layer];
            let pass = Pass { device: &*self.device, spec: &self.spec, positions, window };
            weights.forward(&pass, x, &mut self.caches[layer], &mut self.scratch)?;
        }
        Ok(())
    }

    /// The logits of these rows of the pass, which ascend: `(rows.len(), vocab_size)`.
    fn set_logits(&mut self, rows: &[usize]) -> Result<(), Error> {
        let Self { device, spec, settings, weights, hidden: chunks, head, .. } = self;
        let &mut Settings { chunk_rows, logits_rows: most, .. } = settings;
        assert!(rows.len() <= most, "logits of {} rows, made for {most}", rows.len());
        let Head { hidden, normed, logits } = head;
        for activations in [&mut *hidden, &mut *normed, &mut *logits] {
            device.set_rows(activations, rows.len());
        }
        if rows.is_empty() {
            return Ok(());
        }
        let (norm, output) = weights.head(spec)?;
        let mut to = 0;
        for run in rows.chunk_by(|a, b| a + 1 == *b && !b.is_multiple_of(chunk_rows)) {
            let (chunk, first) = (run[0] / chunk_rows, run[0] % chunk_rows);
            device.copy_rows(&chunks[chunk], first..first + run.len(), hidden, to)?;
            to += run.len();
        }
        device.rms_norm(hidden, norm, spec.rms_norm_eps, normed)?; // (rows, hidden_size)
        device.linear(normed, Linear { weight: output, bias: None }, logits)?; // (rows, vocab_size)
        Ok(())
    }
}

/// So many rows in chunks.
fn chunks(rows: usize, chunk_rows: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows).step_by(chunk_rows).map(move |first| first..rows.min(first + chunk_rows))
}

#[cfg(test)]
pub(crate) mod tests;
