//! How fast tokens follow each other, beside how fast the machine reads the weights.
//!
//! A token reads every weight once, so `tokens/s <= read bandwidth / weight bytes`. The weights lie
//! in huge pages, as a start from a bucket leaves them, and once more in the mapped file.
#![expect(clippy::print_stdout, reason = "a program for developers")]

#[path = "../../tests/support/engine.rs"]
#[expect(dead_code, reason = "a start has more parts than a bench needs")]
mod engine;
mod model;
#[path = "../../tests/support/random_model.rs"]
mod random_model;

use std::time::{Duration, Instant};

use criterion::Criterion;
use firstlight_device::Team;
use firstlight_kernels::limits::read_bandwidth;

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
        let mapped = Model::mapped(random);
        let streamed = mapped.streamed();
        measure(&mut criterion, &format!("{name}, huge pages"), &streamed);
        measure(&mut criterion, &format!("{name}, mapped file"), &mapped);
    }
}

fn measure(criterion: &mut Criterion, name: &str, model: &Model) {
    let mut tokens: Vec<Duration> = Vec::new();
    criterion.bench_function(name, |bench| {
        bench.iter_custom(|count| {
            let count = usize::try_from(count).expect("a few hundred");
            let mut decoder = model.decoder(PROMPT + count);
            decoder.forward(&[1; PROMPT]).expect("they are ids");
            let begun = Instant::now();
            for _ in 0..count {
                let token = Instant::now();
                decoder.forward(&[2]).expect("it is an id");
                tokens.push(token.elapsed());
            }
            begun.elapsed()
        });
    });
    let Some(median) = median(tokens) else { return };
    let bandwidth = read_bandwidth(Team::default_threads().get()).expect("there is memory");
    let (rate, limit) = (1.0 / median.as_secs_f64(), bandwidth / model.bytes() as f64);
    println!(
        "{name}: {rate:.1} tokens/s, at most {limit:.1} by {:.1} GB/s: {:.0} %",
        bandwidth / 1e9,
        100.0 * rate / limit
    );
}

/// None where the bench was filtered out.
fn median(mut times: Vec<Duration>) -> Option<Duration> {
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

/// Tokens before those that are measured.
const PROMPT: usize = 32;
