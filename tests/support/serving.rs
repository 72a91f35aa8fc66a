//! `firstlight serve`, running, and requests to it as bytes on a socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::process::{Firstlight, kill_group};

/// A server that is listening. Dropped, it is killed.
pub(crate) struct Serving {
    child: Child,
    pub(crate) address: SocketAddr,
    /// What it wrote to standard error so far.
    log: Arc<Mutex<String>>,
    /// Reads it, until nothing more comes.
    reader: Option<JoinHandle<()>>,
}

impl Serving {
    /// Starts `firstlight serve` with `arguments` at a free port; comes back as soon as it listens.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, |command| command)
    }

    pub(crate) fn start_with(
        arguments: &[&str],
        with: impl FnOnce(Firstlight) -> Firstlight,
    ) -> Self {
        use std::os::unix::process::CommandExt as _;

        let fixed = ["serve", "--host=127.0.0.1", "--port=0"];
        let command = with(Firstlight::new(fixed.iter().chain(arguments)));
        let mut command = command.into_command();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().expect("the binary is there");
        let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let note = {
            let log = Arc::clone(&log);
            move |line: &str| {
                let mut log = log.lock().expect("nobody panics");
                log.push_str(line);
                log.push('\n');
            }
        };
        let address = loop {
            let Some(Ok(line)) = lines.next() else {
                panic!("it ended before it listened:\n{}", log.lock().expect("nobody panics"))
            };
            note(&line);
            if let Some((_, address)) = line.split_once("listening at http://") {
                let end = address.find(|c: char| c == '"' || c.is_whitespace());
                break address[..end.unwrap_or(address.len())].parse().expect("an address");
            }
        };
        let read = move || lines.map_while(Result::ok).for_each(|line| note(&line));
        let reader = Some(thread::spawn(read));
        Self { child, address, log, reader }
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("nobody panics").clone()
    }

    /// A connection on which nothing was sent.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(LIMIT)).expect("it is a limit");
        stream
    }

    /// Sends a request whose answer is to be read later.
    pub(crate) fn send(&self, method: &str, path: &str, body: &str) -> Answer {
        let mut stream = self.connect();
        let head = request_head(method, path, body.len());
        stream.write_all(format!("{head}\r\n{body}").as_bytes()).expect("it reads");
        Answer::new(stream)
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.send("GET", path, "").whole()
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Reply {
        self.send("POST", path, &body.to_string()).whole()
    }

    pub(crate) fn status(&self) -> Value {
        self.get("/status").json()
    }

    /// Waits until `/status` is as it should be.
    pub(crate) fn until(&self, is_so: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + LIMIT;
        loop {
            let status = self.status();
            if is_so(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "it stays as it is: {status}");
            thread::sleep(POLL);
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Waits for its end, and for all of its log.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                self.reader.take().map(JoinHandle::join).transpose().expect("it does not panic");
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.log());
            thread::sleep(POLL);
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        kill_group(&self.child);
        let _ = self.child.wait();
    }
}

/// The head of a request, but for the empty line at its end.
pub(crate) fn request_head(method: &str, path: &str, length: usize) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n"
    )
}

/// An answer that is on its way.
pub(crate) struct Answer {
    stream: BufReader<TcpStream>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    /// The next line, whatever it belongs to; nothing where the connection has ended.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.stream.read_line(&mut line).ok()?;
        (read > 0).then(|| line.trim_end().to_owned())
    }

    /// Reads up to a line that begins with `start`.
    pub(crate) fn until(&mut self, start: &str) -> String {
        loop {
            let line = self.line().unwrap_or_else(|| panic!("it ended without `{start}`"));
            if line.starts_with(start) {
                return line;
            }
        }
    }

    /// Reads all of it.
    pub(crate) fn whole(mut self) -> Reply {
        let mut head = String::new();
        while let Some(line) = self.line().filter(|line| !line.is_empty()) {
            head.push_str(&line);
            head.push('\n');
        }
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no answer: {head:?}"));
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).expect("it ends");
        let is_chunked = head.contains("transfer-encoding: chunked");
        let rest = if is_chunked { joined(&rest) } else { rest };
        Reply { status, head, body: String::from_utf8(rest).expect("UTF-8") }
    }
}

/// The chunks of a body as one.
fn joined(mut chunked: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let end = chunked.windows(2).position(|two| two == b"\r\n").expect("a chunk has a head");
        let size = std::str::from_utf8(&chunked[..end]).expect("digits");
        let size = usize::from_str_radix(size, 16).expect("a size");
        if size == 0 {
            return whole;
        }
        whole.extend_from_slice(&chunked[end + 2..end + 2 + size]);
        chunked = &chunked[end + 2 + size + 2..];
    }
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let line = self.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.map(str::trim)
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Itself, if it is an answer.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.status, 200, "{self:?}");
        self
    }

    /// The text of its first choice.
    #[track_caller]
    pub(crate) fn text(&self) -> String {
        let json = self.json();
        let choice = &json["choices"][0];
        let text = choice["text"].as_str().or_else(|| choice["message"]["content"].as_str());
        text.unwrap_or_else(|| panic!("no text: {self:?}")).to_owned()
    }

    /// The events of a stream, which ends as it should.
    #[track_caller]
    pub(crate) fn events(&self) -> Vec<Value> {
        let mut lines: Vec<_> = self.body.split_terminator("\n\n").collect();
        assert_eq!(lines.pop(), Some("data: [DONE]"), "{self:?}");
        let event = |line: &&str| line.strip_prefix("data: ").expect("an event").to_owned();
        lines.iter().map(|line| serde_json::from_str(&event(line)).expect("JSON")).collect()
    }
}

/// No answer of a small model takes longer, in a debug build on a busy machine with two cores.
const LIMIT: Duration = Duration::from_mins(1);

/// Often enough for nobody to wait.
const POLL: Duration = Duration::from_millis(5);
