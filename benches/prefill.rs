//! How fast a prompt of 512 tokens is read, beside how fast the machine multiplies.
//!
//! Two operations for each weight of the layers and each token: `tokens/s <= peak / (2 * weights)`.
//! Attention is not counted in the limit.
#![expect(clippy::print_stdout, reason = "a program for developers")]

#[path = "../tests/support/engine.rs"]
#[expect(dead_code, reason = "a start has more parts than a bench needs")]
mod engine;
#[path = "kernels/limit.rs"]
mod limit;
#[path = "decode/model.rs"]
mod model;
#[path = "../tests/support/random_model.rs"]
mod random_model;

use std::time::Instant;

use criterion::Criterion;
use firstlight_device::Isa;
use firstlight_kernels::Elements;
use firstlight_model::Sequence;

use self::limit::{Limits, Samples, Work};
use self::model::Model;

fn main() {
    let limits = Limits::new(Isa::best());
    model::for_each(|criterion, name, random| {
        measure(criterion, name, &Model::mapped(random).streamed(), &limits);
    });
}

fn measure(criterion: &mut Criterion, name: &str, model: &Model, limits: &Limits) {
    let work = Work { bytes: model.bytes(), flop: operations(model), like: Elements::BF16(&[]) };
    let mut samples = Samples::default();
    criterion.bench_function(name, |bench| {
        samples.take(bench, (limits, &work), |count| {
            let prefill = |_| {
                let mut decoder = model.decoder(PROMPT);
                let mut sequence = Sequence::alone(decoder.settings().blocks);
                let begun = Instant::now();
                sequence.forward(&mut decoder, &[1; PROMPT]).expect("they are ids");
                begun.elapsed()
            };
            (0..count).map(prefill).sum()
        });
    });
    if let Some(summary) = samples.summary() {
        println!(
            "{name}: {:.0} tokens/s, at most {:.0} by {}: {:.0} %",
            PROMPT as f64 / summary.took_s,
            PROMPT as f64 / summary.limit_s,
            summary.of,
            100.0 * summary.share
        );
    }
}

/// Of all products of a prompt: the output matrix meets one row.
fn operations(model: &Model) -> usize {
    let table = model.spec.vocab_size * model.spec.hidden_size;
    let weights = model.bytes() / size_of::<u16>();
    2 * (PROMPT * (weights - table) + table)
}

/// Tokens of a prompt.
const PROMPT: usize = 512;
