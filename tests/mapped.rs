//! Files of a model under a server that has them mapped: replaced, written to, cut short.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use support::copied::copied;
use support::demo_model::{demo_model, references};
use support::serving::{Reply, Serving};

/// A copy of the demo model that may be spoiled, and who serves it.
struct Spoiled {
    server: Serving,
    folder: tempfile::TempDir,
}

impl Spoiled {
    /// Has answered once.
    fn new(extra: &[&str]) -> Self {
        let folder = copied(&demo_model());
        let model = [folder.path().to_str().unwrap(), "--served-model-name=demo"];
        let server = Serving::start(&[&model, extra].concat());
        let spoiled = Self { server, folder };
        assert_eq!(spoiled.answer(), references()[0].1);
        spoiled
    }

    fn weights(&self) -> PathBuf {
        self.folder.path().join("model.safetensors")
    }

    fn ask(&self) -> Reply {
        let (prompt, _) = &references()[0];
        let body: Value =
            json!({"model": "demo", "prompt": prompt, "temperature": 0, "max_tokens": 48});
        self.server.post("/v1/completions", &body)
    }

    fn answer(&self) -> String {
        self.ask().ok().text()
    }

    fn is_alive(&self) -> bool {
        self.server.get("/health/live").status == 200
    }
}

#[test]
fn a_file_that_was_written_to_is_named_and_ends_the_engine() {
    let spoiled = Spoiled::new(&[]);
    let mut file = File::options().write(true).open(spoiled.weights()).unwrap();
    file.write_all(&[0; 4096]).unwrap();
    let refused = spoiled.ask();
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(!spoiled.is_alive());
    let log = spoiled.server.log();
    assert!(log.contains("model.safetensors` was changed in place"), "{log}");
    assert!(log.contains("and was written to"), "{log}");
    let again = spoiled.ask();
    assert_eq!(again.status, 503, "{}", again.body);
}

#[test]
fn a_file_that_was_cut_short_ends_an_instance_that_nobody_asks_anything() {
    let spoiled = Spoiled::new(&[]);
    File::options().write(true).open(spoiled.weights()).unwrap().set_len(100_000).unwrap();
    spoiled.server.until(|status| status["state"] == "FAILED");
    assert!(!spoiled.is_alive());
    assert_eq!(spoiled.ask().status, 503);
    let log = spoiled.server.log();
    assert!(log.contains("and has 100000"), "{log}");
}

#[test]
fn an_instance_that_shall_end_where_it_has_failed_does() {
    let mut spoiled = Spoiled::new(&["--exit-on-failure"]);
    File::options().write(true).open(spoiled.weights()).unwrap().set_len(100_000).unwrap();
    assert_eq!(spoiled.server.ended().code(), Some(1));
}

#[test]
fn a_file_that_another_was_moved_over_goes_on_to_be_served() {
    let spoiled = Spoiled::new(&[]);
    let new = spoiled.folder.path().join("new");
    fs::write(&new, "no weights at all").unwrap();
    fs::rename(&new, spoiled.weights()).unwrap();
    thread::sleep(Duration::from_millis(2500)); // two looks of who looks after it
    assert_eq!(spoiled.answer(), references()[0].1);
    assert!(spoiled.is_alive());
}

#[test]
fn memory_that_is_gone_ends_the_process_with_a_word_of_why() {
    let mut spoiled = Spoiled::new(&[]);
    spoiled.server.signal(Signal::BUS);
    assert_eq!(spoiled.server.ended().signal(), Some(Signal::BUS.as_raw()));
    let log = spoiled.server.log();
    assert!(log.contains("SIGBUS: a mapped file is gone from memory"), "{log}");
}
