//! What answers many at once: how much of this machine it may use, and the model that it drives.
//!
//! Keys and values are kept for as many positions as there is memory for, and no more than all answers at once could
//! fill. What that comes to is announced: a process needs no more.

use std::num::NonZero;

use firstlight_device::{Device, KV_BLOCK};
use firstlight_generate::engine::{LOAD_ROWS, Limits};
use firstlight_load::{Computing, Error as LoadError};
use firstlight_model::{
    DEFAULT_CHUNK_ROWS, Decoder, Draw, Error as ModelError, Group, Passes, PromptRows, Rows,
    Settings, Spec, StageOrder,
};
use firstlight_plan::Limits as PlanLimits;
use firstlight_timeline::Timeline;

use crate::args::EngineArgs;
use crate::embedding;
use crate::failure::Failure;
use crate::memory::Needs;
use crate::processor::Processor;
use crate::start::{self, Begun, Foreseen, Known};

/// What requests there may be, and the memory that was asked for them.
pub(crate) fn foreseen<P: Processor>(
    processor: &P,
    args: &EngineArgs,
    spec: &Spec,
) -> Result<Foreseen, Failure> {
    check_context(args, spec.max_position_embeddings)?;
    let places = Places::new(processor, args, spec);
    let step_rows = args.max_num_batched_tokens.get() as usize;
    let positions = match args.kv_cache_memory {
        Some(size) => places.blocks(Some(size.bytes))? * KV_BLOCK,
        None => places.context_length.min(step_rows),
    };
    // Who joins the pass that loads has rows beside those that it began with.
    let rows = LOAD_ROWS.saturating_add(step_rows);
    Ok(Foreseen::Requests { rows, logits_rows: places.max_running, positions })
}

/// Refuses a context that is longer than the `limit` that the model was made for.
pub(crate) fn check_context(args: &EngineArgs, limit: usize) -> Result<(), Failure> {
    match args.max_model_len.map(NonZero::get) {
        Some(asked) if asked as usize > limit => Err(Failure::ContextTooLong { asked, limit }),
        _ => Ok(()),
    }
}

/// What an engine may use of `processor`, on which the load of the weights has begun, and what that comes to beside all
/// else that is needed.
pub(crate) fn limits<P: Processor>(
    processor: &P,
    args: &EngineArgs,
    spec: &Spec,
    needs: Needs,
) -> Result<(Limits, Needs), Failure> {
    let places = Places::new(processor, args, spec);
    let available_bytes = match args.kv_cache_memory {
        Some(size) => Some(size.bytes),
        None => processor.kv_memory(&needs)?,
    };
    let kv_blocks = places.blocks(available_bytes)?;
    let Places { context_length, max_running, block_bytes } = places;
    let positions = kv_blocks * KV_BLOCK;
    let needs = Needs { cache_bytes: kv_blocks as u64 * block_bytes, positions, ..needs };
    if positions < context_length {
        tracing::warn!(
            "the memory holds keys and values of {positions} tokens; the context of {context_length} cannot be filled"
        );
    }
    let limits = Limits {
        context_length,
        vocabulary_size: spec.vocab_size,
        kv_blocks,
        block_positions: KV_BLOCK,
        max_running,
        max_waiting: args.max_waiting.get() as usize,
        step_rows: args.max_num_batched_tokens.get() as usize,
    };
    Ok((limits, needs))
}

/// The places in the cache that could be of use.
struct Places {
    context_length: usize,
    max_running: usize,
    block_bytes: u64,
}

impl Places {
    fn new<P: Processor>(processor: &P, args: &EngineArgs, spec: &Spec) -> Self {
        let asked = args.max_model_len.map_or(usize::MAX, |tokens| tokens.get() as usize);
        Self {
            context_length: spec.max_position_embeddings.min(asked),
            max_running: usize::from(args.max_num_seqs.get()),
            block_bytes: spec.kv_bytes_per_position(processor.kv_dtype()) * KV_BLOCK as u64,
        }
    }

    /// How many of the useful blocks there is memory for.
    fn blocks(&self, available_bytes: Option<u64>) -> Result<usize, Failure> {
        let useful = self.context_length.div_ceil(KV_BLOCK).saturating_mul(self.max_running);
        let Some(available_bytes) = available_bytes else { return Ok(useful) };
        let blocks = usize::try_from(available_bytes / self.block_bytes).unwrap_or(usize::MAX);
        if blocks == 0 {
            let (positions, needed_bytes) = (KV_BLOCK, self.block_bytes);
            return Err(Failure::KvMemory { positions, needed_bytes, available_bytes });
        }
        Ok(blocks.min(useful).min(MAX_BLOCKS))
    }
}

