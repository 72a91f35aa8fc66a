//! A file in the page cache, through the pinned ring to the device: what the load of a local model does, without the
//! model.

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

use firstlight_device::cuda::{Arena, Region, Ring, RingMemory, Streams};
use tokio::runtime;

use super::bench::{Bench, Result};
use super::record::Recorder;
use super::sections::{MEASURED, PINNED_RATE, count, mebibytes};
use super::sizes::Sizes;

pub(crate) fn measure(bench: &Bench<'_>, folder: &Path, recorder: &mut Recorder) -> Result<()> {
    let sizes = bench.sizes;
    let path = file(folder, sizes.file_bytes)?;
    let source = File::open(&path)?;
    let limit = recorder.record().value("limits", PINNED_RATE, MEASURED);
    let regions = regions(bench, sizes)?;
    for &bytes in &sizes.rings {
        let row = mebibytes(bytes);
        let begun = Instant::now();
        let memory = RingMemory::touched(bytes)?;
        let ring = Ring::new(Arc::new(bench.cuda.streams()), memory, sizes.slot_bytes)?;
        let made_ms = 1e3 * begun.elapsed().as_secs_f64();
        recorder.figure("ring", [&row, "touched and pinned, ms"], made_ms, None)?;
        let rate = rate(sizes, || pass(&ring, &regions, None, 1))?;
        recorder.figure("ring", [&row, "nothing read"], rate, limit)?;
        for &readers in &sizes.readers {
            let rate = self::rate(sizes, || pass(&ring, &regions, Some(&source), readers))?;
            recorder.figure("ring", [&row, &count(readers, "reader")], rate, limit)?;
        }
    }
    Ok(std::fs::remove_file(path)?)
}

/// Where the slots go, one after another.
fn regions(bench: &Bench<'_>, sizes: &Sizes) -> Result<Vec<Region>> {
    let arena = Arena::on(bench.cuda.context(), sizes.file_bytes as u64)?;
    let slot = sizes.slot_bytes as u64;
    let ranges: Vec<Range<u64>> =
        (0..sizes.file_bytes as u64 / slot).map(|index| index * slot..(index + 1) * slot).collect();
    Ok(arena.carve(&ranges)?)
}

/// A file that was just written.
fn file(folder: &Path, bytes: usize) -> Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let path = folder.join("ring.bin");
    let mut file = File::create(&path)?;
    let piece: Vec<u8> = (0..=255).cycle().take(bytes.min(1 << 20)).collect();
    for _ in 0..bytes / piece.len() {
        file.write_all(&piece)?;
    }
    Ok(path)
}

/// GB/s of the fastest pass.
fn rate(sizes: &Sizes, mut pass: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut rate = 0.0_f64;
    for _ in 0..PASSES {
        let begun = Instant::now();
        pass()?;
        rate = rate.max(sizes.file_bytes as f64 / begun.elapsed().as_secs_f64() / 1e9);
    }
    Ok(rate)
}

/// Fills all regions, each from its place in the file or from whatever is in the slot; returns when the device has them.
fn pass(
    ring: &Ring<Streams>,
    regions: &[Region],
    file: Option<&File>,
    readers: usize,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let read = || -> Result<()> {
        let waiting = runtime::Builder::new_current_thread().build()?;
        while let Some(region) = regions.get(next.fetch_add(1, Relaxed)) {
            let bytes = ring.slot_bytes();
            let mut slot = waiting.block_on(ring.take())?.fill(bytes);
            if let Some(file) = file {
                file.read_exact_at(slot.memory(), region.range().start)?;
            }
            ring.send(slot.full(), &[(0..bytes, region)], |_| ())?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let readers: Vec<_> = (0..readers).map(|_| scope.spawn(read)).collect();
        readers.into_iter().try_for_each(|reader| reader.join().expect("no reader panics"))
    })?;
    // All slots are free again when all copies are done.
    let waiting = runtime::Builder::new_current_thread().build()?;
    let slots = (0..ring.slots()).map(|_| waiting.block_on(ring.take()));
    slots.collect::<std::result::Result<Vec<_>, _>>()?;
    Ok(())
}

const PASSES: usize = 3;
