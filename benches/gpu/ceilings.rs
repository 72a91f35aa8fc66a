//! What the machine can do: the rates that all others are compared with, and what memory costs to make.

use std::sync::Arc;
use std::time::{Duration, Instant};

use firstlight_device::cuda::limits::HostMemory;
use firstlight_device::cuda::{Ring, RingMemory};

use super::bench::{Bench, Result};
use super::record::Recorder;
use super::sections::{
    COPY_RATE, MATRIX_RATE, MEASURED, PAGEABLE_RATE, PINNED_MS, PINNED_RATE, REGISTERED_MS,
    TOUCHED_MS,
};

pub(crate) fn measure(bench: &Bench<'_>, recorder: &mut Recorder) -> Result<()> {
    let mut told = |row, value| recorder.figure("limits", [row, MEASURED], value, None);
    told(COPY_RATE, bench.copy_rate()? / 1e9)?;
    told(MATRIX_RATE, bench.matrix_rate()? / 1e12)?;
    let bytes = bench.sizes.buffer_bytes;
    let rate = |copied: Duration| bytes as f64 / copied.as_secs_f64() / 1e9;
    let ms = |took: Duration| 1e3 * took.as_secs_f64() * f64::from(1 << 30) / bytes as f64;
    let pinned = bench.limits().from_host(HostMemory::Pinned)?;
    told(PINNED_RATE, rate(pinned.copied))?;
    told(PAGEABLE_RATE, rate(bench.limits().from_host(HostMemory::Pageable)?.copied))?;
    told(PINNED_MS, ms(pinned.made))?;

    let begun = Instant::now();
    let memory = RingMemory::touched(bytes)?;
    told(TOUCHED_MS, ms(begun.elapsed()))?;
    let begun = Instant::now();
    let ring = Ring::new(Arc::new(bench.cuda.streams()), memory, bytes)?;
    told(REGISTERED_MS, ms(begun.elapsed()))?;
    drop(ring);
    Ok(())
}
