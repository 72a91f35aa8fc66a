//! Programs that cannot hang a test.
//!
//! A child leads its own process group, two threads drain its pipes, and past the limit the whole group is killed;
//! what it had said by then comes back with the error.

use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{env, fs};

use rustix::process::{Pid, Signal, kill_process_group};

/// The binary under test, about to run.
pub(crate) struct Firstlight {
    command: Command,
    input: Vec<u8>,
    limit: Duration,
}

impl Firstlight {
    /// With an empty environment but for `PATH` and a home without files: nobody's credentials, profiles or tokens
    /// are inherited, and no metadata service is asked for them.
    pub(crate) fn new<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Self {
        let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("empty-home");
        fs::create_dir_all(&home).expect("the target folder is ours");
        let mut command = Command::new(env!("CARGO_BIN_EXE_firstlight"));
        command.args(arguments).env_clear().env("HOME", home).current_dir(env::temp_dir());
        command.env("PATH", env::var_os("PATH").unwrap_or_default());
        command.env("AWS_EC2_METADATA_DISABLED", "true");
        Self { command, input: Vec::new(), limit: LIMIT }
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn envs<V: AsRef<OsStr>>(
        mut self,
        pairs: impl IntoIterator<Item = (&'static str, V)>,
    ) -> Self {
        self.command.envs(pairs);
        self
    }

    pub(crate) fn current_dir(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    pub(crate) fn input(mut self, bytes: &[u8]) -> Self {
        self.input = bytes.to_vec();
        self
    }

    pub(crate) fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// As it would be run, for who has something to do meanwhile.
    pub(crate) fn into_command(self) -> Command {
        self.command
    }

    /// Runs it to its end; a run past the limit fails the test with all that it said.
    pub(crate) fn run(mut self) -> Finished {
        match run_within(&mut self.command, self.limit, &self.input) {
            Ok(finished) => finished,
            Err(error) => panic!("`firstlight` {error}"),
        }
    }
}

/// A program that ended by itself.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

impl Finished {
    /// Itself, if the exit code was 0; the test fails with its output if not.
    #[track_caller]
    pub(crate) fn success(self) -> Self {
        assert!(self.status.success(), "{self}");
        self
    }

    /// Itself, if it ended with a code other than 0 by its own will: neither a panic nor a signal.
    #[track_caller]
    pub(crate) fn failure(self) -> Self {
        assert!(self.status.code().is_some_and(|code| code != 0 && code != PANICKED), "{self}");
        assert!(!self.stderr.contains("panicked at"), "{self}");
        self
    }
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, stdout, stderr, took } = self;
        write!(f, "{status} after {took:.1?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

/// Why there is no [`Finished`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("cannot be started: {0}")]
    NotStarted(#[from] io::Error),
    #[error("was killed at its limit: {0}")]
    TookTooLong(Finished),
}

/// Runs `command` with `input`, for `limit` at most.
pub(crate) fn run_within(
    command: &mut Command,
    limit: Duration,
    input: &[u8],
) -> Result<Finished, RunError> {
    let started = Instant::now();
    let stdin = if input.is_empty() { Stdio::null() } else { Stdio::piped() };
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn()?;
    feed(&mut child, input.to_vec());
    let stdout = Drain::new(child.stdout.take().expect("it is piped"));
    let stderr = Drain::new(child.stderr.take().expect("it is piped"));

    let in_time = wait_until(&mut child, started + limit)?;
    if !in_time {
        kill_group(&child);
    }
    let status = child.wait()?;
    let (stdout, stderr) = (stdout.text(&child), stderr.text(&child));
    let finished = Finished { status, stdout, stderr, took: started.elapsed() };
    if in_time { Ok(finished) } else { Err(RunError::TookTooLong(finished)) }
}

/// Kills `child` and all that it started.
pub(crate) fn kill_group(child: &Child) {
    // The group is gone if everything in it ended: that is what was asked for.
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
}

/// The last words of a program, on one line.
pub(crate) fn last_line(text: &str) -> String {
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("(no output)");
    line.trim().to_owned()
}

/// Writes from a thread: a child that reads nothing must not block the test, and may close early.
fn feed(child: &mut Child, input: Vec<u8>) {
    if let Some(mut stdin) = child.stdin.take() {
        thread::spawn(move || stdin.write_all(&input));
    }
}

fn wait_until(child: &mut Child, deadline: Instant) -> io::Result<bool> {
    while child.try_wait()?.is_none() {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        thread::sleep(POLL);
    }
    Ok(true)
}

/// A pipe that is read to its end by a thread.
struct Drain {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: JoinHandle<()>,
}

impl Drain {
    fn new(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&bytes);
        let thread = thread::spawn(move || {
            let mut piece = [0; 8192];
            while let Ok(1..) = pipe.read(&mut piece).inspect(|&n| {
                sink.lock().expect("no reader panics").extend_from_slice(&piece[..n]);
            }) {}
        });
        Self { bytes, thread }
    }

    /// All of it. A grandchild that still holds the pipe once `child` has ended is killed.
    fn text(self, child: &Child) -> String {
        let deadline = Instant::now() + GRACE;
        while !self.thread.is_finished() && Instant::now() < deadline {
            thread::sleep(POLL);
        }
        let mut note = String::new();
        if !self.thread.is_finished() {
            kill_group(child);
            let _ = write!(note, "\n[a child of it lived on, and was killed]");
        }
        let bytes = self.bytes.lock().expect("no reader panics");
        String::from_utf8_lossy(&bytes).into_owned() + &note
    }
}

/// No test of ours runs a model for longer, in a debug build on a busy machine with two cores.
const LIMIT: Duration = Duration::from_mins(2);

/// Between the end of a process and the end of its pipes lie microseconds, if nobody else holds them.
const GRACE: Duration = Duration::from_secs(2);

/// Fine enough for a time that is printed with one digit.
const POLL: Duration = Duration::from_millis(2);

/// The exit code of a Rust program that panicked.
const PANICKED: i32 = 101;
