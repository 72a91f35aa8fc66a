//! The binary under test as a debugger sees it: every system call of every thread.
//!
//! A shell stops itself and is seized there, so that its `exec` of the binary is seen; threads are followed as they are
//! made. Whoever asks for the next call lets the process run up to it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use syscalls::Sysno;

/// The longest path that the kernel takes.
const PATH_BYTES: usize = 4096;
/// Enough of what is written to see what it is.
const WRITTEN_BYTES: usize = 64;
/// Threads too, but of what this thread made only: other tests trace as well.
const OWN_CHILDREN: WaitPidFlag = WaitPidFlag::__WALL.union(WaitPidFlag::__WNOTHREAD);

/// The binary under test, about to run in an environment as empty as that of [`Firstlight`](super::process::Firstlight).
pub(crate) struct Traced {
    command: Command,
}

/// A system call that a thread has begun.
pub(crate) struct Call {
    pub(crate) number: Sysno,
    arguments: [u64; 6],
}

/// A process that stands still where it was last seen. Killed on drop.
pub(crate) struct Running {
    process: Pid,
    /// Whether each thread is inside a system call.
    inside: HashMap<Pid, bool>,
    /// The thread that stands at the call seen last.
    stopped: Option<Pid>,
    ended: bool,
    memory: File,
    /// Page faults before the `exec`.
    faults_before: u64,
}

impl Traced {
    pub(crate) fn new(arguments: &[&str]) -> Self {
        let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("empty-home");
        fs::create_dir_all(&home).expect("the target folder is ours");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "kill -STOP $$; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_firstlight")]);
        command.args(arguments).env_clear().env("HOME", home);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { command }
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.command.env(name, value.as_ref());
        self
    }

    pub(crate) fn envs(mut self, pairs: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        self.command.envs(pairs);
        self
    }

    /// Runs it up to the end of its `exec`.
    pub(crate) fn exec(mut self) -> Running {
        #[expect(clippy::zombie_processes, reason = "its tracer waits for it: see `Running`")]
        let child = self.command.spawn().expect("there is a shell");
        let process = Pid::from_raw(child.id().try_into().expect("a process id"));
        waitpid(process, Some(WaitPidFlag::WUNTRACED)).expect("the shell stops itself");
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_EXITKILL;
        ptrace::seize(process, options).expect("a child may be traced");
        kill(process, Signal::SIGCONT).expect("it is there");
        await_exec(process);
        let memory = File::open(format!("/proc/{process}/mem")).expect("a tracee's memory is open");
        let inside = HashMap::from([(process, true)]);
        let faults_before = faults(process);
        Running { process, inside, stopped: Some(process), ended: false, memory, faults_before }
    }
}

impl Running {
    /// Lets the process run until one of its threads begins a system call; nothing when it has ended.
    pub(crate) fn next_call(&mut self) -> Option<Call> {
        if let Some(stopped) = self.stopped.take() {
            go_on(stopped, None);
        }
        loop {
            match next_stop() {
                WaitStatus::PtraceSyscall(thread) => {
                    let inside = self.inside.entry(thread).or_default();
                    *inside = !*inside;
                    if *inside && let Some(call) = self.call(thread) {
                        self.stopped = Some(thread);
                        return Some(call);
                    }
                    go_on(thread, None);
                }
                WaitStatus::Stopped(thread, signal) => go_on(thread, Some(signal)),
                WaitStatus::PtraceEvent(thread, ..) => go_on(thread, None),
                status if is_end(status, self.process) => {
                    self.ended = true;
                    return None;
                }
                _ => {}
            }
        }
    }

    /// What a call opens.
    pub(crate) fn opened_path(&self, call: &Call) -> Option<String> {
        let address = match call.number {
            Sysno::openat | Sysno::openat2 => call.arguments[1],
            _ => return None,
        };
        let bytes = self.read(address, PATH_BYTES);
        let path = bytes.split(|byte| *byte == 0).next().expect("a split has a first part");
        Some(String::from_utf8_lossy(path).into_owned())
    }

