//! How long kernels took, beside how long the machine would at most need.

use std::num::NonZero;
use std::thread;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode};
use firstlight_kernels::{Elements, Isa, limits};
use half::bf16;

/// Criterion, and the limits.
pub(crate) struct Bench {
    criterion: Criterion,
    isa: Isa,
    threads: usize,
    /// Only whether everything runs.
    is_test: bool,
}

/// Some kernels, and how long they took.
pub(crate) struct Group<'a> {
    group: BenchmarkGroup<'a, WallTime>,
    rows: Vec<Row>,
}

struct Row {
    name: String,
    work: Work,
    least: Duration,
    median: Duration,
}

impl Bench {
    pub(crate) fn new(isa: Isa) -> Self {
        let criterion = Criterion::default()
            .sample_size(10)
            .warm_up_time(Duration::from_millis(100))
            .measurement_time(Duration::from_millis(500))
            .configure_from_args();
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        Self { criterion, isa, threads, is_test: std::env::args().any(|arg| arg == "--test") }
    }

    /// Measures some kernels, and prints the table of them.
    pub(crate) fn group(&mut self, name: &str, kernels: impl FnOnce(&mut Group<'_>)) {
        let mut group = Group { group: self.criterion.benchmark_group(name), rows: Vec::new() };
        group.group.sampling_mode(SamplingMode::Flat);
        kernels(&mut group);
        group.group.finish();
        let rows = group.rows;
        if !rows.is_empty() && !self.is_test {
            let limits = Limits::measure(self.isa, self.threads);
            limits.print(self.isa, self.threads);
            for row in &rows {
                limits.print_row(row);
            }
        }
    }

    /// Prints what criterion has to say at the end.
    pub(crate) fn finish(&self) {
        self.criterion.final_summary();
    }
}

impl Group<'_> {
    pub(crate) fn measure(&mut self, name: &str, work: Work, mut kernel: impl FnMut()) {
        let mut samples = Vec::new();
        self.group.bench_function(name, |bench| {
            bench.iter_custom(|count| {
                let started = Instant::now();
                for _ in 0..count {
                    kernel();
                }
                let elapsed = started.elapsed();
                samples.push(elapsed / u32::try_from(count).expect("few samples"));
                elapsed
            });
        });
        samples.sort();
        if let [least, ..] = samples[..] {
            let median = samples[samples.len() / 2];
            self.rows.push(Row { name: name.to_owned(), work, least, median });
        }
    }
}

/// What this machine can do at most, in bytes or operations a second.
struct Limits {
    read: f64,
    f32: f64,
    bf16: f64,
}

impl Limits {
    fn measure(isa: Isa, threads: usize) -> Self {
        Self {
            read: limits::read_bandwidth(threads).expect("memory"),
            f32: limits::peak_flops(isa, Elements::F32(&[]), threads),
            bf16: limits::peak_flops(isa, Elements::BF16(&[]), threads),
        }
    }

    fn print(&self, isa: Isa, threads: usize) {
        let [read, f32, bf16] = [self.read, self.f32, self.bf16].map(|rate| rate / 1e9);
        println!(
            "{isa}, {threads} threads: {read:.1} GB/s, {f32:.0} GFLOP/s f32, {bf16:.0} GFLOP/s bf16"
        );
        println!("{:<42} {:>11} {:>11} {:>11}", "", "median", "least", "limit");
    }

    fn print_row(&self, row: &Row) {
        let us = |time_s: f64| format!("{:>8.1} us", time_s * 1e6);
        let least_s = row.least.as_secs_f64();
        let times = format!("{} {}", us(row.median.as_secs_f64()), us(least_s));
        let (flop, bytes, peak) = match row.work {
            Work::Product { flop, bytes } => (flop, bytes, self.bf16),
            Work::Attention { flop, bytes } => (flop, bytes, self.f32),
            Work::Cached { bytes } => {
                let rate = bytes as f64 / least_s / 1e9;
                return println!("{:<42} {times}    in cache: {rate:.1} GB/s", row.name);
            }
        };
        let (read_s, flop_s) = (bytes as f64 / self.read, flop as f64 / peak);
        let (limit_s, of) =
            if read_s > flop_s { (read_s, "memory") } else { (flop_s, "arithmetic") };
        let percent = 100.0 * limit_s / least_s;
        println!("{:<42} {times} {} {percent:>4.0} % of {of}", row.name, us(limit_s));
    }
}

/// What a kernel must do.
pub(crate) enum Work {
    /// With weights of bf16 that come from memory.
    Product { flop: usize, bytes: usize },
    /// With keys and values in f32 that come from memory.
    Attention { flop: usize, bytes: usize },
    /// Reads and writes in a cache.
    Cached { bytes: usize },
}

impl Work {
    pub(crate) fn product(rows: usize, inputs: usize, outputs: usize) -> Self {
        let weights = inputs * outputs;
        Self::Product { flop: 2 * rows * weights, bytes: size_of::<bf16>() * weights }
    }

    pub(crate) fn cached(floats: usize) -> Self {
        Self::Cached { bytes: size_of::<f32>() * floats }
    }
}
