//! What this machine can do at most, measured when asked: what the benches divide by.
//!
//! A rate is that of one pass that all threads begin together. Machines are shared, so what is
//! compared with a limit should have been measured right beside it.
#![expect(unsafe_code, reason = "memory that was mapped as bytes is read as numbers")]

use std::hint::black_box;
use std::io;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use memmap2::MmapMut;

use crate::elements::Elements;
use crate::form::{Form, Pairs, Widened};
use crate::isa::Isa;
use crate::simd::{Bf16Dot, Bf16Kernel, Kernel, Simd};

/// Memory that no cache holds, to see how fast it is read.
///
/// The pages are huge where the kernel allows, as those of the weights are (measured on two cores
/// of Zen 4: 50 GB/s, and 36 to 42 with small ones).
#[derive(Debug)]
pub struct Memory(MmapMut);

impl Memory {
    /// 512 MiB, which are there.
    pub fn new() -> io::Result<Self> {
        let mut memory = MmapMut::map_anon(READ_BYTES)?;
        #[cfg(target_os = "linux")]
        drop(memory.advise(memmap2::Advice::HugePage)); // a kernel without them gives small ones
        memory.fill(1);
        Ok(Self(memory))
    }

    /// Bytes a second that `threads` read, each a stretch of its own.
    #[must_use]
    pub fn read_rate(&self, threads: usize) -> f64 {
        // SAFETY: all bits are some f32.
        let (_, floats, _) = unsafe { self.0.align_to::<f32>() };
        let share = floats.len() / threads;
        rate(threads, |thread| {
            let floats = &floats[thread * share..][..share];
            black_box(Isa::best().run(Read(floats)));
            size_of_val(floats)
        })
    }
}

/// Floating-point operations a second of `threads` in products with weights of the dtype of `like`:
/// multiply-adds that never leave the registers (those of the portable code do, which has none of
/// its own).
#[must_use]
pub fn flop_rate(isa: Isa, like: Elements<'_>, threads: usize) -> f64 {
    let bf16 = matches!(like, Elements::BF16(_)) && isa.has_bf16_dot();
    rate(threads, |_| if bf16 { isa.run_bf16(MultiplyAdds) } else { isa.run(MultiplyAdds) })
}

/// What all threads did, by the time from the first start to the last end. `work` takes the number
/// of a thread, and says how much it did.
fn rate(threads: usize, work: impl Fn(usize) -> usize + Sync) -> f64 {
    let barrier = Barrier::new(threads);
    let run = |thread| {
        barrier.wait();
        let started = Instant::now();
        let amount = work(thread);
        (started, amount, Instant::now())
    };
    let runs: Vec<_> = thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = (0..threads).map(|n| scope.spawn(move || run(n))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no work panics")).collect()
    });
    let started = runs.iter().map(|run| run.0).min().expect("a thread");
    let ended = runs.iter().map(|run| run.2).max().expect("a thread");
    let amount: usize = runs.iter().map(|run| run.1).sum();
    amount as f64 / (ended - started).as_secs_f64()
}

/// The sum of all numbers, in as many chains as hide how long an addition takes.
struct Read<'a>(&'a [f32]);

impl Kernel for Read<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        let mut sums = [simd.splat(0.0); 8];
        let eights = S::chunks(self.0).0.as_chunks::<8>().0;
        for (index, eight) in eights.iter().enumerate() {
            let start = index * 8 * S::LANES;
            for line in (start..start + 8 * S::LANES).step_by(LINE_FLOATS) {
                simd.prefetch(self.0, line + AHEAD_FLOATS);
            }
            for (sum, vector) in sums.iter_mut().zip(eight) {
                *sum = simd.add(*sum, simd.load(vector));
            }
        }
        sums.map(|sum| simd.sum(sum)).into_iter().sum()
    }
}

/// Chains through the sums, as those of a product are; says how many operations they were.
struct MultiplyAdds;

impl Kernel for MultiplyAdds {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> usize {
        multiply_adds(Widened::<S, f32>::new(simd))
    }
}

impl Bf16Kernel for MultiplyAdds {
    type Output = usize;

    #[inline(always)]
    fn run<D: Bf16Dot>(self, dot: D) -> usize {
        multiply_adds(Pairs(dot))
    }
}

#[inline(always)]
fn multiply_adds<F: Form>(form: F) -> usize {
    if F::Simd::REGISTERS == 32 { chains::<F, 24>(form) } else { chains::<F, 12>(form) }
}

#[inline(always)]
fn chains<F: Form, const CHAINS: usize>(form: F) -> usize {
    let simd = form.simd();
    let (x, weight) = black_box((0.0, 0.0));
    let (x, weight) = (simd.splat(x), simd.splat(weight));
    let mut sums = [simd.splat(0.0); CHAINS];
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            *sum = form.multiply_add(x, weight, *sum);
        }
    }
    let mut total = sums[0];
    for sum in &sums[1..] {
        total = simd.add(total, *sum);
    }
    black_box(simd.sum(total));
    let lane_products = size_of::<F::Weight>() / size_of::<F::Element>();
    2 * lane_products * F::Simd::LANES * CHAINS * ROUNDS
}

/// Many times what a cache holds.
const READ_BYTES: usize = 512 << 20;

/// How far ahead of the reads: 4 KiB, the furthest that a prefetcher of pages goes.
const AHEAD_FLOATS: usize = 1024;

/// f32 in a cache line.
const LINE_FLOATS: usize = 16;

/// Additions in a chain: some milliseconds.
const ROUNDS: usize = 1 << 19;
