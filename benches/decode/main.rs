//! How fast tokens follow each other, beside how fast the machine reads the weights.
//!
//! A token reads every weight once, so `tokens/s <= read bandwidth / weight bytes`. The weights lie
//! in huge pages, as a start from a bucket leaves them, and once more in the mapped file.
#![expect(clippy::print_stdout, reason = "a program for developers")]

#[path = "../../tests/support/engine.rs"]
#[expect(dead_code, reason = "a start has more parts than a bench needs")]
mod engine;
#[path = "../kernels/limit.rs"]
mod limit;
mod model;
#[path = "../../tests/support/random_model.rs"]
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
        let mapped = Model::mapped(random);
        measure(criterion, &format!("{name}, huge pages"), &mapped.streamed(), &limits);
        measure(criterion, &format!("{name}, mapped file"), &mapped, &limits);
    });
}

fn measure(criterion: &mut Criterion, name: &str, model: &Model, limits: &Limits) {
    let work = Work { bytes: model.bytes(), flop: model.bytes(), like: Elements::BF16(&[]) };
    let mut samples = Samples::default();
    criterion.bench_function(name, |bench| {
        samples.take(bench, (limits, &work), |count| {
            let count = usize::try_from(count).expect("a few hundred");
            let mut decoder = model.decoder(PROMPT + count);
            let mut sequence = Sequence::alone(decoder.settings().blocks);
            sequence.forward(&mut decoder, &[1; PROMPT]).expect("they are ids");
            let begun = Instant::now();
            for _ in 0..count {
                sequence.forward(&mut decoder, &[2]).expect("it is an id");
                decoder.logits().expect("they are there");
            }
            begun.elapsed()
        });
    });
    if let Some(summary) = samples.summary() {
        println!(
            "{name}: {:.1} tokens/s, at most {:.1} by {}: {:.0} %",
            1.0 / summary.took_s,
            1.0 / summary.limit_s,
            summary.of,
            100.0 * summary.share
        );
    }
}

/// Tokens before those that are measured.
const PROMPT: usize = 32;
