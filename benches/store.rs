//! From a store into memory, beside a plain `recv` into the same memory: what the HTTP client, the signatures and the
//! page faults cost on top of the copy that nobody can save.
//!
//! The server is a second process (this program with `--serve`), so that the CPU time of this one is the client's. All
//! readers take 8 MiB ranges over 8 connections of loopback. Expected: `recv` about 0.2 CPU-s/GiB without page faults;
//! the loader, page faults included, at most 0.36, and 0.75 over TLS.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a program for developers")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use firstlight_bucket::tls::{LOCALHOST_CERTIFICATE_PEM, LOCALHOST_KEY_PEM};
use firstlight_bucket::{Bucket, Objects};
use firstlight_device::Arena;
use firstlight_load::{Checkpoint, Layers, SUPPORTED};
use firstlight_plan::{Limits as PlanLimits, Plan, Stage, Want};
use firstlight_store::{Limits, Location, Priority, Reader, Settings, connect};
use firstlight_timeline::Timeline;
use rustix::time::{ClockId, clock_gettime};

/// The first variable that names whom S3's client trusts.
const ROOTS: &str = "AWS_CA_BUNDLE";
/// Set where that is this program's doing.
const AGAIN: &str = "FIRSTLIGHT_BENCH_AGAIN";
const SIZE: u64 = 1 << 30;
const RANGE: u64 = 8 << 20;
const CONNECTIONS: usize = 8;

fn main() {
    if std::env::args().any(|arg| arg == "--serve") {
        return serve();
    }
    if std::env::var_os(AGAIN).is_none() {
        return again_with_roots();
    }
    let server = Server::start();
    if std::env::args().any(|arg| arg == "--test") {
        assert_eq!(recv(&server), SIZE);
        assert_eq!(load(&server), SIZE);
        assert_eq!(load_tls(&server), SIZE);
        println!("store: all readers got {SIZE} bytes");
        return;
    }
    print_cpu(&server);
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("store to memory");
    group.throughput(Throughput::Bytes(SIZE)).sample_size(10);
    group.measurement_time(Duration::from_secs(8));
    group.bench_function(BenchmarkId::from_parameter("recv"), |b| b.iter(|| recv(&server)));
    group.bench_function(BenchmarkId::from_parameter("loader"), |b| b.iter(|| load(&server)));
    group.bench_function(BenchmarkId::from_parameter("loader, TLS"), |b| {
        b.iter(|| load_tls(&server));
    });
    group.finish();
}

/// Runs this program once more, with an environment in which the server's certificate is trusted.
fn again_with_roots() {
    let roots = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&roots, LOCALHOST_CERTIFICATE_PEM).unwrap();
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(std::env::args_os().skip(1)).env(ROOTS, roots.path()).env(AGAIN, "1");
    assert!(again.status().unwrap().success());
}

/// CPU seconds a GiB of this process, the four in turn: the least of nine and the median. Where a hypervisor takes free
/// pages back, the first touch of a page is its cost and not the loader's: the least is what the code costs.
fn print_cpu(server: &Server) {
    type Read = fn(&Server) -> u64;
    let rows: [(&str, Read); 4] = [
        ("recv, memory touched before", recv),
        ("faulting in fresh huge pages", fault_in),
        ("loader, page faults included", load),
        ("the same over TLS", load_tls),
    ];
    let mut runs = rows.map(|_| Vec::new());
    for _ in 0..9 {
        for ((_, read), runs) in rows.iter().zip(&mut runs) {
            let (cpu, started) = (cpu_s(), Instant::now());
            let gib = read(server) as f64 / f64::from(1 << 30);
            runs.push(((cpu_s() - cpu) / gib, gib / started.elapsed().as_secs_f64()));
        }
    }
    println!(
        "{:<30} {:>15} {:>8} {:>8}",
        "1 GiB over loopback", "CPU-s/GiB: min", "median", "GiB/s"
    );
    for ((name, _), mut runs) in rows.into_iter().zip(runs) {
        runs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let ((least, _), (median, rate)) = (runs[0], runs[runs.len() / 2]);
        println!("{name:<30} {least:>15.3} {median:>8.3} {rate:>8.2}");
    }
}

/// What the kernel takes to clear as much memory.
fn fault_in(_: &Server) -> u64 {
    let arena = Arena::new(SIZE).unwrap();
    assert!(arena.populate(0..SIZE));
    SIZE
}

