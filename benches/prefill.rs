//! How fast a prompt of 512 tokens is read, beside how fast the machine multiplies.
//!
//! Two operations for each weight of the layers and each token: `tokens/s <= peak / (2 * weights)`.
//! Attention is not counted in the limit.
#![expect(clippy::print_stdout, reason = "a program for developers")]

#[path = "../tests/support/engine.rs"]
#[expect(dead_code, reason = "a start has more parts than a bench needs")]
mod engine;
#[path = "decode/model.rs"]
mod model;
#[path = "../tests/support/random_model.rs"]
mod random_model;

use std::time::{Duration, Instant};

use criterion::Criterion;
use firstlight_device::{Isa, Team};
use firstlight_kernels::Elements;
use firstlight_kernels::limits::peak_flops;

use self::model::Model;
use self::random_model::RandomModel;

fn main() {
    let is_test = std::env::args().any(|arg| arg == "--test");
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(4))
        .configure_from_args();
    let models = [
        ("SmolLM2-135M", RandomModel::smollm2_135m()),
        ("Qwen2.5-0.5B", RandomModel::qwen2_5_0_5b()),
        ("Llama-3.2-1B", RandomModel::llama_3_2_1b()),
    ];
    for (name, random) in models.iter().take(if is_test { 1 } else { models.len() }) {
        measure(&mut criterion, name, &Model::mapped(random).streamed());
    }
}

fn measure(criterion: &mut Criterion, name: &str, model: &Model) {
    let mut least: Option<Duration> = None;
    criterion.bench_function(name, |bench| {
        bench.iter_custom(|count| {
            let prefill = |_| {
                let mut decoder = model.decoder(PROMPT);
                let begun = Instant::now();
                decoder.forward(&[1; PROMPT]).expect("they are ids");
                let took = begun.elapsed();
                least = Some(least.map_or(took, |least| least.min(took)));
                took
            };
            (0..count).map(prefill).sum()
        });
    });
    let Some(least) = least else { return };
    let peak = peak_flops(Isa::best(), Elements::BF16(&[]), Team::default_threads().get());
    let rate = PROMPT as f64 / least.as_secs_f64();
    let limit = PROMPT as f64 * peak / operations(model) as f64;
    println!(
        "{name}: {rate:.0} tokens/s, at most {limit:.0} by {:.0} Gop/s: {:.0} %",
        peak / 1e9,
        100.0 * rate / limit
    );
}

/// Of all products of a prompt: the output matrix meets one row.
fn operations(model: &Model) -> usize {
    let table = model.spec.vocab_size * model.spec.hidden_size;
    let weights = model.bytes() / size_of::<u16>();
    2 * (PROMPT * (weights - table) + table)
}

/// Tokens of a prompt.
const PROMPT: usize = 512;
