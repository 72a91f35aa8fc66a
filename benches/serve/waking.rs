//! From `exec` to the first token: of `firstlight run`, and of the request that wakes `firstlight serve`.
//!
//! The two take turns, in pairs whose order changes. A client that is there before the server tries until the socket
//! is bound, and asks at once.

use std::io::Read as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use firstlight_bucket::{Bucket, Link};

use crate::process::{Server, firstlight};
use crate::{client, folder, median};

pub(crate) fn measure(folder: &Path) {
    println!("from            run ms  serve ms  serve - run ms: median, least, most");
    let local = folder.to_str().expect("a path in UTF-8");
    print("folder", &pairs(local, &[], 2 * PAIRS));
    let link = Link {
        rate: Some("1gbit".parse().expect("a rate")),
        connection_rate: Some("100MB".parse().expect("a rate")),
        first_byte: Duration::from_millis(30),
    };
    let bucket = Bucket::builder().objects(folder::objects(folder)).link(link);
    let bucket = bucket.start_on_own_thread("127.0.0.1:0").expect("a free port");
    print("1gbit", &pairs(folder::IN_BUCKET, &bucket.environment(), PAIRS));
}

/// Milliseconds of both.
fn pairs(model: &str, environment: &[(&'static str, String)], count: usize) -> Vec<[f64; 2]> {
    let pair = |pair: usize| {
        if pair.is_multiple_of(2) {
            let run = run_ms(model, environment);
            [run, serve_ms(model, environment)]
        } else {
            let serve = serve_ms(model, environment);
            [run_ms(model, environment), serve]
        }
    };
    // The first pair finds what nobody has read before.
    (0..=count).map(pair).skip(1).collect()
}

fn run_ms(model: &str, environment: &[(&'static str, String)]) -> f64 {
    let mut command = firstlight(environment);
    command.args(["run", model, &client::prompt(), "--temperature=0", "--max-tokens=2"]);
    let begun = Instant::now();
    let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary is there");
    child.stdout.take().expect("it is piped").read_exact(&mut [0]).expect("an answer");
    let ms = begun.elapsed().as_secs_f64() * 1e3;
    child.wait().expect("it ends");
    ms
}

fn serve_ms(model: &str, environment: &[(&'static str, String)]) -> f64 {
    let begun = Instant::now();
    let server = Server::start(model, environment);
    let came = client::first_token(server.address, 2);
    (came - begun).as_secs_f64() * 1e3
}

fn print(from: &str, pairs: &[[f64; 2]]) {
    let later = || pairs.iter().map(|[run, serve]| serve - run);
    println!(
        "{from:13}  {:7.1}  {:8.1}  {:22.1}, {:5.1}, {:4.1}",
        median(pairs.iter().map(|[run, _]| *run)),
        median(pairs.iter().map(|[_, serve]| *serve)),
        median(later()),
        later().fold(f64::INFINITY, f64::min),
        later().fold(f64::NEG_INFINITY, f64::max),
    );
}

const PAIRS: usize = 9;
