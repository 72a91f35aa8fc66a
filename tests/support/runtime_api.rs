//! Lambda's runtime API as its documentation has it
//! (<https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>): the next invocation is waited for, its response
//! comes whole or in chunks, or is an error; after `init` nothing of an invocation is taken that was not given.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

/// The platform's side. Clones are the same one.
#[derive(Clone)]
pub(crate) struct RuntimeApi {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    invocations: u64,
    waiting: VecDeque<Invocation>,
    /// Given to the function, and not answered yet.
    given: Vec<String>,
    answers: BTreeMap<String, Answered>,
    /// Requests for the next invocation that wait.
    asking: usize,
    /// Whether the function may be given several at once.
    is_concurrent: bool,
    /// Whether a snapshot was asked for, and whether the process was restored from it.
    is_snapped: bool,
    is_restored: bool,
    /// What no runtime should do.
    faults: Vec<String>,
}

struct Invocation {
    id: String,
    payload: String,
    deadline_ms: u128,
}

/// What the function said to an invocation.
#[derive(Clone, Debug)]
pub(crate) enum Answered {
    /// A whole response.
    Whole(Value),
    /// A streamed one, chunk by chunk.
    Streamed(Vec<Vec<u8>>),
    /// An error: its type, as the header has it, and its body.
    Error(Value),
}

impl RuntimeApi {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let api = Self { address, shared: Arc::default() };
        let serving = api.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let serving = serving.clone();
                thread::spawn(move || serving.serve(stream.expect("it connects")));
            }
        });
        api
    }

    /// Gives the function several at once.
    pub(crate) fn allow_several(&self) {
        self.state().is_concurrent = true;
    }

    /// Waits until so many of them are under way.
    pub(crate) fn until_given(&self, count: usize) {
        self.until(|state| state.given.len() == count);
    }

    /// `host:port`, as the variable has it.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Has the function invoked, which has so much time for it.
    pub(crate) fn invoke_within(&self, payload: &Value, time: Duration) -> String {
        let mut state = self.state();
        state.invocations += 1;
        let id = format!("8476a536-e9f4-11e8-9739-{:012}", state.invocations);
        let end = SystemTime::now() + time;
        let deadline_ms = end.duration_since(UNIX_EPOCH).expect("it is later").as_millis();
        state.waiting.push_back(Invocation {
            id: id.clone(),
            payload: payload.to_string(),
            deadline_ms,
        });
        self.shared.changed.notify_all();
        id
    }

    pub(crate) fn answer(&self, id: &str) -> Answered {
        self.until(|state| state.answers.contains_key(id));
        self.state().answers.remove(id).expect("it was there")
    }

    /// Invokes the function and waits for what it says.
    pub(crate) fn invoke(&self, payload: &Value) -> Answered {
        let id = self.invoke_within(payload, LIMIT);
        self.answer(&id)
    }

    /// Waits until the function asks for an invocation, which ends its start.
    pub(crate) fn until_asked(&self) {
        self.until(|state| state.asking > 0);
    }

    pub(crate) fn until_snapped(&self) {
        self.until(|state| state.is_snapped);
    }

    pub(crate) fn is_snapped(&self) -> bool {
        self.state().is_snapped
    }

    pub(crate) fn restore(&self) {
        self.state().is_restored = true;
        self.shared.changed.notify_all();
    }

    /// What the function did that no runtime should.
    pub(crate) fn faults(&self) -> Vec<String> {
        self.state().faults.clone()
    }

    fn until(&self, is_so: impl Fn(&State) -> bool) {
        let waited =
            self.shared.changed.wait_timeout_while(self.state(), LIMIT, |state| !is_so(state));
        let (state, waited) = waited.expect("nobody panics");
        assert!(!waited.timed_out(), "it never came: {:?}", state.faults);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().expect("nobody panics")
    }

    fn serve(&self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        while let Some(request) = Request::read(&mut stream) {
            let reply = self.reply(&request);
            // A process that is killed reads no answer.
            if stream.get_mut().write_all(reply.as_bytes()).is_err() {
                return;
            }
        }
    }

    fn reply(&self, request: &Request) -> String {
        let path = request.path.strip_prefix("/2018-06-01/runtime/").unwrap_or_default();
        let parts: Vec<_> = path.split('/').collect();
        match (request.method.as_str(), parts.as_slice()) {
            ("GET", ["invocation", "next"]) => self.next(),
            ("POST", ["invocation", id, "response"]) => self.take(id, request.response()),
            ("POST", ["invocation", id, "error"]) => self.take(id, request.error()),
            ("GET", ["restore", "next"]) => {
                self.state().is_snapped = true;
                self.shared.changed.notify_all();
                self.until(|state| state.is_restored);
                written(200, &[], "")
            }
            _ => {
                self.fault(format!("{} {}", request.method, request.path));
                written(404, &[], "{}")
            }
        }
    }

    fn next(&self) -> String {
        let mut state = self.state();
        if let Some(id) = state.given.first().cloned().filter(|_| !state.is_concurrent) {
            state.faults.push(format!("the next one was asked for before `{id}` was answered"));
        }
        state.asking += 1;
        self.shared.changed.notify_all();
        let mut state = self
            .shared
            .changed
            .wait_while(state, |state| state.waiting.is_empty())
            .expect("nobody panics");
        state.asking -= 1;
        let Invocation { id, payload, deadline_ms } = state.waiting.pop_front().expect("one came");
        state.given.push(id.clone());
        let headers = [
            ("Lambda-Runtime-Aws-Request-Id", id.as_str()),
            ("Lambda-Runtime-Deadline-Ms", &deadline_ms.to_string()),
            ("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:eu-west-1:1:function:f"),
            ("Lambda-Runtime-Trace-Id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0"),
            ("Content-Type", "application/json"),
        ];
        written(200, &headers, &payload)
    }

    fn take(&self, id: &str, answered: Option<Answered>) -> String {
        let mut state = self.state();
        let was_given = state.given.iter().position(|given| given == id);
        let (Some(at), Some(answered)) = (was_given, answered) else {
            state.faults.push(format!("an answer to `{id}` that makes no sense"));
            return written(400, &[], "{}");
        };
        state.given.remove(at);
        state.answers.insert(id.to_owned(), answered);
        self.shared.changed.notify_all();
        written(202, &[], "{\"status\":\"OK\"}")
    }

    fn fault(&self, what: String) {
        self.state().faults.push(what);
        self.shared.changed.notify_all();
    }
}

