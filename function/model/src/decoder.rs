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
//! **Who comes late can join.** While layers are still on their way, a pass can be taken [layer by
//! layer](Decoder::advance), and rows of other sequences [join](Decoder::join) it between two of
//! them: they are run through the layers that it has behind it, and from then on go with it, in
//! chunks of their own.
//!
//! A step in which each sequence has one row recurs for every token: it is issued [as
//! one](Device::as_one), as soon as all weights are there.
//!
//! Keys and values are kept in blocks of [`KV_BLOCK`] positions. Which of them belong to which
//! sequence is the caller's to decide, and to remember: a decoder knows no sequences, only rows.

mod chunk;

use std::mem;
use std::ops::Range;
use std::rc::Rc;

use firstlight_device::{Device, Draw, KV_BLOCK, Linear, Tensor};

use self::chunk::{Chunk, Room};
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
    caches: Vec<D::KvCache>, // one a layer
    /// Kept from pass to pass.
    chunks: Vec<Chunk<D>>,
    /// Of those who joined the pass, made to measure and dropped with the next.
    joined: Vec<Chunk<D>>,
    scratch: Scratch<D>,
    head: Head<D>,
    progress: Progress,
    /// Something has begun and did not end: the caches may hold different numbers of positions.
    unfinished: bool,
}

/// How far a pass is.
#[derive(Default)]
struct Progress {
    /// Of the chunks that are kept, those that it has rows in.
    chunks: usize,
    /// Layers that it has behind it.
    layers: usize,
    /// The rows that become logits, in their order.
    wanted: Vec<Place>,
}

