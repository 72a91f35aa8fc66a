//! A step of answers that are written at once: by the decoder alone, and by the engine.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use firstlight_device::{Cpu, KV_BLOCK};
use firstlight_generate::engine::{Cancelled, Event, Job, Limits};
use firstlight_generate::{Bias, Engine, Sampling, SamplingOptions, StopRules, Tokenizer};
use firstlight_model::{DEFAULT_CHUNK_ROWS, Decoder, Passes, Rows, Settings, StageOrder};

use crate::model::Model;

/// A model whose weights are in memory, and its tokenizer.
pub(crate) struct Steps {
    pub(crate) model: Model,
    pub(crate) tokenizer: Tokenizer,
}

impl Steps {
    /// Seconds of a pass over a row of each of `at_once` sequences, up to its logits.
    pub(crate) fn decoder(&self, at_once: usize) -> f64 {
        let mut decoder = self.passes(at_once);
        let blocks: Vec<Vec<u32>> = (0u32..).map(blocks_of).take(at_once).collect();
        let run = |decoder: &mut dyn Passes, ids: &[u32], first: usize| {
            let rows = |blocks| Rows { ids, first, blocks, logits: true };
            let rows: Vec<_> = blocks.iter().map(|blocks| rows(blocks)).collect();
            decoder.forward(&rows).expect("they are ids");
        };
        run(&mut decoder, &[1; PROMPT], 0);
        let begun = Instant::now();
        for step in 0..STEPS {
            run(&mut decoder, &[2], PROMPT + step);
        }
        begun.elapsed().as_secs_f64() / STEPS as f64
    }

    /// Seconds of a step of an engine that answers `at_once`, from the first token to the last.
    pub(crate) fn engine(&self, at_once: usize) -> f64 {
        let limits = Limits {
            context_length: POSITIONS,
            vocabulary_size: self.model.spec.vocab_size,
            kv_blocks: at_once * BLOCKS,
            block_positions: KV_BLOCK,
            max_running: at_once,
            max_waiting: at_once,
            step_rows: DEFAULT_CHUNK_ROWS,
        };
        let (engine, worker) = Engine::new(self.tokenizer.clone(), limits);
        let times = Arc::new(Mutex::new(Vec::new()));
        for _ in 0..at_once {
            engine.submit(job(Arc::clone(&times))).expect("there is room");
        }
        engine.stop(Duration::from_mins(1));
        worker.run(self.passes(at_once)).expect("its weights are there");
        let times = times.lock().expect("no holder panics");
        let steps = times.len() / at_once - 1;
        assert_eq!(steps, STEPS, "no answer ends early");
        (times[times.len() - 1] - times[at_once - 1]).as_secs_f64() / STEPS as f64
    }

    fn passes(&self, at_once: usize) -> impl Passes {
        let settings = Settings {
            order: StageOrder::EmbeddingFirst,
            blocks: at_once * BLOCKS,
            chunk_rows: DEFAULT_CHUNK_ROWS,
            logits_rows: at_once,
        };
        let groups = self.model.groups();
        Decoder::new(Cpu::new(), self.model.spec.clone(), settings, groups)
            .expect("there is memory")
    }
}

/// A job that notes when its tokens come.
fn job(times: Arc<Mutex<Vec<Instant>>>) -> Job {
    let max_tokens = u32::try_from(STEPS + 1).expect("a few");
    let stop = StopRules::new(Vec::new(), Vec::new(), max_tokens);
    Job {
        prompt_ids: vec![1; PROMPT],
        sampling: Sampling::new(SamplingOptions::default()).expect("they are ours"),
        stop: stop.expect("there is nothing in it"),
        bias: Bias::default(),
        logprobs: None,
        prompt_logprobs: None,
        cancelled: Cancelled::default(),
        out: Box::new(move |event| {
            if let Event::Token(_) = event {
                times.lock().expect("no holder panics").push(Instant::now());
            }
            true
        }),
    }
}

fn blocks_of(sequence: u32) -> Vec<u32> {
    let blocks = u32::try_from(BLOCKS).expect("a few");
    (sequence * blocks..(sequence + 1) * blocks).collect()
}

const PROMPT: usize = 32;
/// Tokens that are measured.
pub(crate) const STEPS: usize = 24;
const POSITIONS: usize = PROMPT + STEPS + 1;
const BLOCKS: usize = POSITIONS.div_ceil(KV_BLOCK);
