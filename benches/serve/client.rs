//! Who asks, by HTTP, for answers that are streamed.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

/// Thirty-two words, and about as many tokens.
pub(crate) fn prompt() -> String {
    vec!["once"; 32].join(" ")
}

/// Seconds of a token of each of `at_once` answers, while all of them are written.
pub(crate) fn step(address: SocketAddr, at_once: usize, tokens: usize) -> f64 {
    // They begin and end one after the other.
    let tokens = tokens + 2 * at_once;
    let times: Vec<Vec<Instant>> = thread::scope(|scope| {
        let clients: Vec<_> =
            (0..at_once).map(|_| scope.spawn(|| events(address, tokens).collect())).collect();
        clients.into_iter().map(|client| client.join().expect("it is answered")).collect()
    });
    let begun = times.iter().map(|times| times[0]).max().expect("somebody asks");
    let ended = times.iter().map(|times| times[times.len() - 1]).min().expect("somebody asks");
    let times = times[0].iter().copied();
    let within: Vec<_> = times.filter(|time| (begun..=ended).contains(time)).collect();
    let steps = within.len() - 1;
    assert!(steps >= tokens / 2, "{steps} steps of all {at_once} together");
    (within[steps] - within[0]).as_secs_f64() / steps as f64
}

/// Waits for the first token of an answer, from where nobody may listen yet.
pub(crate) fn first_token(address: SocketAddr, tokens: usize) -> Instant {
    events(address, tokens).next().expect("an answer has tokens")
}

/// When each token came.
fn events(address: SocketAddr, tokens: usize) -> impl Iterator<Item = Instant> {
    let mut stream = connect(address);
    let body = json!({
        "model": "model", "prompt": prompt(), "temperature": 0, "max_tokens": tokens, "stream": true,
    });
    let body = body.to_string();
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).expect("it reads");
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    let lines = lines.inspect(|line| assert!(!line.contains("\"error\""), "{line}"));
    lines.filter(|line| line.starts_with("data: {")).map(|_| Instant::now())
}

/// As soon as somebody listens.
fn connect(address: SocketAddr) -> TcpStream {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE)).expect("it is a limit");
                return stream;
            }
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        thread::sleep(RETRY);
    }
}

/// A start over the slowest link takes two seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// A hundredth of what is measured, and no burden.
const RETRY: Duration = Duration::from_micros(200);
