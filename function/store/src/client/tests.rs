//! The client before servers that keep to a script, which is more than real ones let themselves be told.

use std::future::poll_fn;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use firstlight_bucket::tls::{LOCALHOST_CERTIFICATE_PEM, LOCALHOST_KEY_PEM};
use firstlight_bucket::{Action, Bucket, Faults, Link, Requests, Running};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// What a server does after a request.
#[derive(Clone, Copy)]
enum Act {
    /// Sends this.
    Say(&'static str),
    /// The same, a byte at a time.
    Stammer(&'static str),
    Close,
}
use Act::{Close, Say, Stammer};

/// A server that answers the requests of each connection in turn, and counts connections.
struct Scripted {
    port: u16,
    connections: Arc<AtomicUsize>,
}

impl Scripted {
    async fn start(script: &'static [&'static [Act]]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                counted.fetch_add(1, Relaxed);
                tokio::spawn(play(socket, script));
            }
        });
        Self { port, connections }
    }

    fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }

    fn request(&self) -> Request {
        get(&format!("http://127.0.0.1:{}/x", self.port))
    }
}

async fn play(mut socket: TcpStream, script: &[&[Act]]) {
    for acts in script {
        if read_head(&mut socket).await.is_none() {
            return;
        }
        for act in *acts {
            match act {
                Say(text) => socket.write_all(text.as_bytes()).await.unwrap(),
                Stammer(text) => {
                    for byte in text.bytes() {
                        socket.write_all(&[byte]).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                }
                Close => return,
            }
        }
    }
}

async fn read_head(socket: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

fn get(url: &str) -> Request {
    let target = Target::parse(url).unwrap();
    Request { method: "GET".into(), target, headers: Vec::new(), body: Vec::new() }
}

/// A client that trusts `certificate` alone, and knows these proxies.
fn client(certificate: &Path, proxies: Proxies) -> Client {
    let shared = Shared {
        pool: Arc::default(),
        resolver: Resolver::default(),
        trust: Trust::in_places(vec![certificate.into()]),
        proxies: Ok(proxies),
    };
    Client { shared: Arc::new(shared) }
}

fn plain_client() -> Client {
    client(Path::new("/nonexistent"), Proxies::default())
}

async fn ask(client: &Client, request: &Request) -> io::Result<(u16, Vec<u8>)> {
    let Response { head, body } = client.send(request).await?;
    Ok((head.status, body.collect(1 << 24).await?))
}

/// What comes of the one request that a script is for.
async fn answer(script: &'static [&'static [Act]]) -> Result<String, String> {
    let server = Scripted::start(script).await;
    match ask(&plain_client(), &server.request()).await {
        Ok((_, body)) => Ok(String::from_utf8(body).unwrap()),
        Err(error) => Err(error.to_string()),
    }
}

#[tokio::test]
async fn an_answer_is_read_however_it_is_cut() {
    const CUT: &str =
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 206 Partial\r\nContent-Length: 3\r\n\r\nabc";
    const NOTHING: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let server = Scripted::start(&[&[Stammer(CUT)], &[Stammer(NOTHING)], &[Say(CUT)]]).await;
    let client = plain_client();
    for expected in [(206, "abc"), (200, ""), (206, "abc")] {
        let (status, body) = ask(&client, &server.request()).await.unwrap();
        assert_eq!((status, &*body), (expected.0, expected.1.as_bytes()));
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn chunks_are_put_together() {
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
        3\r\nabc\r\n0A;name=\"value\"\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n";
    assert_eq!(answer(&[&[Say(CHUNKED)]]).await.unwrap(), "abc0123456789");
    assert_eq!(answer(&[&[Stammer(CHUNKED)]]).await.unwrap(), "abc0123456789");
    // Behind the last chunk the connection is as good as before.
    let server = Scripted::start(&[&[Say(CHUNKED)], &[Say(CHUNKED)]]).await;
    let client = plain_client();
    for _ in 0..2 {
        ask(&client, &server.request()).await.unwrap();
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn chunks_that_are_none_are_refused() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (chunk, expected) in [
        ("zz\r\n", "`zz` is no size"),
        ("-1\r\n", "`-1` is no size"),
        ("ffffffffffffffffff\r\n", "is no size"),
        ("1\r\nab\r\n", "longer than it says"),
        ("5\r\nab", "closed with at least 3 bytes"),
    ] {
        let script = vec![Say(HEAD), Say(chunk), Close];
        let script: &'static [&'static [Act]] = vec![&*script.leak()].leak();
        let error = answer(script).await.unwrap_err();
        assert!(error.contains(expected), "{chunk:?}: {error}");
    }
}

#[tokio::test]
async fn a_body_that_ends_early_says_what_is_missing() {
    let error = answer(&[&[Say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"), Close]]).await;
    assert!(error.as_ref().is_err_and(|error| error.contains("7 bytes")), "{error:?}");
    let unframed = answer(&[&[Say("HTTP/1.1 200 OK\r\n\r\nto the end"), Close]]).await;
    assert_eq!(unframed.unwrap(), "to the end");
}

#[tokio::test]
async fn what_is_no_answer_is_refused_before_it_fills_the_memory() {
    let garbage = answer(&[&[Say("SSH-2.0-OpenSSH_9.9\r\n")]]).await.unwrap_err();
    assert!(garbage.contains("not HTTP/1.1") && garbage.contains("127.0.0.1:"), "{garbage}");
    let endless: &'static str = format!("HTTP/1.1 200 OK\r\nA: {}", "a".repeat(70_000)).leak();
    let script: &'static [&'static [Act]] = vec![&*vec![Say(endless)].leak()].leak();
    let endless = answer(script).await.unwrap_err();
    assert!(endless.contains("more than 65536 bytes"), "{endless}");
    let silent = answer(&[&[Close]]).await.unwrap_err();
    assert!(silent.contains("before an answer"), "{silent}");
}

#[tokio::test]
async fn connections_are_used_again_unless_they_are_to_be_closed() {
    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    const LAST: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    let server = Scripted::start(&[&[Say(OK)], &[Say(LAST)]]).await;
    let client = plain_client();
    for connections in [1, 1, 2, 2, 3] {
        assert_eq!(ask(&client, &server.request()).await.unwrap().1, b"ok");
        assert_eq!(server.connections(), connections);
    }
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_no_failure() {
    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    // The one closes at once, the other when it is asked again: too late to be seen beforehand.
    for script in [&[&[Say(OK), Close] as &[Act]] as &[&[Act]], &[&[Say(OK)], &[Close]]] {
        let server = Scripted::start(script).await;
        let client = plain_client();
        for connections in 1..4 {
            assert_eq!(ask(&client, &server.request()).await.unwrap().1, b"ok");
            assert_eq!(server.connections(), connections);
        }
    }
}

#[tokio::test]
async fn nothing_is_smuggled_into_a_request() {
    let mut request = get("http://127.0.0.1:1/x");
    request.headers.push(("A".into(), "b\r\nHost: elsewhere".into()));
    let error = plain_client().send(&request).await.err().unwrap();
    assert!(error.to_string().contains("`A` cannot be sent"), "{error}");
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_named() {
    let vacant = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = plain_client().send(&get(&format!("http://{vacant}/"))).await.err().unwrap();
    assert!(error.to_string().contains(&vacant.to_string()), "{error}");
}

const OBJECT_BYTES: usize = 3_000_000;

/// A server of HTTPS that has `/models/x`, and the file that vouches for it.
fn https(faults: Faults, link: Link) -> (Running, tempfile::NamedTempFile) {
    let server = Bucket::builder().allow_anonymous(true).faults(faults).link(link);
    let server = server.tls(LOCALHOST_CERTIFICATE_PEM, LOCALHOST_KEY_PEM).unwrap();
    let server = server.start("127.0.0.1:0").unwrap();
    server.objects().insert("models", "x", object());
    let roots = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&roots, LOCALHOST_CERTIFICATE_PEM).unwrap();
    (server, roots)
}

fn object() -> Vec<u8> {
    (0..OBJECT_BYTES).map(|i| (i / 251 + i % 251).to_le_bytes()[0]).collect()
}

#[tokio::test]
async fn tls_gives_the_same_bytes_into_memory_of_any_size() {
    let rate = Some("100MB/s".parse().unwrap());
    let link = Link { connection_rate: rate, ..Link::default() };
    let (server, roots) = https(Faults::default(), link);
    let client = client(roots.path(), Proxies::default());
    for room in [1000, 16_384, 100_000, OBJECT_BYTES] {
        let request = get(&format!("{}/models/x", server.endpoint()));
        let Response { mut body, .. } = client.send(&request).await.unwrap();
        let (mut memory, mut at) = (vec![0; OBJECT_BYTES], 0);
        while at < OBJECT_BYTES {
            let end = OBJECT_BYTES.min(at + room);
            at +=
                poll_fn(|context| body.poll_receive(context, &mut memory[at..end])).await.unwrap();
        }
        assert!(memory == object(), "{room}");
    }
    let connections: std::collections::BTreeSet<_> =
        server.requests().iter().map(|request| request.connection).collect();
    assert_eq!(connections.len(), 1, "kept between requests");
}

#[tokio::test]
async fn tls_that_ends_without_farewell_ends_in_an_error() {
    let cut = Faults::new(1).on(Requests::get("models", "x"), Action::TruncateAfter(1_000_000));
    let (server, roots) = https(cut, Link::default());
    let client = client(roots.path(), Proxies::default());
    let error = ask(&client, &get(&format!("{}/models/x", server.endpoint()))).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{error}");
}

#[tokio::test]
async fn certificates_are_refused_in_plain_words() {
    let (server, roots) = https(Faults::default(), Link::default());
    let stranger = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let others = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&others, stranger.cert.pem()).unwrap();
    let empty = tempfile::NamedTempFile::new().unwrap();
    let missing = Path::new("/nonexistent/roots.pem");
    let url = format!("https://localhost:{}/models/x", server.addr().port());
    for (roots, expected) in [
        (others.path(), "UnknownIssuer"),
        (empty.path(), "there are no root certificates"),
        (missing, "/nonexistent/roots.pem"),
    ] {
        let client = client(roots, Proxies::default());
        let error = client.send(&get(&url)).await.err().unwrap();
        assert!(crate::error::chain(&error).contains(expected), "{expected}: {error}");
    }
    let elsewhere = client(roots.path(), Proxies::default());
    let plain = get(&format!("https://127.0.0.2:{}/models/x", server.addr().port()));
    assert!(elsewhere.send(&plain).await.is_err(), "nobody is there by that name");
}

/// A proxy that makes tunnels to `to`, whatever it is asked for, and tells what that was.
async fn proxy(to: std::net::SocketAddr) -> (u16, tokio::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (asked, questions) = tokio::sync::mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let head = read_head(&mut socket).await.unwrap();
            let mut there = TcpStream::connect(to).await.unwrap();
            if head.starts_with("CONNECT") {
                socket.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await.unwrap();
            } else {
                there.write_all(head.as_bytes()).await.unwrap();
            }
            asked.send(head).await.unwrap();
            tokio::spawn(async move { drop(copy_bidirectional(&mut socket, &mut there).await) });
        }
    });
    (port, questions)
}

#[tokio::test]
async fn a_tunnel_leads_through_a_proxy() {
    let certificate = rcgen::generate_simple_self_signed(["models.test".to_owned()]).unwrap();
    let (chain, key) = (certificate.cert.pem(), certificate.signing_key.serialize_pem());
    let server = Bucket::builder().allow_anonymous(true).tls(&chain, &key).unwrap();
    let server = server.start("127.0.0.1:0").unwrap();
    server.objects().insert("models", "x", object());
    let roots = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&roots, chain).unwrap();
    let (port, mut questions) = proxy(server.addr()).await;
    let url = format!("http://u:p@127.0.0.1:{port}");
    let proxies = Proxies::resolve(|name| (name == "HTTPS_PROXY").then(|| url.clone())).unwrap();
    let client = client(roots.path(), proxies);
    let (status, body) = ask(&client, &get("https://models.test/models/x")).await.unwrap();
    assert!(status == 200 && body == object());
    let question = questions.recv().await.unwrap();
    assert!(question.starts_with("CONNECT models.test:443 HTTP/1.1\r\n"), "{question}");
    assert!(question.contains("Proxy-Authorization: Basic dTpw\r\n"), "{question}");
}
