//! Token ids to logits.
//!
//! A pass goes layer by layer, and within each layer chunk by chunk of the rows: so layer k is
//! computed for the whole prompt before layer k + 1 is asked for, which in the first pass may not
//! have arrived yet. The residual stream of all rows is kept between layers,
//! `4 * rows * hidden_size` bytes for the longest prompt so far; everything else is of the size of
//! one chunk. A chunk sees the keys and values of the chunks before it through the cache, so the
//! result does not depend on the size of the chunks.

use firstlight_device::{Device, Linear};

use crate::{
    Error, Group, PromptRows, Spec, StageOrder,
    layer::{Pass, Scratch},
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
    /// Positions in the cache: the longest context.
    pub capacity: usize,
    /// [`DEFAULT_CHUNK_ROWS`], if there is no reason for another number.
    pub chunk_rows: usize,
}

/// A model on a device, and the context that it has seen.
pub struct Decoder<D: Device, I> {
    device: D,
    spec: Spec,
    settings: Settings,
    inverse_frequencies: Vec<f32>, // (head_dim / 2)
    weights: Weights<D::Tensor, I>,
    caches: Vec<D::KvCache>,      // one a layer
    hidden: Vec<D::Activations>,  // one a chunk, (rows, hidden_size)
    positions: Vec<D::Positions>, // one a chunk
    scratch: Scratch<D>,
    last: LastRow<D>,
    /// Positions that all caches hold.
    position: usize,
    /// A pass has begun and did not end: the caches may hold different numbers of positions.
    unfinished: bool,
}

/// The row that becomes logits.
struct LastRow<D: Device> {
    hidden: D::Activations, // (1, hidden_size)
    normed: D::Activations, // (1, hidden_size)
    logits: D::Activations, // (1, vocab_size)
}

impl<D: Device, I> Decoder<D, I> {
    /// A decoder without weights: they are pulled from `groups` as the first pass needs them.
    /// Allocates the cache and all intermediate results.
    ///
    /// # Panics
    /// If the capacity or the chunks are of no rows.
    pub fn new(device: D, spec: Spec, settings: Settings, groups: I) -> Result<Self, Error> {
        let Settings { order, capacity, chunk_rows } = settings;
        assert!(capacity > 0 && chunk_rows > 0, "a cache and a chunk hold at least one row");
        let chunk_rows = chunk_rows.min(capacity);
        let cache = |_| device.kv_cache(capacity, spec.kv_heads, spec.head_dim);
        Ok(Self {
            settings: Settings { order, capacity, chunk_rows },
            inverse_frequencies: spec.rope.inverse_frequencies(spec.head_dim),
            weights: Weights::new(&spec, order, groups),
            caches: (0..spec.layers).map(cache).collect::<Result<_, _>>()?,
            hidden: Vec::new(),
            positions: Vec::new(),
            scratch: Scratch::new(&device, &spec, chunk_rows)?,
            last: LastRow {
                hidden: device.activations(1, spec.hidden_size)?,
                normed: device.activations(1, spec.hidden_size)?,
                logits: device.activations(1, spec.vocab_size)?,
            },
            position: 0,
            unfinished: false,
            device,
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

    /// Positions in the cache: the tokens run so far.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }
}

impl<D, I, E> Decoder<D, I>
where
    D: Device,
    I: Iterator<Item = Result<Group<D::Tensor>, E>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Runs `ids` behind what the cache holds; the logits of the last one, `(vocab_size)`.
    ///
    /// An error that says what is wrong with `ids` leaves the decoder as it was. Any other leaves
    /// it unfit for use.
    pub fn forward(&mut self, ids: &[u32]) -> Result<Vec<f32>, Error> {
        self.begin(ids)?;
        self.run(ids)?;
        let logits = self.logits(ids.len() - 1)?;
        self.finish(ids.len());
        Ok(logits)
    }

    /// [`Decoder::forward`] with the logits of every row, `(ids.len(), vocab_size)`, row-major.
    /// The output matrix is read once a row: for scoring and tests.
    pub fn forward_all(&mut self, ids: &[u32]) -> Result<Vec<f32>, Error> {
        self.begin(ids)?;
        self.run(ids)?;
        let mut logits = Vec::with_capacity(ids.len() * self.spec.vocab_size);
        for row in 0..ids.len() {
            logits.extend(self.logits(row)?);
        }
        self.finish(ids.len());
        Ok(logits)
    }

    fn begin(&mut self, ids: &[u32]) -> Result<(), Error> {
        let (held, capacity) = (self.position, self.settings.capacity);
        let vocab_size = self.spec.vocab_size;
        if self.unfinished {
            return Err(Error::Unfinished);
        }
        if ids.is_empty() {
            return Err(Error::NoIds);
        }
        if ids.len() > capacity - held {
            return Err(Error::Capacity { new: ids.len(), held, capacity });
        }
        if let Some(index) = ids.iter().position(|&id| id as usize >= vocab_size) {
            return Err(Error::Id { id: ids[index], position: held + index, vocab_size });
        }
        self.unfinished = true;
        Ok(())
    }

    fn finish(&mut self, rows: usize) {
        self.position += rows;
        self.unfinished = false;
    }

    /// The residual stream of all rows, through all layers.
    fn run(&mut self, ids: &[u32]) -> Result<(), Error> {
        self.embed(ids)?;
        self.set_positions(ids.len())?;
        for layer in 0..self.spec.layers {
            self.run_layer(layer, ids.len())?;
        }
        Ok(())
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
    fn set_positions(&mut self, rows: usize) -> Result<(), Error> {
        let Settings { chunk_rows, .. } = self.settings;
        for before in (0..rows).step_by(chunk_rows) {
            let chunk = before / chunk_rows;
            if chunk == self.positions.len() {
                let frequencies = &self.inverse_frequencies;
                self.positions.push(self.device.positions(chunk_rows, frequencies)?);
            }
            let (first, rows) = (self.position + before, chunk_rows.min(rows - before));
            self.device.set_positions(&mut self.positions[chunk], first, rows)?;
        }
        Ok(())
    }

    fn run_layer(&mut self, layer: usize, rows: usize) -> Result<(), Error> {
        let weights = self.weights.layer(&self.spec, layer)?;
        let chunk_rows = self.settings.chunk_rows;
        for (chunk, x) in self.hidden.iter_mut().take(rows.div_ceil(chunk_rows)).enumerate() {
            let before = chunk * chunk_rows;
            self.scratch.set_rows(&self.device, chunk_rows.min(rows - before));
            let pass = Pass {
                device: &self.device,
                spec: &self.spec,
                positions: &self.positions[chunk],
                window: self.spec.windows[layer],
            };
            weights.forward(&pass, x, &mut self.caches[layer], &mut self.scratch)?;
        }
        Ok(())
    }

    /// The logits of one row of the pass, `(vocab_size)`.
    fn logits(&mut self, row: usize) -> Result<Vec<f32>, Error> {
        let (norm, output) = self.weights.head(&self.spec)?;
        let (device, last) = (&self.device, &mut self.last);
        let chunk = &self.hidden[row / self.settings.chunk_rows];
        device.copy_row(chunk, row % self.settings.chunk_rows, &mut last.hidden)?;
        device.rms_norm(&last.hidden, norm, self.spec.rms_norm_eps, &mut last.normed)?;
        let output = Linear { weight: output, bias: None };
        device.linear(&last.normed, output, &mut last.logits)?; // (1, vocab_size)
        Ok(device.read(&last.logits)?)
    }
}

#[cfg(test)]
mod tests;
