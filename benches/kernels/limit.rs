//! What the machine can do at most at the moment, beside what was done.
//!
//! Machines are shared: their bandwidth and their clock move by half within seconds. So each sample
//! of a bench lies between two measurements of the limit, and the figure to look at is the median
//! of the samples' shares of it.

use std::time::Duration;

use criterion::Bencher;
use firstlight_device::Team;
use firstlight_kernels::limits::{Memory, flop_rate};
use firstlight_kernels::{Elements, Isa};

/// What can be measured of the machine.
pub(crate) struct Limits {
    isa: Isa,
    threads: usize,
    memory: Memory,
}

/// What one iteration must do at least.
#[derive(Clone, Copy)]
pub(crate) struct Work {
    /// To read from memory.
    pub(crate) bytes: usize,
    pub(crate) flop: usize,
    /// Whose products those are.
    pub(crate) like: Elements<'static>,
}

/// Iterations, and what they took.
#[derive(Default)]
pub(crate) struct Samples(Vec<Sample>);

/// Of one iteration, in seconds.
#[derive(Clone, Copy)]
struct Sample {
    took: f64,
    reading: f64,
    computing: f64,
}

/// The middle of the samples, each measure for itself.
#[derive(Clone, Copy)]
pub(crate) struct Summary {
    /// Seconds of an iteration.
    pub(crate) took_s: f64,
    /// Seconds that it takes at least.
    pub(crate) limit_s: f64,
    /// The one by the other.
    pub(crate) share: f64,
    /// What the limit is of.
    pub(crate) of: &'static str,
}

impl Limits {
    pub(crate) fn new(isa: Isa) -> Self {
        let threads = Team::default_threads().get();
        Self { isa, threads, memory: Memory::new().expect("there is memory") }
    }

    /// Seconds to read and to compute what `work` must.
    fn seconds(&self, work: &Work) -> [f64; 2] {
        let read_rate = self.memory.read_rate(self.threads);
        [
            work.bytes as f64 / read_rate,
            work.flop as f64 / flop_rate(self.isa, work.like, self.threads),
        ]
    }
}

impl Samples {
    /// Has `run` do a number of iterations and say what they took: for [`LEAST`] and more, so that
    /// they do not show how threads wake up, whatever number criterion asks for.
    pub(crate) fn take(
        &mut self,
        bench: &mut Bencher<'_>,
        (limits, work): (&Limits, &Work),
        mut run: impl FnMut(u64) -> Duration,
    ) {
        bench.iter_custom(|count| {
            let before = limits.seconds(work);
            let enough = LEAST.as_nanos() / run(1).as_nanos().max(1);
            let iterations = count.max(enough.try_into().expect("milliseconds by nanoseconds"));
            let took = run(iterations).as_secs_f64() / iterations as f64;
            let after = limits.seconds(work);
            self.0.push(Sample {
                took,
                reading: f64::midpoint(before[0], after[0]),
                computing: f64::midpoint(before[1], after[1]),
            });
            Duration::from_secs_f64(took * count as f64)
        });
    }

    /// None where the bench was filtered out.
    pub(crate) fn summary(&self) -> Option<Summary> {
        let limit = |sample: &Sample| sample.reading.max(sample.computing);
        let reads = self.0.iter().filter(|sample| sample.reading > sample.computing).count();
        Some(Summary {
            took_s: median(self.0.iter().map(|sample| sample.took))?,
            limit_s: median(self.0.iter().map(limit))?,
            share: median(self.0.iter().map(|sample| limit(sample) / sample.took))?,
            of: if 2 * reads > self.0.len() { "memory" } else { "arithmetic" },
        })
    }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Of the iterations of a sample.
const LEAST: Duration = Duration::from_millis(50);