/// Where a row of a pass is.
#[derive(Clone, Copy)]
struct Place {
    /// Those of who joined come behind the others.
    chunk: usize,
    row: usize,
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
            chunks: Vec::new(),
            joined: Vec::new(),
            scratch: Scratch::new(&device, &spec, chunk_rows)?,
            head: Head {
                hidden: device.activations(logits_rows, spec.hidden_size)?,
                normed: device.activations(logits_rows, spec.hidden_size)?,
                logits: device.activations(logits_rows, spec.vocab_size)?,
            },
            progress: Progress::default(),
            unfinished: false,
            device: Rc::new(device),
            spec,
        })
    }

    /// Weights of the host, as the decoder's device has them.
    pub fn upload(&self, tensor: &Tensor) -> Result<D::Tensor, Error> {
        Ok(self.device.upload(tensor)?)
    }

    /// The rows of the embedding from which the next pass starts, or those who join it. They are used
    /// as long as the table has not been pulled, and only for ids that are all among them.
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
        self.open(rows)?;
        let are_single = rows.iter().all(|rows| rows.ids.len() == 1);
        if are_single && self.weights.are_here(&self.spec) {
            let device = Rc::clone(&self.device);
            self.finishing(|decoder| device.as_one(|| decoder.compute()))
        } else {
            while self.advance()? {}
            Ok(())
        }
    }

    /// Begins a pass over all `rows`, which is to be [taken on](Decoder::advance) to its end. Where
    /// another was not, it is given up: nothing of it may be built upon.
    ///
    /// Errors and panics are those of [`Decoder::forward`].
    pub fn open(&mut self, rows: &[Rows<'_>]) -> Result<(), Error> {
        let ids = checked(rows, self.spec.vocab_size)?;
        self.finishing(|decoder| {
            decoder.joined.clear();
            decoder.place(rows, &ids)?;
            let chunks = ids.len().div_ceil(decoder.settings.chunk_rows);
            let wanted = decoder.wanted(rows, 0).collect();
            decoder.progress = Progress { chunks, layers: 0, wanted };
            Ok(())
        })
    }

    /// Runs `rows` of other sequences through the layers that the pass has behind it; from now on
    /// they go with it. Their logits come behind those of the others.
    ///
    /// Errors and panics are those of [`Decoder::forward`].
    pub fn join(&mut self, rows: &[Rows<'_>]) -> Result<(), Error> {
        let ids = checked(rows, self.spec.vocab_size)?;
        self.finishing(|decoder| {
            let first = decoder.progress.chunks + decoder.joined.len();
            decoder.place_beside(rows, &ids)?;
            let wanted: Vec<_> = decoder.wanted(rows, first).collect();
            decoder.progress.wanted.extend(wanted);
            (0..decoder.progress.layers).try_for_each(|layer| decoder.run_layer(layer, first))
        })
    }

    /// Takes the pass through its next layer, for which it may have to wait, or behind the last one
    /// to its logits. Whether more is to come.
    pub fn advance(&mut self) -> Result<bool, Error> {
        self.finishing(|decoder| {
            let layer = decoder.progress.layers;
            if layer == decoder.spec.layers {
                decoder.set_wanted_logits()?;
                return Ok(false);
            }
            decoder.run_layer(layer, 0)?;
            decoder.progress.layers += 1;
            Ok(true)
        })
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
        self.open(&[Rows { logits: false, ..rows }])?;
        while self.advance()? {}
        let Settings { chunk_rows, logits_rows, .. } = self.settings;
        let place = |row: usize| Place { chunk: row / chunk_rows, row: row % chunk_rows };
        let places: Vec<_> = (0..rows.ids.len()).map(place).collect();
        let mut logits = Vec::with_capacity(places.len() * self.spec.vocab_size);
        for places in places.chunks(logits_rows) {
            self.finishing(|decoder| decoder.set_logits(places))?;
            logits.extend(self.logits()?);
        }
        Ok(logits)
    }

    /// Does what leaves the decoder unfit for use where it fails.
    fn finishing<R>(
        &mut self,
        act: impl FnOnce(&mut Self) -> Result<R, Error>,
    ) -> Result<R, Error> {
        if self.unfinished {
            return Err(Error::Unfinished);
        }
        self.unfinished = true;
        let done = act(self)?;
        self.unfinished = false;
        Ok(done)
    }

    /// What is different in each pass: the ids, and where they stand.
    fn place(&mut self, rows: &[Rows<'_>], ids: &[u32]) -> Result<(), Error> {
        let Self { device, spec, settings, chunks: kept, .. } = self;
        let (table, indices) = self.weights.rows(spec, ids)?;
        for (chunk, part) in chunks(ids.len(), settings.chunk_rows).enumerate() {
            if chunk == kept.len() {
                let Settings { chunk_rows: rows, blocks, .. } = *settings;
                let room = Room { rows, blocks, inverse_frequencies: &self.inverse_frequencies };
                kept.push(Chunk::new(&**device, spec, &room)?);
            }
            let spans = spans_within(rows, part.clone());
            kept[chunk].set(device, table, &indices[part], &spans)?;
        }
        Ok(())
    }

    /// The same for those who join.
    fn place_beside(&mut self, rows: &[Rows<'_>], ids: &[u32]) -> Result<(), Error> {
        let Self { device, spec, settings, .. } = self;
        let (table, indices) = self.weights.rows(spec, ids)?;
        for part in chunks(ids.len(), settings.chunk_rows) {
            let spans = spans_within(rows, part.clone());
            let room = Room {
                rows: part.len(),
                blocks: spans.iter().map(|span| span.blocks.len()).sum(),
                inverse_frequencies: &self.inverse_frequencies,
            };
            let mut chunk = Chunk::new(&**device, spec, &room)?;
            chunk.set(device, table, &indices[part], &spans)?;
            self.joined.push(chunk);
        }
        Ok(())
    }

    /// Where the last ids of those are that want logits, in chunks from `first` on.
    fn wanted(&self, rows: &[Rows<'_>], first: usize) -> impl Iterator<Item = Place> {
        let chunk_rows = self.settings.chunk_rows;
        let ends = rows.iter().scan(0, |end, rows| {
            *end += rows.ids.len();
            Some((*end - 1, rows.logits))
        });
        let wanted = ends.filter(|(_, wanted)| *wanted);
        wanted.map(move |(row, _)| Place { chunk: first + row / chunk_rows, row: row % chunk_rows })
    }

    /// The rest of the pass, and its logits.
    fn compute(&mut self) -> Result<(), Error> {
        (0..self.spec.layers).try_for_each(|layer| self.run_layer(layer, 0))?;
        self.set_wanted_logits()
    }

    /// Takes the chunks from `first` on through a layer.
    fn run_layer(&mut self, layer: usize, first: usize) -> Result<(), Error> {
        let Self { device, spec, scratch, .. } = self;
        let weights = self.weights.layer(spec, layer)?;
        let (window, cache) = (spec.windows[layer], &mut self.caches[layer]);
        let chunks = self.chunks[..self.progress.chunks].iter_mut().chain(&mut self.joined);
        for Chunk { hidden, positions, rows } in chunks.skip(first) {
            scratch.set_rows(device, *rows);
            let pass = Pass { device: &**device, spec, positions, window };
            weights.forward(&pass, hidden, cache, scratch)?;
        }
        Ok(())
    }

    fn set_wanted_logits(&mut self) -> Result<(), Error> {
        let wanted = mem::take(&mut self.progress.wanted);
        let set = self.set_logits(&wanted);
        self.progress.wanted = wanted;
        set
    }

    /// The logits of these rows of the pass: `(rows.len(), vocab_size)`.
    fn set_logits(&mut self, rows: &[Place]) -> Result<(), Error> {
        let Self { device, spec, settings, weights, chunks, joined, head, .. } = self;
        let most = settings.logits_rows;
        assert!(rows.len() <= most, "logits of {} rows, made for {most}", rows.len());
        let Head { hidden, normed, logits } = head;
        for activations in [&mut *hidden, &mut *normed, &mut *logits] {
            device.set_rows(activations, rows.len());
        }
        if rows.is_empty() {
            return Ok(());
        }
        let (norm, output) = weights.head(spec)?;
        let chunks: Vec<_> = chunks[..self.progress.chunks].iter().chain(&*joined).collect();
        let mut to = 0;
        for run in rows.chunk_by(|a, b| a.chunk == b.chunk && a.row + 1 == b.row) {
            let Place { chunk, row } = run[0];
            device.copy_rows(&chunks[chunk].hidden, row..row + run.len(), hidden, to)?;
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
