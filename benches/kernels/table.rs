//! How long kernels took, beside how long the machine would at most need.

use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode};
use firstlight_kernels::{Elements, Isa};
use half::bf16;

use crate::limit::{Limits, Samples, Summary, Work};

/// Criterion, and the limits.
pub(crate) struct Bench {
    criterion: Criterion,
    limits: Limits,
}

/// Some kernels, and how long they took.
pub(crate) struct Group<'a> {
    kernels: BenchmarkGroup<'a, WallTime>,
    limits: &'a Limits,
    rows: Vec<String>,
}

impl Bench {
    pub(crate) fn new(isa: Isa) -> Self {
        let criterion = Criterion::default()
            .sample_size(10)
            .warm_up_time(Duration::from_millis(100))
            .measurement_time(Duration::from_millis(500))
            .configure_from_args();
        Self { criterion, limits: Limits::new(isa) }
    }

    /// Measures some kernels, and prints the table of them.
    pub(crate) fn group(&mut self, name: &str, measure: impl FnOnce(&mut Group<'_>)) {
        let kernels = self.criterion.benchmark_group(name);
        let mut group = Group { kernels, limits: &self.limits, rows: Vec::new() };
        group.kernels.sampling_mode(SamplingMode::Flat);
        measure(&mut group);
        group.kernels.finish();
        if !group.rows.is_empty() {
            println!("{name:<42} {:>11} {:>11}", "median", "limit");
        }
        for row in &group.rows {
            println!("{row}");
        }
    }

    /// Prints what criterion has to say at the end.
    pub(crate) fn finish(&self) {
        self.criterion.final_summary();
    }
}

impl Group<'_> {
    /// What comes from memory.
    pub(crate) fn measure(&mut self, name: &str, work: Work, kernel: impl FnMut()) {
        if let Some(summary) = self.sample(name, &work, kernel) {
            let (took, limit) = (us(summary.took_s), us(summary.limit_s));
            let (percent, of) = (100.0 * summary.share, summary.of);
            self.rows.push(format!("{name:<42} {took} {limit} {percent:>4.0} % of {of}"));
        }
    }

    /// What reads and writes so many bytes in a cache, which has no limit that we measure.
    pub(crate) fn measure_cached(&mut self, name: &str, bytes: usize, kernel: impl FnMut()) {
        let nothing = Work { bytes: 0, flop: 0, like: Elements::F32(&[]) };
        if let Some(summary) = self.sample(name, &nothing, kernel) {
            let (took, rate) = (us(summary.took_s), bytes as f64 / summary.took_s / 1e9);
            self.rows.push(format!("{name:<42} {took}    in cache: {rate:.1} GB/s"));
        }
    }

    fn sample(&mut self, name: &str, work: &Work, mut kernel: impl FnMut()) -> Option<Summary> {
        let mut samples = Samples::default();
        self.kernels.bench_function(name, |bench| {
            samples.take(bench, (self.limits, work), |count| {
                let started = Instant::now();
                for _ in 0..count {
                    kernel();
                }
                started.elapsed()
            });
        });
        samples.summary()
    }
}

fn us(time_s: f64) -> String {
    format!("{:>8.1} us", time_s * 1e6)
}

/// With weights of bf16 that come from memory.
pub(crate) fn product(rows: usize, inputs: usize, outputs: usize) -> Work {
    let weights = inputs * outputs;
    let bytes = size_of::<bf16>() * weights;
    Work { bytes, flop: 2 * rows * weights, like: Elements::BF16(&[]) }
}
