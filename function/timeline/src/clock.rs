//! The monotonic clock that a parent and the process it spawns share, and moments on it.

use rustix::time::{ClockId, clock_gettime};

/// A moment of a cold start: nanoseconds since its t0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At(u64);

impl At {
    /// The moment `ns` nanoseconds after t0.
    #[must_use]
    pub const fn from_ns(ns: u64) -> Self {
        Self(ns)
    }

    /// Nanoseconds since t0.
    #[must_use]
    pub const fn as_ns(self) -> u64 {
        self.0
    }

    /// Milliseconds since t0, to the microsecond: three decimals survive every printer and parser.
    #[must_use]
    pub fn as_ms(self) -> f64 {
        (self.0 as f64 / 1e3).round() / 1e3
    }
}

/// Milliseconds of CPU time that this process has used, all its threads together.
pub(crate) fn process_cpu_ms() -> u64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(used.tv_sec).expect("a process's time starts at zero");
    seconds * 1000 + u64::try_from(used.tv_nsec).expect("as above") / 1_000_000
}

/// `CLOCK_MONOTONIC` in nanoseconds: the same clock in every process of a machine.
pub(crate) fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).expect("a monotonic clock starts at zero");
    let ns = u64::try_from(now.tv_nsec).expect("nanoseconds of a second are not negative");
    seconds * 1_000_000_000 + ns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_keep_microseconds_and_no_more() {
        assert_eq!(At::from_ns(1_234_567).as_ms().to_string(), "1.235");
        assert_eq!(At::from_ns(0).as_ms().to_string(), "0");
    }

    #[test]
    fn the_clock_does_not_go_back() {
        let first = monotonic_ns();
        assert!(first > 0 && monotonic_ns() >= first);
    }
}
