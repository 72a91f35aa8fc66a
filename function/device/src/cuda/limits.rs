//! What a GPU can do at most, measured when asked: what its benches divide by. And the clock that they measure with.
//!
//! A kernel is over in microseconds, about as many as the host needs to issue it. So the device is first given a long
//! copy to do, during which the host issues what is to be measured; what lies between the two events behind that copy is
//! the device's own time.
#![expect(unsafe_code, reason = "the driver is a C library")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use cudarc::driver::sys::cuMemcpyHtoDAsync_v2;
use firstlight_kernels::cuda::limits;

use super::driver::check;
use super::event::Event;
use super::kernels::Kernels;
use super::launch::Arguments;
use super::memory::{self, Memory};
use super::pinned::Pinned;
use super::{Cuda, context::Context};
use crate::Error;

/// Two buffers of a device, between which it copies, and a clock.
#[derive(Debug)]
pub struct Limits<'a> {
    cuda: &'a Cuda,
    from: Memory,
    to: Memory,
    bytes: usize,
}

/// What a copy to the device comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostMemory {
    /// As any program has it: the driver copies it to pinned memory of its own first.
    Pageable,
    /// The device reads it by itself.
    Pinned,
}

/// How long a copy to the device took.
#[derive(Clone, Copy, Debug)]
pub struct HostCopy {
    /// Until the memory was there.
    pub made: Duration,
    /// The fastest of some copies.
    pub copied: Duration,
}

impl<'a> Limits<'a> {
    /// With buffers of so many `bytes`: far more than a cache of the device holds.
    pub fn new(cuda: &'a Cuda, bytes: usize) -> Result<Self, Error> {
        let buffer = || Memory::new(cuda.context(), bytes as u64, "measuring");
        let limits = Self { cuda, from: buffer()?, to: buffer()?, bytes };
        limits.from.zero(cuda.compute())?;
        limits.to.zero(cuda.compute())?;
        Ok(limits)
    }

    /// What the device takes for the operations that `work` issues.
    pub fn timed<E: From<Error>>(
        &self,
        work: impl FnOnce() -> Result<(), E>,
    ) -> Result<Duration, E> {
        let compute = self.cuda.compute();
        let [begun, ended] = [self.event()?, self.event()?];
        for _ in 0..HEAD_START_COPIES {
            self.copy()?;
        }
        compute.record(&begun)?;
        work()?;
        compute.record(&ended)?;
        ended.wait()?;
        Ok(ended.since(&begun)?)
    }

    /// Bytes that a copy within the device reads and writes in a second.
    pub fn copy_rate(&self) -> Result<f64, Error> {
        let took = self.timed(|| (0..COPIES).try_for_each(|_| self.copy()))?;
        Ok((2 * self.bytes * COPIES) as f64 / took.as_secs_f64())
    }

    /// Floating-point operations that the matrix units do in a second, in 16 bits: by `mma.sync`, and from registers.
    pub fn matrix_rate(&self, blocks: u32, turns: u32) -> Result<f64, Error> {
        let context: &Arc<Context> = self.cuda.context();
        let kernels = Kernels::of(context, limits::FATBIN)?;
        let out_bytes = u64::from(blocks) * u64::from(limits::THREADS) * size_of::<f32>() as u64;
        let out = Memory::new(context, out_bytes, "measuring")?;
        let run = || {
            let arguments = Arguments::new().with(turns).with(out.start());
            kernels.launch(self.cuda.compute(), limits::multiply_adds(blocks), &arguments)
        };
        run()?;
        let took = self.timed(run)?;
        Ok(f64::from(blocks) * limits::flop(turns) as f64 / took.as_secs_f64())
    }

    /// Copies a whole buffer to the device.
    pub fn from_host(&self, from: HostMemory) -> Result<HostCopy, Error> {
        let begun = Instant::now();
        match from {
            HostMemory::Pageable => {
                let memory = vec![1_u8; self.bytes];
                let made = begun.elapsed();
                let copied = self.fastest(|| self.send_pageable(&memory))?;
                Ok(HostCopy { made, copied })
            }
            HostMemory::Pinned => {
                let memory = Pinned::new(self.cuda.context(), self.bytes)?;
                let made = begun.elapsed();
                let (to, stream) = (self.to.start(), self.cuda.compute());
                let copied = self.fastest(|| memory.send(0, self.bytes, to, stream))?;
                Ok(HostCopy { made, copied })
            }
        }
    }

    fn send_pageable(&self, memory: &[u8]) -> Result<(), Error> {
        assert!(memory.len() <= self.bytes, "{} bytes for {}", memory.len(), self.bytes);
        let stream = self.cuda.compute().bound()?;
        let start = memory.as_ptr().cast();
        // SAFETY: as many bytes are readable from `start` on, and are borrowed until the copy was awaited, which
        // `fastest` does; the buffer of the device is at least as long.
        let issued = unsafe { cuMemcpyHtoDAsync_v2(self.to.start(), start, memory.len(), stream) };
        check("cuMemcpyHtoDAsync", issued.result())
    }

    /// By the host's clock, since it takes part in some of them. Waits for each, also where it failed.
    fn fastest(&self, send: impl Fn() -> Result<(), Error>) -> Result<Duration, Error> {
        let mut fastest = Duration::MAX;
        for _ in 0..COPIES {
            let begun = Instant::now();
            let issued = send();
            self.cuda.compute().synchronize()?;
            issued?;
            fastest = fastest.min(begun.elapsed());
        }
        Ok(fastest)
    }

    fn copy(&self) -> Result<(), Error> {
        memory::copy(self.from.start(), self.to.start(), self.bytes, self.cuda.compute())
    }

    fn event(&self) -> Result<Event, Error> {
        Event::timed(self.cuda.context())
    }
}

/// Of a gibibyte each they take two milliseconds where memory moves 4 TB/s, in which a host issues some hundred kernels.
const HEAD_START_COPIES: usize = 4;

/// Of a sample.
const COPIES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_is_done() {
        let cuda = Cuda::open(firstlight_stand_in::device()).unwrap();
        let limits = Limits::new(&cuda, 1 << 16).unwrap();
        assert!(limits.copy_rate().unwrap() > 0.0);
        assert!(limits.matrix_rate(2, 3).unwrap() > 0.0);
        for memory in [HostMemory::Pageable, HostMemory::Pinned] {
            assert!(limits.from_host(memory).unwrap().copied > Duration::ZERO);
        }
        let mut ran = false;
        limits
            .timed(|| {
                ran = true;
                limits.copy()
            })
            .unwrap();
        assert!(ran);
    }
}
