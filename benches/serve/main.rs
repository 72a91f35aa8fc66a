//! What several answers at once gain, and what it costs to schedule them.
//!
//! A pass over 8 rows reads every weight once, as a pass over one row does, and multiplies 8 times as much:
//! `tokens/s of n <= n / max(bytes / bandwidth, n * operations / peak)`. Each round measures every number of answers, by the
//! decoder alone and by the engine, so that they saw the same machine; a figure is the median of the rounds.
#![expect(clippy::print_stdout, reason = "a program for developers")]

#[path = "../tests/support/engine.rs"]
#[expect(dead_code, reason = "a start has more parts than a bench needs")]
mod engine;
#[path = "decode/model.rs"]
#[expect(dead_code, reason = "other benches measure more models")]
mod model;
#[path = "../tests/support/random_model.rs"]
mod random_model;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use firstlight_device::{Cpu, KV_BLOCK};
use firstlight_generate::engine::{Cancelled, Event, Job, Limits};
use firstlight_generate::{Bias, Engine, Sampling, SamplingOptions, StopRules, Tokenizer};
use firstlight_model::{DEFAULT_CHUNK_ROWS, Decoder, Passes, Rows, Settings, StageOrder};

use self::model::Model;
use self::random_model::RandomModel;

fn main() {
    let is_test = std::env::args().any(|arg| arg == "--test");
    let model = Model::mapped(&RandomModel::smollm2_135m()).streamed();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/demo-model");
    let tokenizer = std::fs::read(folder.join("tokenizer.json")).expect("it is there");
    let bench = Bench { model, tokenizer: Tokenizer::parse(&tokenizer).expect("it is one") };
    let mut seconds = vec![[const { Vec::new() }; 3]; AT_ONCE.len()];
    for _ in 0..if is_test { 1 } else { ROUNDS } {
        for (seconds, at_once) in seconds.iter_mut().zip(AT_ONCE) {
            seconds[0].push(bench.decoder(at_once, false));
            seconds[1].push(bench.decoder(at_once, true));
            seconds[2].push(bench.engine(at_once));
        }
    }
    print(&seconds);
}

/// A model of 135 M parameters, and a tokenizer for whatever it says.
struct Bench {
    model: Model,
    tokenizer: Tokenizer,
}

impl Bench {
    /// Seconds of a pass over a row of each of `at_once` sequences, with its logits or up to them.
    fn decoder(&self, at_once: usize, reads: bool) -> f64 {
        let mut decoder = self.passes(at_once);
        let blocks: Vec<Vec<u32>> = (0u32..).map(blocks_of).take(at_once).collect();
        let run = |decoder: &mut dyn Passes, ids: &[u32], first: usize| {
            let rows = |blocks| Rows { ids, first, blocks, logits: true };
            let rows: Vec<_> = blocks.iter().map(|blocks| rows(blocks)).collect();
            decoder.forward(&rows).expect("they are ids");
            if reads {
                decoder.logits().expect("they are there");
            }
        };
        run(&mut decoder, &[1; PROMPT], 0);
        let begun = Instant::now();
        for step in 0..STEPS {
            run(&mut decoder, &[2], PROMPT + step);
        }
        begun.elapsed().as_secs_f64() / STEPS as f64
    }

    /// Seconds of a step of an engine that answers `at_once`, from the first token to the last.
    fn engine(&self, at_once: usize) -> f64 {
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

fn print(seconds: &[[Vec<f64>; 3]]) {
    let medians = |seconds: &[Vec<f64>; 3]| seconds.each_ref().map(|seconds| median(seconds));
    let alone = medians(&seconds[0]);
    println!("answers  pass ms  + logits  engine ms  tokens/s  of one  scheduling, sampling");
    for (seconds, at_once) in seconds.iter().zip(AT_ONCE) {
        let [pass, read, engine] = medians(seconds);
        println!(
            "{at_once:7}  {:7.2}  {:8.2}  {:9.2}  {:8.1}  {:5.2}x  {:19.1} %",
            pass * 1e3,
            read * 1e3,
            engine * 1e3,
            at_once as f64 / engine,
            at_once as f64 * alone[2] / engine,
            100.0 * (engine - read) / engine,
        );
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

const AT_ONCE: [usize; 5] = [1, 2, 4, 8, 16];
const PROMPT: usize = 32;
/// Tokens that are measured.
const STEPS: usize = 16;
const POSITIONS: usize = PROMPT + STEPS + 1;
const BLOCKS: usize = POSITIONS.div_ceil(KV_BLOCK);
const ROUNDS: usize = 5;