/// The model that an engine drives, whose weights are on their way.
pub(crate) fn model<D: Device>(
    device: D,
    known: Known,
    begun: Begun<D::Tensor>,
    limits: &Limits,
    timeline: &Timeline,
) -> Result<impl Passes + use<D>, Failure> {
    let settings = Settings {
        order: begun.order,
        blocks: limits.kv_blocks,
        chunk_rows: DEFAULT_CHUNK_ROWS,
        logits_rows: limits.max_running,
    };
    let computing = begun.layers.computing();
    let groups = begun.layers.map(|layer| layer.map(start::group));
    let decoder = Decoder::new(device, known.spec.clone(), settings, groups)?;
    let is_apart = begun.order == StageOrder::LayersFirst;
    let (plan_limits, timeline) = (begun.plan_limits, timeline.clone());
    let table = is_apart.then_some(Table { known, plan_limits, timeline });
    Ok(Riding { decoder, computing, table })
}

/// A model that answers while it is loaded: what a pass needs of the embedding is read where the table comes last, and
/// the clock is told when the arithmetic of the latest layer has ended.
struct Riding<D: Device, I> {
    decoder: Decoder<D, I>,
    computing: Computing,
    /// Until it is there: the connections to the store end with it.
    table: Option<Table>,
}

/// An embedding table that comes last, and whose rows can be read before.
struct Table {
    known: Known,
    plan_limits: PlanLimits,
    timeline: Timeline,
}

impl<D, I> Riding<D, I>
where
    D: Device,
    I: Iterator<Item = Result<Group<D::Tensor>, LoadError>>,
{
    /// Gives the decoder what these need of the table, if that is still to come.
    fn fetch_rows(&mut self, rows: &[Rows<'_>]) -> Result<(), ModelError> {
        let Some(Table { known, plan_limits, timeline }) = &self.table else { return Ok(()) };
        let ids = rows.iter().flat_map(|rows| rows.ids).copied();
        let rows = embedding::rows(known, plan_limits, ids, timeline);
        let rows = rows.map_err(|failure| ModelError::Load(Box::new(failure)))?;
        let table = self.decoder.upload(&rows.table)?;
        self.decoder.give_rows(PromptRows { table, ids: rows.ids });
        Ok(())
    }
}

impl<D, I> Passes for Riding<D, I>
where
    D: Device,
    I: Iterator<Item = Result<Group<D::Tensor>, LoadError>>,
{
    fn pull(&mut self) -> Result<bool, ModelError> {
        let more = self.decoder.pull();
        self.computing.end();
        self.table.take_if(|_| matches!(more, Ok(false)));
        more
    }

    fn forward(&mut self, rows: &[Rows<'_>]) -> Result<(), ModelError> {
        self.decoder.forward(rows)
    }

    fn open(&mut self, rows: &[Rows<'_>]) -> Result<(), ModelError> {
        self.fetch_rows(rows)?;
        self.decoder.open(rows)
    }

    fn join(&mut self, rows: &[Rows<'_>]) -> Result<(), ModelError> {
        self.fetch_rows(rows)?;
        self.decoder.join(rows)
    }

    fn advance(&mut self) -> Result<bool, ModelError> {
        self.decoder.advance()
    }

    fn logits(&mut self) -> Result<Vec<f32>, ModelError> {
        let logits = self.decoder.logits();
        self.computing.end();
        logits
    }

    fn draw(&mut self, draws: &[Option<Draw>]) -> Result<Vec<Option<u32>>, ModelError> {
        let tokens = self.decoder.draw(draws);
        self.computing.end();
        tokens
    }

    fn forward_all(&mut self, rows: Rows<'_>) -> Result<Vec<f32>, ModelError> {
        self.fetch_rows(&[rows])?;
        let logits = self.decoder.forward_all(rows);
        self.computing.end();
        logits
    }
}

/// They are numbered by 32 bits.
const MAX_BLOCKS: usize = u32::MAX as usize;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_those_that_there_is_memory_for_and_that_are_of_use() {
        let places = Places { context_length: 128, max_running: 4, block_bytes: 100 };
        let blocks =
            |available: Option<u64>| places.blocks(available).map_err(|error| error.to_string());
        assert_eq!(blocks(Some(799)), Ok(7));
        assert_eq!(blocks(Some(9999)), Ok(8));
        assert_eq!(blocks(None), Ok(8));
        let refusal = blocks(Some(99)).unwrap_err();
        assert!(
            refusal.starts_with("keys and values of 64 positions need 100 bytes of memory, 99 are"),
            "{refusal}"
        );
    }
}
