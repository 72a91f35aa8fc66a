//! The command that asks a running server whether it is well: a container's health check, in images that hold no other
//! program.
//!
//! One GET over a connection of its own, as bytes: whatever else this binary has for HTTP would have to be started
//! first. All of it but the look-up of a name has one deadline, since platforms count a check that hangs as none.

use std::io::{self, Read, Write, stdout};
use std::net::{IpAddr, TcpStream, ToSocketAddrs};
use std::num::NonZero;
use std::time::{Duration, Instant};

use crate::args::HealthArgs;
use crate::failure::Failure;

/// Prints what the server says where it is well, and fails where it is not.
pub(crate) fn health(args: &HealthArgs) -> Result<(), Failure> {
    let question = Question::of(args);
    let url = question.url();
    let unreachable = |source| Failure::Unreachable { url: url.clone(), source };
    let answer = question.ask(args.timeout).map_err(unreachable)?;
    if answer.status != 200 {
        return Err(Failure::Unwell { url, status: answer.status, said: answer.body });
    }
    writeln!(stdout(), "{url}: {}", answer.body).map_err(Failure::io("standard output"))
}

/// What is asked of whom.
struct Question<'a> {
    host: &'a str,
    port: u16,
    path: &'static str,
}

struct Answer {
    status: u16,
    body: String,
}

impl<'a> Question<'a> {
    fn of(args: &'a HealthArgs) -> Self {
        let path = if args.live { "/health/live" } else { "/health/ready" };
        Self { host: reached_at(&args.host), port: args.port, path }
    }

    fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    fn url(&self) -> String {
        format!("http://{}{}", self.authority(), self.path)
    }

    fn ask(&self, timeout: NonZero<u32>) -> io::Result<Answer> {
        let deadline = Deadline(Instant::now() + Duration::from_secs(timeout.get().into()));
        let mut stream = self.connect(&deadline)?;
        let (path, authority) = (self.path, self.authority());
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n");
        stream.set_write_timeout(Some(deadline.left()?))?;
        stream.write_all(request.as_bytes())?;
        Answer::parse(&read_whole(&mut stream, &deadline)?)
    }

    /// To the first of its addresses that takes the connection.
    fn connect(&self, deadline: &Deadline) -> io::Result<TcpStream> {
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in (self.host, self.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, deadline.left()?) {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

/// A server that listens at all addresses is asked at this machine's own.
fn reached_at(host: &str) -> &str {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) if address.is_unspecified() => "127.0.0.1",
        Ok(IpAddr::V6(address)) if address.is_unspecified() => "::1",
        _ => host,
    }
}

/// When the whole question has to be over.
struct Deadline(Instant);

impl Deadline {
    fn left(&self) -> io::Result<Duration> {
        let left = self.0.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

/// What the server sends until it closes the connection.
fn read_whole(stream: &mut TcpStream, deadline: &Deadline) -> io::Result<Vec<u8>> {
    let (mut whole, mut piece) = (Vec::new(), [0; 1024]);
    while whole.len() < LIMIT_BYTES {
        stream.set_read_timeout(Some(deadline.left()?))?;
        match stream.read(&mut piece) {
            Ok(0) => return Ok(whole),
            Ok(read) => whole.extend_from_slice(&piece[..read]),
            // What a socket calls its timeout.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "the answer does not end"))
}

impl Answer {
    /// An answer of HTTP/1.x (RFC 9112, 4) whose body, as those of health checks, is not sent in chunks.
    fn parse(bytes: &[u8]) -> io::Result<Self> {
        let text = String::from_utf8_lossy(bytes);
        let status = text.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
        match (status, text.split_once("\r\n\r\n")) {
            (Some(status), Some((_, body))) => Ok(Self { status, body: body.trim().to_owned() }),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP")),
        }
    }
}

/// An answer to a health check has a few dozen bytes, and some headers.
const LIMIT_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn a_server_that_listens_everywhere_is_asked_here() {
        let cases = [
            ("0.0.0.0", "http://127.0.0.1:8000/health/ready"),
            ("::", "http://[::1]:8000/health/ready"),
            ("10.1.2.3", "http://10.1.2.3:8000/health/ready"),
            ("localhost", "http://localhost:8000/health/ready"),
        ];
        for (host, url) in cases {
            let args = HealthArgs { host: host.to_owned(), ..args(8000) };
            assert_eq!(Question::of(&args).url(), url);
        }
        let live = HealthArgs { live: true, ..args(1) };
        assert_eq!(Question::of(&live).url(), "http://127.0.0.1:1/health/live");
    }

    #[test]
    fn an_answer_has_a_status_and_a_body() {
        let answer =
            Answer::parse(b"HTTP/1.1 503 Service Unavailable\r\na: b\r\n\r\n{}\n").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (503, "{}"));
        for wrong in
            ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 2", "HTTP/2 200\r\n\r\n", "SSH-2.0-x\r\n\r\n"]
        {
            assert!(Answer::parse(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_address_of_ipv6_is_asked_as_well() {
        let listener = TcpListener::bind("[::1]:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{}").unwrap();
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        health(&HealthArgs { host: "::".to_owned(), ..args(port) }).unwrap();
        let request = server.join().unwrap();
        assert!(request.starts_with("GET /health/ready HTTP/1.1\r\n"), "{request}");
        assert!(request.contains(&format!("host: [::1]:{port}\r\n")), "{request}");
    }

    #[test]
    fn what_does_not_answer_in_time_or_not_at_all_is_unreachable() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let said = |port| health(&args(port)).unwrap_err().to_string();
        let silent = said(port);
        assert!(silent.contains("timed out"), "{silent}");
        drop(listener);
        let closed = said(port);
        assert!(closed.contains("refused"), "{closed}");
    }

    #[test]
    fn an_answer_without_end_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let endless = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            while stream.write_all(&[b' '; 1024]).is_ok() {}
        });
        let failure = health(&HealthArgs { timeout: NonZero::<u32>::MAX, ..args(port) });
        let said = failure.unwrap_err().to_string();
        assert!(said.contains("does not end"), "{said}");
        endless.join().unwrap();
    }

    fn args(port: u16) -> HealthArgs {
        let timeout = NonZero::<u32>::MIN;
        HealthArgs { host: "0.0.0.0".to_owned(), port, live: false, ready: false, timeout }
    }
}