    /// The first bytes that a call writes.
    pub(crate) fn written_bytes(&self, call: &Call) -> Option<Vec<u8>> {
        let [_, address, length, ..] = call.arguments;
        let (address, length) = match call.number {
            Sysno::write | Sysno::sendto => (address, length),
            Sysno::writev => (self.read_word(address), self.read_word(address + 8)),
            // The message's vector is its third word, behind the name and its length.
            Sysno::sendmsg => {
                let vector = self.read_word(address + 16);
                (self.read_word(vector), self.read_word(vector + 8))
            }
            _ => return None,
        };
        let length =
            usize::try_from(length).map_or(WRITTEN_BYTES, |length| length.min(WRITTEN_BYTES));
        Some(self.read(address, length))
    }

    /// Page faults of all threads since the `exec`.
    pub(crate) fn faults(&self) -> u64 {
        faults(self.process) - self.faults_before
    }

    /// The call that a thread, stopped, has begun. Of one that is just dying the kernel says nothing.
    fn call(&self, thread: Pid) -> Option<Call> {
        let text =
            fs::read_to_string(format!("/proc/{}/task/{thread}/syscall", self.process)).ok()?;
        let mut words = text.split_whitespace();
        let number = Sysno::new(words.next()?.parse().ok()?)?;
        let argument = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok();
        let arguments: Vec<u64> = words.map_while(argument).collect();
        Some(Call { number, arguments: *arguments.first_chunk()? })
    }

    fn read_word(&self, address: u64) -> u64 {
        let bytes = self.read(address, 8);
        bytes.try_into().map_or(0, u64::from_ne_bytes)
    }

    /// Up to `length` bytes: fewer at the end of what is mapped.
    fn read(&self, address: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let read = self.memory.read_at(&mut bytes, address).unwrap_or(0);
        bytes.truncate(read);
        bytes
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended || kill(self.process, Signal::SIGKILL).is_err() {
            return;
        }
        // Each of its threads has to be told off by its tracer before the process is gone.
        while let Ok(status) = waitpid(None, Some(OWN_CHILDREN)) {
            if is_end(status, self.process) {
                return;
            }
        }
    }
}

fn await_exec(process: Pid) {
    loop {
        match next_stop() {
            WaitStatus::PtraceEvent(_, _, event) if event == Event::PTRACE_EVENT_EXEC as i32 => {
                return;
            }
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => panic!("the shell did not exec"),
            _ => go_on(process, None),
        }
    }
}

/// The next thing that happens to the process or one of its threads.
fn next_stop() -> WaitStatus {
    waitpid(None, Some(OWN_CHILDREN)).expect("there is a child")
}

fn is_end(status: WaitStatus, process: Pid) -> bool {
    matches!(status, WaitStatus::Exited(ended, _) | WaitStatus::Signaled(ended, ..) if ended == process)
}

/// Lets a thread run on, with the signal that it stands before. One that was killed meanwhile is seen when it has ended.
fn go_on(thread: Pid, signal: Option<Signal>) {
    let signal = signal.filter(|signal| !matches!(signal, Signal::SIGTRAP | Signal::SIGSTOP));
    let _ = ptrace::syscall(thread, signal);
}

/// The minor and major page faults of a process, all threads together (`proc_pid_stat(5)`, fields 10 and 12).
fn faults(process: Pid) -> u64 {
    let mut text = String::new();
    let read = |text: &mut String| -> io::Result<usize> {
        File::open(format!("/proc/{process}/stat"))?.read_to_string(text)
    };
    read(&mut text).expect("the process is there");
    // The second field is the name, in parentheses, and may hold anything.
    let (_, fields) = text.rsplit_once(')').expect("the kernel writes it so");
    let fields: Vec<_> = fields.split_whitespace().collect();
    let number = |field: usize| fields[field - 3].parse::<u64>().expect("a count");
    number(10) + number(12)
}