impl Answered {
    #[track_caller]
    pub(crate) fn whole(self) -> Value {
        match self {
            Self::Whole(value) => value,
            other => panic!("it is no whole response: {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn error(self) -> Value {
        match self {
            Self::Error(value) => value,
            other => panic!("it is no error: {other:?}"),
        }
    }

    /// A streamed response: what stands before the eight zeros, and the chunks behind.
    #[track_caller]
    pub(crate) fn streamed(self) -> (Value, Vec<String>) {
        let Self::Streamed(chunks) = self else { panic!("it is not streamed: {self:?}") };
        let ends = chunks.iter().position(|chunk| chunk == &[0; 8]).expect("zeros end the prelude");
        let prelude = serde_json::from_slice(&chunks[..ends].concat()).expect("JSON");
        let chunks =
            chunks[ends + 1..].iter().map(|it| String::from_utf8(it.clone()).expect("text"));
        (prelude, chunks.collect())
    }
}

/// A request, read to its end.
struct Request {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    chunks: Vec<Vec<u8>>,
}

impl Request {
    fn read(stream: &mut BufReader<TcpStream>) -> Option<Self> {
        let line = line(stream)?;
        let mut words = line.split(' ');
        let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
        let headers = headers(stream)?;
        let chunks = if headers.get("transfer-encoding").is_some_and(|it| it == "chunked") {
            chunks(stream)?
        } else {
            let length = headers.get("content-length").map_or(0, |it| it.parse().expect("digits"));
            let mut body = vec![0; length];
            stream.read_exact(&mut body).ok()?;
            vec![body]
        };
        Some(Self { method, path, headers, chunks })
    }

    fn response(&self) -> Option<Answered> {
        match self.headers.get("lambda-runtime-function-response-mode").map(String::as_str) {
            None => serde_json::from_slice(&self.chunks.concat()).ok().map(Answered::Whole),
            Some("streaming") => {
                let kind = self.headers.get("content-type")?;
                (kind == "application/vnd.awslambda.http-integration-response")
                    .then(|| Answered::Streamed(self.chunks.clone()))
            }
            Some(_) => None,
        }
    }

    fn error(&self) -> Option<Answered> {
        let body: Value = serde_json::from_slice(&self.chunks.concat()).ok()?;
        let is_error = body["errorType"].is_string() && body["errorMessage"].is_string();
        (is_error && self.headers.contains_key("lambda-runtime-function-error-type"))
            .then_some(Answered::Error(body))
    }
}

fn headers(stream: &mut BufReader<TcpStream>) -> Option<BTreeMap<String, String>> {
    let mut headers = BTreeMap::new();
    loop {
        let line = line(stream)?;
        let Some((name, value)) = line.split_once(':') else { return Some(headers) };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
}

/// The chunks of a body, as they were sent, and its trailers, which are thrown away.
fn chunks(stream: &mut BufReader<TcpStream>) -> Option<Vec<Vec<u8>>> {
    let mut chunks = Vec::new();
    loop {
        let length = usize::from_str_radix(&line(stream)?, 16).expect("a chunk's length");
        if length == 0 {
            headers(stream)?;
            return Some(chunks);
        }
        let mut chunk = vec![0; length];
        stream.read_exact(&mut chunk).ok()?;
        chunks.push(chunk);
        line(stream)?;
    }
}

fn line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    let read = stream.read_line(&mut line).ok()?;
    (read > 0).then(|| line.trim_end().to_owned())
}

fn written(status: u16, headers: &[(&str, &str)], body: &str) -> String {
    let headers: Vec<_> =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let (headers, length) = (headers.concat(), body.len());
    format!("HTTP/1.1 {status} Whatever\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
}

/// No answer of a small model takes longer, in a debug build on a busy machine with two cores.
const LIMIT: Duration = Duration::from_mins(1);
