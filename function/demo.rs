//! The demo: an S3 server with a small model inside this process, and a fresh process that cold-starts from it.
//!
//! The server checks real signatures and its link is shaped; the fresh process is this very program with `run s3://…`,
//! and knows no more than an endpoint and keys. It writes its timeline to a file, which is drawn when it is done.

use std::env;
use std::fs::{self, DirBuilder};
use std::io::{Write, stdout};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clap::Parser;
use firstlight_bucket::{Bucket, Link, Objects, Running};
use firstlight_timeline::{Report, Timeline};

use crate::args::DemoArgs;
use crate::failure::Failure;
use crate::report;

const BUCKET: &str = "demo";
const PREFIX: &str = "stories";

/// The model that is built in: 4 MB, and the project's own.
const MODEL: [(&str, &[u8]); 5] = [
    ("config.json", include_bytes!("../tests/fixtures/demo-model/config.json")),
    (
        "generation_config.json",
        include_bytes!("../tests/fixtures/demo-model/generation_config.json"),
    ),
    ("model.safetensors", include_bytes!("../tests/fixtures/demo-model/model.safetensors")),
    ("tokenizer.json", include_bytes!("../tests/fixtures/demo-model/tokenizer.json")),
    ("tokenizer_config.json", include_bytes!("../tests/fixtures/demo-model/tokenizer_config.json")),
];

/// `firstlight` without a command: the demo as the environment sets it.
#[derive(Parser)]
struct Alone {
    #[command(flatten)]
    demo: DemoArgs,
}

impl DemoArgs {
    /// The defaults, and what the environment says otherwise.
    pub(crate) fn of_environment() -> Self {
        Alone::parse_from(["firstlight"]).demo
    }
}

/// Runs the server, then the fresh process, and draws its cold start.
pub(crate) fn demo(args: &DemoArgs) -> Result<(), Failure> {
    report::check(&args.timeline)?;
    let server = serve(args)?;
    announce(args, &server)?;
    let folder = private_folder()?;
    let line = folder.join("timeline.json");
    let started = spawn(args, &server, &line);
    let ended =
        started.and_then(|mut child| child.wait()).map_err(Failure::io("the fresh process"));
    let report = fs::read_to_string(&line);
    drop(fs::remove_dir_all(&folder)); // a leftover in the temporary folder is no reason to fail
    if !ended?.success() {
        return Err(Failure::Child("the fresh process failed; its error stands above".into()));
    }
    let text = report.map_err(Failure::io(line.display().to_string()))?;
    let report: Report = serde_json::from_str(&text)
        .map_err(|error| Failure::Child(format!("the fresh process wrote no timeline: {error}")))?;
    report::print(&report)?;
    report::write(&report, &args.timeline)
}

fn serve(args: &DemoArgs) -> Result<Running, Failure> {
    let objects = Objects::new();
    match &args.model {
        Some(folder) => objects
            .serve_folder(BUCKET, &format!("{PREFIX}/"), folder)
            .map_err(Failure::io(folder.display().to_string()))?,
        None => {
            for (name, bytes) in MODEL {
                objects.insert(BUCKET, &format!("{PREFIX}/{name}"), bytes);
            }
        }
    }
    let link = Link {
        rate: Some(args.link),
        first_byte: Duration::from_millis(args.first_byte_ms),
        connection_rate: Some(args.connection_rate),
    };
    let server = Bucket::builder().objects(objects).link(link).start_on_own_thread("127.0.0.1:0");
    server.map_err(Failure::io("the embedded S3 server"))
}

fn announce(args: &DemoArgs, server: &Running) -> Result<(), Failure> {
    let text = format!(
        "An S3 server at {}: {} in all, {} a connection, {} ms to the first byte.\n\
         A fresh process starts: firstlight run s3://{BUCKET}/{PREFIX} {:?}\n\n",
        server.endpoint(),
        args.link,
        args.connection_rate,
        args.first_byte_ms,
        args.prompt,
    );
    stdout().lock().write_all(text.as_bytes()).map_err(Failure::io("standard output"))
}

/// Where the fresh process writes its timeline: a new folder that nobody else can write to.
fn private_folder() -> Result<PathBuf, Failure> {
    let name = format!("firstlight-demo-{}-{}", std::process::id(), Timeline::monotonic_ns());
    let folder = env::temp_dir().join(name);
    let created = DirBuilder::new().mode(0o700).create(&folder);
    created.map_err(Failure::io(folder.display().to_string()))?;
    Ok(folder)
}

fn spawn(args: &DemoArgs, server: &Running, line: &Path) -> std::io::Result<Child> {
    let mut command = Command::new(env::current_exe()?);
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("AWS_") || text.starts_with("FIRSTLIGHT_") || text == "MODEL" {
            command.env_remove(&name);
        }
    }
    command
        .args(["run", &format!("s3://{BUCKET}/{PREFIX}"), "-", "--waterfall", "never"])
        .arg(format!("--max-tokens={}", args.max_tokens))
        .arg(format!("--seed={}", args.seed))
        .arg("--timeline")
        .arg(line)
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .envs(server.environment())
        .env("FIRSTLIGHT_LINK", args.link.to_string())
        .env("FIRSTLIGHT_T0_NS", Timeline::monotonic_ns().to_string())
        .stdin(Stdio::piped());
    let mut child = command.spawn()?;
    let mut input = child.stdin.take().expect("piped above");
    // A process that ended before it read says so itself, by its exit.
    drop(input.write_all(args.prompt.as_bytes()));
    Ok(child)
}