fn cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The floor: unsigned requests on blocking sockets, the body received into memory that is already there.
fn recv(server: &Server) -> u64 {
    let next = Arc::new(AtomicU64::new(0));
    let threads: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (next, address) = (Arc::clone(&next), server.address.clone());
            thread::spawn(move || {
                let mut socket = TcpStream::connect(&address).unwrap();
                let mut memory = vec![1_u8; usize::try_from(RANGE).unwrap()];
                let mut received = 0;
                loop {
                    let start = next.fetch_add(RANGE, Ordering::Relaxed);
                    if start >= SIZE {
                        return received;
                    }
                    receive(&mut socket, &address, start, &mut memory);
                    received += RANGE;
                }
            })
        })
        .collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).sum()
}

fn receive(socket: &mut TcpStream, address: &str, start: u64, memory: &mut [u8]) {
    let end = start + RANGE - 1;
    let request = format!(
        "GET /bench/model.safetensors HTTP/1.1\r\nHost: {address}\r\nRange: bytes={start}-{end}\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    let mut piece = [0; 4096];
    let body = loop {
        let n = socket.read(&mut piece).unwrap();
        assert!(n > 0, "the server hung up");
        head.extend_from_slice(&piece[..n]);
        if let Some(at) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
    };
    assert!(head.starts_with(b"HTTP/1.1 206"), "{}", String::from_utf8_lossy(&head[..body]));
    let early = head.len() - body;
    memory[..early].copy_from_slice(&head[body..]);
    socket.read_exact(&mut memory[early..]).unwrap();
}

/// What a cold start does: signed requests, ranges in their places of one fresh arena that is faulted in ahead, layers
/// handed over as they are complete.
fn load(server: &Server) -> u64 {
    load_from(format!("http://{}", server.address))
}

/// The same over TLS.
fn load_tls(server: &Server) -> u64 {
    load_from(format!("https://{}", server.tls_address))
}

fn load_from(endpoint: String) -> u64 {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let layers = runtime.block_on(async {
        let settings = Settings {
            s3_endpoint: Some(endpoint),
            s3_keys: Some(("firstlight".into(), "firstlight-secret".into())),
            ..Settings::default()
        };
        let location: Location = "s3://bench".parse().unwrap();
        let store = connect(&location, &settings).await.unwrap();
        let limits = Limits { in_flight: CONNECTIONS, ..Limits::default() };
        let timeline = Timeline::start(None);
        let reader = Reader::new(store, limits, timeline.clone());
        let checkpoint = Checkpoint::open(&reader, &timeline).await.unwrap();
        let plan = Plan::new(&checkpoint.manifest, &stages(), &PlanLimits::new(SUPPORTED)).unwrap();
        Layers::start(&reader, &checkpoint, plan, Priority::Weights, &timeline).unwrap()
    });
    layers
        .flat_map(|layer| layer.unwrap().tensors.into_values())
        .map(|tensor| tensor.bytes().len() as u64)
        .sum()
}

/// A stage a tensor, a tensor a range.
fn stages() -> Vec<Stage> {
    let stage = |i| Stage {
        name: format!("layer {i}"),
        tensors: vec![Want { name: format!("t{i:03}"), shape: vec![RANGE / 2] }],
    };
    (0..SIZE / RANGE).map(stage).collect()
}

/// A checkpoint of such tensors.
fn safetensors() -> Vec<u8> {
    let entry = |i| {
        let (start, end) = (i * RANGE, (i + 1) * RANGE);
        let shape = RANGE / 2;
        format!(r#""t{i:03}":{{"dtype":"BF16","shape":[{shape}],"data_offsets":[{start},{end}]}}"#)
    };
    let entries: Vec<_> = (0..SIZE / RANGE).map(entry).collect();
    let header = format!("{{{}}}", entries.join(","));
    let mut object = (header.len() as u64).to_le_bytes().to_vec();
    object.extend(header.as_bytes());
    object.resize(object.len() + usize::try_from(SIZE).unwrap(), 7);
    object
}

struct Server {
    child: Child,
    address: String,
    tls_address: String,
}

impl Server {
    fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg("--serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut addresses = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut next = || addresses.next().unwrap().unwrap();
        let (address, tls_address) = (next(), next());
        Self { child, address, tls_address }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Serves until standard input ends, which it does when the parent does.
fn serve() {
    let objects = Objects::new();
    objects.insert("bench", "model.safetensors", safetensors());
    let server = || Bucket::builder().objects(objects.clone()).allow_anonymous(true);
    let plain = server().start_on_own_thread("127.0.0.1:0").unwrap();
    let tls = server().tls(LOCALHOST_CERTIFICATE_PEM, LOCALHOST_KEY_PEM).unwrap();
    let tls = tls.start_on_own_thread("127.0.0.1:0").unwrap();
    println!("{}\n{}", plain.addr(), tls.addr());
    drop(std::io::stdin().read(&mut [0]));
}
