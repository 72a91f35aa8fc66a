//! A device that is measured, beside what it can do at most.

use std::error::Error;
use std::time::Duration;

use firstlight_device::cuda::limits::Limits;
use firstlight_device::{Cuda, DType, Error as DeviceError};

use super::sizes::Sizes;

/// What every measurement needs.
pub(crate) struct Bench<'a> {
    pub(crate) cuda: &'a Cuda,
    pub(crate) sizes: &'a Sizes,
    limits: Limits<'a>,
}

/// Whatever went wrong ends a part.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// A GPU as the program opens it for such weights.
pub(crate) fn open(ordinal: usize) -> Result<Cuda> {
    Ok(Cuda::open(ordinal)?.with_cache(DType::BF16))
}

impl<'a> Bench<'a> {
    pub(crate) fn new(cuda: &'a Cuda, sizes: &'a Sizes) -> Result<Self> {
        Ok(Self { cuda, sizes, limits: Limits::new(cuda, sizes.buffer_bytes)? })
    }

    pub(crate) fn limits(&self) -> &Limits<'a> {
        &self.limits
    }

    /// Bytes a second.
    pub(crate) fn copy_rate(&self) -> Result<f64> {
        self.best(|| self.limits.copy_rate())
    }

    /// Floating-point operations a second.
    pub(crate) fn matrix_rate(&self) -> Result<f64> {
        let (blocks, turns) = self.sizes.matrix;
        self.best(|| self.limits.matrix_rate(blocks, turns))
    }

    /// A limit is what was seen at best.
    fn best(&self, measure: impl Fn() -> std::result::Result<f64, DeviceError>) -> Result<f64> {
        let mut best = 0.0_f64;
        for _ in 0..self.sizes.samples {
            best = best.max(measure()?);
        }
        Ok(best)
    }

    /// What one `operation` takes the device: the median of samples, each long enough. They are numbered, so that they
    /// can take turns in what they read.
    pub(crate) fn time(
        &self,
        mut operation: impl FnMut(usize) -> std::result::Result<(), DeviceError>,
    ) -> Result<Duration> {
        let mut number = 0;
        let mut sample = |count: u32| {
            let issue = || {
                (0..count).try_for_each(|_| {
                    number += 1;
                    operation(number)
                })
            };
            self.limits.timed(issue).map(|took| took / count)
        };
        sample(1)?;
        let once = sample(2)?;
        let enough = self.sizes.sample.as_nanos() / once.as_nanos().max(1);
        let count = u32::try_from(enough).unwrap_or(u32::MAX).clamp(2, MOST_ISSUED);
        let samples = (0..self.sizes.samples).map(|_| sample(count));
        let mut samples: Vec<_> = samples.collect::<std::result::Result<_, _>>()?;
        samples.sort_unstable();
        Ok(samples[samples.len() / 2])
    }
}

/// A stream takes about a thousand before the host has to wait.
const MOST_ISSUED: u32 = 400;
