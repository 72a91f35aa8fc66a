//! What several answers at once gain, what serving costs beside computing, and how soon a request that wakes the
//! server is answered. SmolLM2-135M's shape.
//!
//! A pass over 8 rows reads every weight once, as a pass over one row does, and multiplies 8 times as much:
//! `tokens/s of n <= n / max(bytes / bandwidth, n * operations / peak)`. Serving adds to a pass what it takes to choose
//! the tokens, to schedule them, and to write them to sockets; expected is 5 % of it at most.
//!
//! Each round measures every number of answers, by the decoder alone, by the engine, and by `firstlight serve` with a
//! client for each, so that they saw the same machine; a ratio is the median of those of the rounds. Greedy answers.
//!
//! ```text
//! cargo bench --bench serve             # the table
//! cargo bench --bench serve -- 1 8      # of these numbers of answers
//! cargo bench --bench serve -- waking   # first tokens of `run`, and of `serve` where a request wakes it
//! ```
//!
//! # Layout
//!
//! - [`steps`]: by the decoder, and by the engine
//! - [`process`]: the real binary; [`client`]: who asks it
//! - [`waking`]: pairs of starts
//! - [`folder`]: the model as files; [`model`]: in memory
#![expect(clippy::print_stdout, reason = "a program for developers")]

mod client;
#[path = "../../tests/support/engine.rs"]
#[expect(dead_code, reason = "a start has more parts than a bench needs")]
mod engine;
mod folder;
#[path = "../decode/model.rs"]
#[expect(dead_code, reason = "other benches measure more models")]
mod model;
mod process;
#[path = "../../tests/support/random_model.rs"]
mod random_model;
mod steps;
mod waking;

use std::env;
use std::path::Path;

use firstlight_bucket::{Bucket, Link};
use firstlight_generate::Tokenizer;

use self::model::Model;
use self::process::Server;
use self::random_model::RandomModel;
use self::steps::{STEPS, Steps};

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let is_asked_for = |name: &str| arguments.iter().any(|argument| argument == name);
    let folder = folder::folder().expect("there is room on the disk");
    if is_asked_for("waking") {
        return waking::measure(&folder);
    }
    let asked: Vec<usize> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    let at_once = if asked.is_empty() { AT_ONCE.to_vec() } else { asked };
    measure(&folder, &at_once, if is_asked_for("--test") { 1 } else { ROUNDS });
}

fn measure(folder: &Path, at_once: &[usize], rounds: usize) {
    let tokenizer = std::fs::read(folder.join("tokenizer.json")).expect("it is there");
    let tokenizer = Tokenizer::parse(&tokenizer).expect("it is one");
    let steps = Steps { model: Model::mapped(&RandomModel::smollm2_135m()).streamed(), tokenizer };
    let bucket = Bucket::builder().objects(folder::objects(folder)).link(Link::default());
    let bucket = bucket.start_on_own_thread("127.0.0.1:0").expect("a free port");
    let server = Server::start(folder::IN_BUCKET, &bucket.environment());
    client::first_token(server.address, 1);
    let mut seconds = vec![Vec::new(); at_once.len()];
    for _ in 0..rounds {
        for (seconds, &at_once) in seconds.iter_mut().zip(at_once) {
            let by_http = client::step(server.address, at_once, STEPS);
            seconds.push([steps.decoder(at_once), steps.engine(at_once), by_http]);
        }
    }
    print(at_once, &seconds);
}

fn print(at_once: &[usize], seconds: &[Vec<[f64; 3]>]) {
    println!("answers  pass ms  engine / pass  HTTP / pass  tokens/s by HTTP  x first line");
    let first = at_once[0] as f64 / median(seconds[0].iter().map(|[_, _, http]| *http));
    for (seconds, &at_once) in seconds.iter().zip(at_once) {
        let of = |what: fn(&[f64; 3]) -> f64| median(seconds.iter().map(what));
        let tokens_per_s = at_once as f64 / of(|[_, _, http]| *http);
        println!(
            "{at_once:7}  {:7.2}  {:13.3}  {:11.3}  {tokens_per_s:16.1}  {:11.2}x",
            of(|[pass, ..]| *pass) * 1e3,
            of(|[pass, engine, _]| engine / pass),
            of(|[pass, _, http]| http / pass),
            tokens_per_s / first,
        );
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

const AT_ONCE: [usize; 5] = [1, 2, 4, 8, 16];
const ROUNDS: usize = 7;
