//! One cold start: a fresh process, told the clock at which it was spawned, and asked for its timeline.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use firstlight_bucket::{Objects, Running};
use firstlight_timeline::{Rate, Report, Timeline};

/// What every process of a bench is asked for.
pub(crate) struct Question {
    pub(crate) prompt: String,
    pub(crate) max_tokens: u32,
}

/// A program, and what it is told beside the question.
#[derive(Clone, Debug)]
pub(crate) struct Variant {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    /// All of its environment but what the question sets.
    pub(crate) environment: Vec<(&'static str, OsString)>,
}

impl Question {
    /// To be run, or to be told more.
    pub(crate) fn command(&self, variant: &Variant, model: &str) -> Command {
        let mut command = Command::new(&variant.program);
        command
            .args(["run", model, &self.prompt, "--temperature=0", "--ignore-eos"])
            .arg(format!("--max-tokens={}", self.max_tokens))
            .args(&variant.arguments)
            .env_clear()
            .envs(variant.environment.iter().cloned())
            .envs([("AWS_CONFIG_FILE", "/dev/null"), ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")])
            .stdin(Stdio::null());
        command
    }

    /// What the model in `folder` answers when nothing lies between.
    pub(crate) fn local(&self, variant: &Variant, folder: &Path) -> String {
        text(&mut self.command(variant, folder.to_str().expect("a path in UTF-8")))
    }

    /// A cold start from `server`, and what it answered.
    pub(crate) fn cold(
        &self,
        variant: &Variant,
        server: &Running,
        link: Option<Rate>,
    ) -> (Report, String) {
        let mut command = self.command(variant, MODEL);
        command.envs(server.environment());
        if let Some(rate) = link {
            command.env("FIRSTLIGHT_LINK", rate.to_string());
        }
        timeline(&mut command)
    }
}

/// Runs it as a cold start: what it answered, and how that went.
pub(crate) fn timeline(command: &mut Command) -> (Report, String) {
    let name = format!("cold-start-{}.json", std::process::id());
    let file = std::env::temp_dir().join(name);
    command.arg("--timeline").arg(&file);
    command.env("FIRSTLIGHT_T0_NS", Timeline::monotonic_ns().to_string());
    let text = text(command);
    let report = fs::read_to_string(&file).expect("it was written");
    fs::remove_file(&file).expect("it was written");
    (serde_json::from_str(&report).expect("one line of JSON"), text)
}

/// Objects that hold the folder where the question looks for it.
pub(crate) fn objects(folder: &Path) -> Objects {
    let objects = Objects::new();
    objects.serve_folder("bench", "model/", folder).expect("a folder that can be read");
    objects
}

fn text(command: &mut Command) -> String {
    let output = command.output().expect("a program that can be run");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const MODEL: &str = "s3://bench/model";
