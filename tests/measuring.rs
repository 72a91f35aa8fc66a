//! The benches' own tools: a broken one must not make a change look good.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "../benches/cold_start/profile.rs"]
mod profile;
#[path = "../benches/cold_start/statistics.rs"]
mod statistics;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use firstlight_bucket::{Bucket, Objects, RequestRecord};
use profile::Profile;
use statistics::{FEWEST, Ratio, Verdict, median, percentile, sorted};

#[test]
fn every_profile_is_what_it_is_called() {
    let shaped = |name: &str, rate: Option<&str>, connection: Option<&str>, first_byte_ms| {
        let link = known(name).link();
        let [rate, connection] = [rate, connection].map(|rate| rate.map(|r| r.parse().unwrap()));
        assert_eq!((link.rate, link.connection_rate), (rate, connection), "{name}");
        assert_eq!(link.first_byte, Duration::from_millis(first_byte_ms), "{name}");
    };
    shaped("lambda", Some("600mbit"), Some("75MB"), 25);
    shaped("loopback", None, None, 0);
    for name in ["1gbit", "5gbit", "10gbit"] {
        shaped(name, Some(name), Some("100MB"), 30);
    }
    for name in ["tail", "flaky"] {
        shaped(name, Some("1gbit"), Some("100MB"), 30);
    }
    let names = ["10gbit", "1gbit", "5gbit", "flaky", "lambda", "loopback", "tail"];
    assert_eq!(profile::names(links()), names);

    for name in names {
        let faults = known(name).faults;
        let expected = match name {
            "tail" => {
                profile::Shares { slow_percent: 1.0, slow_factor: 20.0, ..Default::default() }
            }
            "flaky" => profile::Shares {
                reset_percent: 2.0,
                refuse_percent: 1.0,
                stall_percent: 0.5,
                ..Default::default()
            },
            _ => profile::Shares::default(),
        };
        assert_eq!(faults, expected, "{name}");
    }
}

#[test]
fn a_profile_that_cannot_be_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let error = |text: &str| {
        let path = folder.path().join("wrong.toml");
        std::fs::write(&path, text).unwrap();
        Profile::find(path.to_str().unwrap(), links()).unwrap_err().to_string()
    };
    assert!(error("link = '1gb'").contains("could mean bits or bytes"));
    assert!(error("rate = '1gbit'").contains("unknown field `rate`"));
    assert!(error("faults = { slow_percent = 1.0 }").contains("a factor of 0"));
    assert!(error("faults = { reset_percent = 101.0 }").contains("cannot be"));
    let unknown = Profile::find("2gbit", links()).unwrap_err().to_string();
    assert!(unknown.contains("known are 10gbit, 1gbit"), "{unknown}");
    let other = known("1gbit").but(None, Some(5), Some(&"1GB".to_owned())).unwrap();
    assert_eq!(other.name, "1gbit first-byte=5ms connection=1GB");
    assert_eq!(other.link().first_byte, Duration::from_millis(5));
}

#[test]
fn percentiles_are_of_the_nearest_rank() {
    let values = sorted((1..=30).rev().map(f64::from).chain([f64::NAN]));
    let at = [50.0, 90.0, 99.0, 100.0].map(|percent| percentile(&values, percent));
    assert_eq!(at.map(|value| value.to_string()), ["15", "27", "30", "30"]);
    assert_eq!(median(&values).to_string(), "15.5");
    assert_eq!(median(&values[..5]).to_string(), "3");
}

/// Counted from the server's side: an answer that was cut has half of its bytes.
#[test]
fn faults_meet_small_files_in_their_shares() {
    const READS: usize = 4000;
    let objects = Objects::new();
    objects.insert("bucket", "config.json", vec![b' '; 1000]);
    let server = Bucket::builder().objects(objects).allow_anonymous(true);
    let server =
        server.faults(known("flaky").faults(1)).start_on_own_thread("127.0.0.1:0").unwrap();
    for _ in 0..READS {
        let mut stream = TcpStream::connect(server.addr()).unwrap();
        let request = b"GET /bucket/config.json HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n";
        stream.write_all(request).unwrap();
        read_half(&mut stream);
    }
    let met = |share: f64, met: &dyn Fn(&RequestRecord) -> bool| {
        let (count, expected) =
            (server.requests().iter().filter(|r| met(r)).count() as f64, share * READS as f64);
        assert!((count - expected).abs() < 4.0 * expected.sqrt(), "{count} in place of {expected}");
    };
    met(0.01, &|request| request.status == Some(503));
    met(0.025, &|request| request.status == Some(200) && request.bytes_sent == 500);
    met(0.965, &|request| request.bytes_sent == 1000);
}

