//! What a start does before its first request is on the wire, counted: system calls, page faults and files.
//!
//! Counts are the same on every machine and in every run, or nearly: a change that makes a start slower is seen here
//! where a clock would see noise. The real binary runs under ptrace, all its threads, from `exec` to the first write
//! that begins a request; a failure prints each system call's share, which says where to look.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::{BTreeMap, HashSet};
use std::fs;

use firstlight_bucket::tls::{LOCALHOST_CERTIFICATE_PEM, LOCALHOST_KEY_PEM};
use firstlight_bucket::{Bucket, Builder, Objects};
use support::demo_model::demo_model;
use support::traced::Traced;

/// What is allowed before the first request. Which requests of a start have begun by then depends on the order in which
/// threads run, so that a count is one of a few; each limit of calls is a tenth above the highest seen, on an idle
/// machine and on one with five times more to do than it has processors. [`WAITS`] are not counted.
///
/// How many pages one fault maps depends on what the page cache holds of the binary and in what pieces: one that was
/// just written takes up to a quarter more than one that was read from the disk. Limits of faults leave room for that.
struct Budget {
    calls: usize,
    /// Fewer where the code is optimised, and so lies on fewer pages.
    faults: u64,
}

/// How often one thread waits for another is the scheduler's to say.
const WAITS: [&str; 2] = ["epoll_wait", "futex"];

/// Over HTTP. Seen: 140 to 190 calls; 578 to 796 faults, optimised 307 to 400.
const HTTP: Budget = Budget { calls: 210, faults: if cfg!(debug_assertions) { 1200 } else { 600 } };
/// Over TLS, up to the first bytes of a handshake, with one certificate to trust and a name to look up. Seen: 210 to
/// 378 calls; 836 to 1190 faults, optimised 428 to 511.
const TLS: Budget = Budget { calls: 420, faults: if cfg!(debug_assertions) { 1600 } else { 800 } };

#[test]
fn an_http_request_is_on_the_wire_within_its_budget() {
    let server = bucket().start_on_own_thread("127.0.0.1:0").unwrap();
    let boot = Boot::of(run().envs(server.environment()), |bytes| bytes.starts_with(b"GET /"));
    boot.assert_within(&HTTP);
    let wanted = |file: &&String| !EXPECTED.iter().any(|expected| file.contains(expected));
    let unexpected: Vec<_> = boot.files.iter().filter(wanted).collect();
    assert!(unexpected.is_empty(), "opened before the first request: {unexpected:?}");
    let distinct: HashSet<_> = boot.files.iter().collect();
    assert_eq!(distinct.len(), boot.files.len(), "opened twice: {:?}", boot.files);
}

#[test]
fn a_tls_handshake_begins_within_its_budget() {
    let server = bucket().tls(LOCALHOST_CERTIFICATE_PEM, LOCALHOST_KEY_PEM).unwrap();
    let server = server.start_on_own_thread("127.0.0.1:0").unwrap();
    let roots = tempfile::NamedTempFile::new().unwrap();
    fs::write(roots.path(), LOCALHOST_CERTIFICATE_PEM).unwrap();
    let run = run().envs(server.environment());
    let run = run.env("AWS_ENDPOINT_URL", format!("https://localhost:{}", server.addr().port()));
    let run = run.env("SSL_CERT_FILE", roots.path().to_str().unwrap());
    Boot::of(run, is_client_hello).assert_within(&TLS);
}

/// What a start over HTTP has to open: its libraries, what it may use of the machine, the settings of S3.
const EXPECTED: &[&str] = &[
    "/ld.so.cache",
    "/libgcc_s.so.1",
    "/libm.so.6",
    "/libc.so.6",
    "/proc/self/maps",
    "/proc/self/cgroup",
    "/sys/fs/cgroup/",
    "/.aws/config",
    "/.aws/credentials",
];

fn bucket() -> Builder {
    let model = demo_model();
    let objects = Objects::new();
    objects.serve_folder("models", "demo/", &model).unwrap();
    Bucket::builder().objects(objects)
}

fn run() -> Traced {
    Traced::new(&["run", "s3://models/demo", "Once upon a time"])
}

/// A TLS record (RFC 8446, 5.1) of a handshake, whose first message is a `ClientHello` (4).
fn is_client_hello(bytes: &[u8]) -> bool {
    matches!(bytes, [22, 3, _, _, _, 1, ..])
}

/// A process from `exec` to the first write that begins a request.
#[derive(Debug)]
struct Boot {
    /// By name.
    calls: BTreeMap<String, usize>,
    faults: u64,
    files: Vec<String>,
}

impl Boot {
    fn of(process: Traced, is_request: impl Fn(&[u8]) -> bool) -> Self {
        let mut running = process.exec();
        let (mut calls, mut files) = (BTreeMap::<_, usize>::new(), Vec::new());
        while let Some(call) = running.next_call() {
            *calls.entry(call.number.name().to_owned()).or_default() += 1;
            if let Some(path) = running.opened_path(&call) {
                files.push(path);
            }
            if running.written_bytes(&call).is_some_and(|bytes| is_request(&bytes)) {
                return Self { calls, faults: running.faults(), files };
            }
        }
        panic!("the process ended without a request, after {calls:?}");
    }

    fn assert_within(&self, budget: &Budget) {
        let counted = self.calls.iter().filter(|(name, _)| !WAITS.contains(&name.as_str()));
        let calls: usize = counted.map(|(_, count)| count).sum();
        let faults = self.faults;
        assert!(
            calls <= budget.calls && faults <= budget.faults,
            "{calls} system calls of {} and {faults} page faults of {} before the first request: {self:#?}",
            budget.calls,
            budget.faults
        );
    }
}
