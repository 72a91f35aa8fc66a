//! The bucket as seen from the other end of a TCP connection: plain HTTP, and what faults do to the
//! bytes.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use bytes::Bytes;
use firstlight_bucket::{Action, Bucket, Faults, Link, Objects, Requests, Running};

#[test]
fn a_public_bucket_is_an_http_server_with_ranges() {
    let server = start(Faults::default(), Link::default());
    let whole = ask(&server, "GET", &[]);
    assert_eq!((whole.status, whole.body.len()), (200, SIZE));
    assert_eq!(whole.header("accept-ranges"), "bytes");
    assert_eq!(whole.header("content-length"), SIZE.to_string());
    let version = whole.header("etag");
    let modified = whole.header("last-modified");
    let year_2000 = "Sat, 01 Jan 2000 00:00:00 GMT";

    for (headers, status) in [
        (vec![("Range", "bytes=10-19")], 206),
        (vec![("Range", "bytes=10-19"), ("If-Match", version)], 206),
        (vec![("Range", "bytes=9999999-")], 416),
        (vec![("If-Match", "\"other\"")], 412),
        (vec![("If-Match", "*")], 200),
        (vec![("If-None-Match", version)], 304),
        (vec![("If-Unmodified-Since", modified)], 200),
        (vec![("If-Unmodified-Since", year_2000)], 412),
        (vec![("If-Modified-Since", modified)], 304),
        (vec![("If-Modified-Since", year_2000)], 200),
    ] {
        assert_eq!(ask(&server, "GET", &headers).status, status, "{headers:?}");
    }
    let part = ask(&server, "GET", &[("Range", "bytes=10-19")]);
    assert_eq!(part.body, contents()[10..20]);
    assert_eq!(part.header("content-range"), format!("bytes 10-19/{SIZE}"));
    let head = ask(&server, "HEAD", &[]);
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), SIZE.to_string());
}

#[test]
fn a_private_bucket_wants_a_signature() {
    let server = Bucket::builder().objects(objects()).start_on_own_thread("127.0.0.1:0").unwrap();
    let answer = ask(&server, "GET", &[]);
    assert_eq!(answer.status, 403);
    assert!(answer.text().contains("<Code>AccessDenied</Code>"), "{}", answer.text());
}

#[test]
fn a_reset_comes_in_the_middle_of_the_body() {
    let answer = read_with(Action::ResetAfter(CUT as u64));
    assert_eq!(answer.end, End::Reset);
    assert_eq!(answer.body, contents()[..CUT]);
    assert_eq!(answer.header("content-length"), SIZE.to_string());
}

#[test]
fn a_truncated_body_ends_in_good_order() {
    let answer = read_with(Action::TruncateAfter(CUT as u64));
    assert_eq!(answer.end, End::Closed);
    assert_eq!(answer.body, contents()[..CUT]);
    assert_eq!(answer.header("content-length"), SIZE.to_string());
}

#[test]
fn a_stall_keeps_the_connection_and_sends_nothing() {
    let answer = stall_after(CUT);
    assert_eq!(answer.end, End::Silent);
    assert_eq!(answer.body, contents()[..CUT]);
}

#[test]
fn a_stall_at_zero_still_sends_the_head() {
    let answer = stall_after(0);
    assert_eq!((answer.status, answer.end, answer.body.len()), (200, End::Silent, 0));
}

#[test]
fn a_fault_hits_its_request_and_leaves_the_others_whole() {
    let second = Requests::get("models", "*").overlapping(100..200).nth(2);
    let server = start(Faults::new(0).on(second, Action::internal_error()), Link::default());
    let statuses = ["bytes=0-9", "bytes=150-160", "bytes=0-99", "bytes=199-300", "bytes=150-160"]
        .map(|range| ask(&server, "GET", &[("Range", range)]).status);
    assert_eq!(statuses, [206, 206, 206, 500, 206]);

    server.set_faults(Faults::new(0).on(Requests::head("*", "*"), Action::access_denied()));
    assert_eq!(ask(&server, "HEAD", &[]).status, 403);
    assert_eq!(ask(&server, "GET", &[]).status, 200);
}

#[test]
fn an_endpoint_of_another_region_redirects() {
    let elsewhere = Action::Redirect("eu-west-1".to_owned());
    let server = start(Faults::new(0).on(Requests::any("*", "*"), elsewhere), Link::default());
    let answer = ask(&server, "GET", &[]);
    assert_eq!((answer.status, answer.header("x-amz-bucket-region")), (301, "eu-west-1"));
    assert!(answer.text().contains("<Code>PermanentRedirect</Code>"), "{}", answer.text());

    let wrong = Action::WrongRegion("eu-west-1".to_owned());
    server.set_faults(Faults::new(0).on(Requests::any("*", "*"), wrong));
    let answer = ask(&server, "GET", &[]);
    assert_eq!((answer.status, answer.header("x-amz-bucket-region")), (400, "eu-west-1"));
    assert!(answer.text().contains("<Region>eu-west-1</Region>"), "{}", answer.text());
}