/// One in twenty verdicts on two sets of one distribution may err, on either side, however few runs there are.
#[test]
fn noise_is_no_difference_in_nineteen_of_twenty() {
    for runs in [FEWEST, 5, 10, 30] {
        let mut times = Times(runs as u64);
        let mut erred = 0;
        for _ in 0..TRIALS {
            let (a, b) = (times.take(runs, 1.0), times.take(runs, 1.0));
            let verdict = Ratio::of(&a, &b).unwrap().verdict();
            erred += usize::from(!matches!(verdict, Verdict::NoDifference(_)));
        }
        // Three standard deviations above 5 %. Ranks are whole, so that few runs err less often.
        assert!(erred <= TRIALS * 65 / 1000, "{runs} runs: {erred} of {TRIALS}");
        assert!(runs < 10 || erred >= TRIALS * 35 / 1000, "{runs} runs: {erred} of {TRIALS}");
    }
}

#[test]
fn a_tenth_is_found_and_the_interval_holds_it() {
    let (mut found, mut held) = (0, 0);
    let mut times = Times(1);
    for _ in 0..TRIALS {
        let ratio = Ratio::of(&times.take(30, 1.0), &times.take(30, 0.9)).unwrap();
        found += usize::from(matches!(ratio.verdict(), Verdict::Faster(_)));
        held += usize::from(ratio.low <= 0.9 && 0.9 <= ratio.high);
    }
    assert!(found >= TRIALS * 99 / 100, "{found} of {TRIALS}");
    assert!(held >= TRIALS * 93 / 100, "{held} of {TRIALS}");
}

#[test]
fn a_verdict_reads_as_it_is_meant() {
    let said = |low, high| Ratio { estimate: 1.0, low, high }.verdict().to_string();
    assert_eq!(said(0.93, 0.97), "faster by 3.0–7.0 %");
    assert_eq!(said(1.02, 1.1), "slower by 2.0–10.0 %");
    assert_eq!(said(0.98, 1.01), "no difference shown (±2.0 %)");
    let three = [1.0, 2.0, 3.0];
    assert_eq!(Ratio::of(&three, &three), None, "too few to tell");
    assert_eq!(Ratio::of(&[0.0; 9], &[1.0; 9]), None, "nothing is no time");
    let (a, b) = ([1.0, 1.1, 1.2, 1.3], [2.0, 2.2, 2.4, 2.6]);
    let ratio = Ratio::of(&a, &b).unwrap();
    assert!(matches!(ratio.verdict(), Verdict::Slower(_)), "four can tell what is plain");
}

/// Reads until half of a body of 1000 bytes has come, which is all that comes of one that is cut.
fn read_half(stream: &mut TcpStream) {
    let (mut answer, mut piece) = (Vec::new(), [0; 2048]);
    while let Ok(bytes @ 1..) = stream.read(&mut piece) {
        answer.extend_from_slice(&piece[..bytes]);
        let head = answer.windows(4).position(|end| end == b"\r\n\r\n");
        if head.is_some_and(|head| answer.len() >= head + 4 + 500) {
            return;
        }
    }
}

/// Times as cold starts have them: about 100, with 3 % of noise and a tail of one run in twelve that takes longer.
struct Times(u64);

impl Times {
    fn take(&mut self, count: usize, factor: f64) -> Vec<f64> {
        (0..count).map(|_| self.time() * factor).collect()
    }

    fn time(&mut self) -> f64 {
        let noise: f64 = (0..4).map(|_| self.draw() - 0.5).sum();
        let tail = if self.draw() < 1.0 / 12.0 { 20.0 * self.draw() } else { 0.0 };
        100.0 + 5.0 * noise + tail
    }

    /// splitmix64 (Steele, Lea, Flood 2014), to 0..1.
    fn draw(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn known(name: &str) -> Profile {
    Profile::find(name, links()).unwrap()
}

fn links() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/links"))
}

/// Enough that 5 % are 100 of them, give or take 10.
const TRIALS: usize = 2000;
