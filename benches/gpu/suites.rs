//! The tests of the repository on the real device, and answers of the program beside those of its own CPU.

use std::path::Path;
use std::process::{Command, Stdio};

use firstlight_bucket::Bucket;

use super::bench::Result;
use super::record::Recorder;
use super::sections::SUITES;
use super::setup::Setup;
use super::start::{self, Question, Variant};

pub(crate) fn measure(setup: &Setup, recorder: &mut Recorder) -> Result<()> {
    // From the folder of each crate the fixtures are where they are in the repository.
    let suites = [("device", "function/device"), ("model", "function/model")];
    for (row, (program, manifest)) in SUITES.into_iter().zip(suites) {
        match run(setup, program, manifest)? {
            Some(counts) => tell(recorder, row, counts)?,
            None => recorder.note(format!("{row}: `{program}` is not beside this program"))?,
        }
    }
    let (counts, wrong) = answers(setup)?;
    for what in wrong {
        recorder.note(what)?;
    }
    tell(recorder, SUITES[2], counts)
}

fn tell(recorder: &mut Recorder, row: &str, [passed, failed]: [usize; 2]) -> Result<()> {
    recorder.figure("tests", [row, "passed"], passed as f64, None)?;
    Ok(recorder.figure("tests", [row, "failed"], failed as f64, None)?)
}

/// The tests of a crate that are about CUDA.
fn run(setup: &Setup, program: &str, manifest: &str) -> Result<Option<[usize; 2]>> {
    let Some(tests) = &setup.tests else { return Ok(None) };
    let path = tests.join(program);
    if !path.is_file() {
        return Ok(None);
    }
    let output = Command::new(path)
        .args(["cuda::", "--test-threads=4"])
        .env("CARGO_MANIFEST_DIR", tests.join(manifest))
        .envs(setup.environment.iter().cloned())
        .env("FIRSTLIGHT_TEST_GPU", setup.device.to_string())
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        eprintln!("{said}{}", String::from_utf8_lossy(&output.stderr));
    }
    let counts = counts(&said);
    Ok(Some(counts.ok_or_else(|| format!("`{program}` ended with {}: {said}", output.status))?))
}

/// Passed and failed, from the last line of a test program.
pub(crate) fn counts(said: &str) -> Option<[usize; 2]> {
    let line = said.lines().rev().find(|line| line.starts_with("test result:"))?;
    let before = |word: &str| {
        let (front, _) = line.split_once(word)?;
        front.split_whitespace().next_back()?.parse().ok()
    };
    Some([before(" passed")?, before(" failed")?])
}

/// Of the demo model on the CPU, and on the device from a folder and from S3: how many are the same.
fn answers(setup: &Setup) -> Result<([usize; 2], Vec<String>)> {
    let folder = setup.fixtures().join("demo-model");
    let server = Bucket::builder().objects(start::objects(&folder));
    let server = server.start_on_own_thread("127.0.0.1:0")?;
    let (mut counts, mut wrong) = ([0; 2], Vec::new());
    for prompt in PROMPTS {
        let question = Question { prompt: prompt.to_owned(), max_tokens: TOKENS };
        let expected = question.local(&on_the_cpu(setup), &folder);
        let variant = setup.variant(&[]);
        let from_s3 = question.cold(&variant, &server, None).1;
        for (source, answer) in [("a folder", question.local(&variant, &folder)), ("S3", from_s3)] {
            counts[usize::from(answer != expected)] += 1;
            if answer != expected {
                wrong.push(format!("from {source}: `{answer}` in place of `{expected}`"));
            }
        }
    }
    Ok((counts, wrong))
}

fn on_the_cpu(setup: &Setup) -> Variant {
    let mut variant = setup.variant(&[]);
    variant.arguments = vec!["--device=cpu".to_owned()];
    variant
}

/// Whose greedy tokens are far enough apart for activations that are rounded here and not there.
const PROMPTS: [&str; 2] = ["Once upon a time", "The little dog"];
const TOKENS: u32 = 8;

/// The fixtures of a repository, or of a folder like it.
pub(crate) fn fixtures_of(root: &Path) -> std::path::PathBuf {
    root.join("tests/fixtures")
}