/// Bytes cannot come faster than the link carries them; how much slower they come depends on the
/// machine.
#[test]
fn a_shaped_link_takes_its_time_and_loses_nothing() {
    let link = Link {
        rate: Some("20MB".parse().unwrap()),
        connection_rate: Some("15MB".parse().unwrap()),
        first_byte: Duration::from_millis(15),
    };
    let server = start(Faults::default(), link);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| assert_eq!(ask(&server, "GET", &[]).body, contents()));
        }
    });
    let floor = Duration::from_millis(15) + Duration::from_secs_f64(2.0 * SIZE as f64 / 20e6);
    assert!(began.elapsed() >= floor, "{:?} is less than {floor:?}", began.elapsed());
}

#[test]
fn a_slow_request_is_slower_than_the_link() {
    let link = Link { connection_rate: Some("100MB".parse().unwrap()), ..Link::default() };
    let slow = Faults::new(0).on(Requests::get("*", "*"), Action::Slower { factor: 10.0 });
    let server = start(slow, link);
    let began = Instant::now();
    assert_eq!(ask(&server, "GET", &[]).body, contents());
    assert!(began.elapsed() >= Duration::from_secs_f64(SIZE as f64 / 10e6));
}

#[test]
fn a_delay_holds_back_the_head() {
    let late = Action::Delay(Duration::from_millis(30));
    let server = start(Faults::new(0).on(Requests::head("*", "*").nth(2), late), Link::default());
    ask(&server, "HEAD", &[]);
    let began = Instant::now();
    assert_eq!(ask(&server, "HEAD", &[]).status, 200);
    assert!(began.elapsed() >= Duration::from_millis(30));
}

/// Not a multiple of any chunk.
const SIZE: usize = 1_000_003;

const CUT: usize = 300_001;

/// How long nothing must come for a stall to be one.
const SILENCE: Duration = Duration::from_millis(200);

/// How long a busy machine may take.
const PATIENCE: Duration = Duration::from_mins(1);

fn contents() -> Bytes {
    (0..=250).cycle().take(SIZE).collect()
}

fn objects() -> Objects {
    let objects = Objects::new();
    objects.insert("models", "weights", contents());
    objects
}

fn start(faults: Faults, link: Link) -> Running {
    let bucket = Bucket::builder().objects(objects()).faults(faults).link(link);
    bucket.allow_anonymous(true).start_on_own_thread("127.0.0.1:0").unwrap()
}

fn read_with(action: Action) -> Answer {
    let server = start(Faults::new(0).on(Requests::get("*", "*"), action), Link::default());
    ask(&server, "GET", &[])
}

/// How a connection ended, once an answer was whole or nothing more came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Whole,
    Closed,
    Reset,
    Silent,
}

struct Answer {
    status: u16,
    head: String,
    body: Bytes,
    end: End,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        header(&self.head, name).unwrap_or_default()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Asks for the one object on a connection of its own.
fn ask(server: &Running, method: &str, headers: &[(&str, &str)]) -> Answer {
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    let headers: String =
        headers.iter().flat_map(|(name, value)| [name, ": ", value, "\r\n"]).collect();
    let request = format!("{method} /models/weights HTTP/1.1\r\nHost: bucket\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    read_answer(&mut stream, method == "HEAD", usize::MAX)
}

/// Asks for the one object, of which so many bytes come.
fn stall_after(bytes: usize) -> Answer {
    let stall = Action::StallAfter(bytes as u64);
    let server = start(Faults::new(0).on(Requests::get("*", "*"), stall), Link::default());
    let mut stream = TcpStream::connect(server.addr()).unwrap();
    stream.write_all(b"GET /models/weights HTTP/1.1\r\nHost: bucket\r\n\r\n").unwrap();
    read_answer(&mut stream, false, bytes)
}

/// Reads until the answer is whole or the connection ends, or nothing more comes after `stall_at`
/// bytes of the body.
fn read_answer(stream: &mut TcpStream, no_body: bool, stall_at: usize) -> Answer {
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        let so_far = split(&bytes);
        if let Some((head, body)) =
            so_far.filter(|(head, body)| no_body || body.len() == body_len(head))
        {
            return answer(head, body, End::Whole);
        }
        let stalled = so_far.is_some_and(|(_, body)| body.len() >= stall_at);
        stream.set_read_timeout(Some(if stalled { SILENCE } else { PATIENCE })).unwrap();
        let end = match stream.read(&mut buffer) {
            Ok(0) => End::Closed,
            Ok(count) => {
                bytes.extend_from_slice(&buffer[..count]);
                continue;
            }
            Err(error) => end_of(&error),
        };
        let (head, body) = so_far.expect("a head at least");
        return answer(head, body, end);
    }
}

fn end_of(error: &io::Error) -> End {
    match error.kind() {
        ErrorKind::ConnectionReset => End::Reset,
        ErrorKind::WouldBlock | ErrorKind::TimedOut => End::Silent,
        _ => panic!("{error}"),
    }
}

fn answer(head: &str, body: &[u8], end: End) -> Answer {
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head: head.to_owned(), body: Bytes::copy_from_slice(body), end }
}

fn split(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some((str::from_utf8(&bytes[..end]).expect("a head is text"), &bytes[end + 4..]))
}

fn body_len(head: &str) -> usize {
    header(head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0)
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}
