//! What a model needs and what this process may use, so that a model that does not fit is refused before it is fetched,
//! and not killed after.

use std::fmt;
use std::fs;
use std::sync::OnceLock;

use crate::control_group;
use crate::failure::Failure;

/// What the platform gives to this process, where it says so.
static LIMIT_BYTES: OnceLock<u64> = OnceLock::new();

/// The platform gives so much to this process. Said once, at the start.
pub(crate) fn limit(bytes: u64) {
    LIMIT_BYTES.get_or_init(|| bytes);
}

/// What is held at once while a model answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Needs {
    pub(crate) weight_bytes: u64,
    /// Keys and values of `positions`.
    pub(crate) cache_bytes: u64,
    pub(crate) positions: usize,
    /// Intermediate results.
    pub(crate) result_bytes: u64,
}

impl Needs {
    /// Itself, where it fits the bytes that are free in `place`, or where their number is not known.
    pub(crate) fn check(self, free_bytes: Option<u64>, place: &str) -> Result<Self, Failure> {
        match free_bytes {
            Some(free_bytes) if free_bytes < self.bytes() => {
                Err(Failure::Memory { needs: self, free_bytes, place: place.to_owned() })
            }
            _ => Ok(self),
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.weight_bytes.saturating_add(self.cache_bytes).saturating_add(self.result_bytes)
    }
}

impl fmt::Display for Needs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { weight_bytes, cache_bytes, positions, result_bytes } = self;
        write!(
            f,
            "{weight_bytes} for weights, {cache_bytes} for keys and values of {positions} positions, {result_bytes} for \
             intermediate results"
        )
    }
}

/// Bytes that can still be used: what the machine has to give, what control groups and what the platform allow,
/// whichever is least. Nothing where none can be known.
pub(crate) fn available_bytes() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.and_then(|text| kib(&text, "MemAvailable:"));
    [machine, control_group::left_bytes(), platform()].into_iter().flatten().min()
}

fn platform() -> Option<u64> {
    let resident = kib(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")?;
    Some(LIMIT_BYTES.get()?.saturating_sub(resident))
}

/// The most memory that this process has had resident at once, so far.
pub(crate) fn peak_bytes() -> Option<u64> {
    kib(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// A line of /proc such as `MemAvailable:  2048 kB`.
fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_by_a_byte_is_refused_with_what_is_needed_for_what() {
        let needs =
            Needs { weight_bytes: 100, cache_bytes: 20, positions: 7, result_bytes: u64::MAX };
        assert_eq!(needs.bytes(), u64::MAX);
        let needs = Needs { result_bytes: 3, ..needs };
        assert!(needs.check(Some(123), "memory").is_ok());
        assert!(needs.check(None, "memory").is_ok());
        let message = needs.check(Some(122), "a place").unwrap_err().to_string();
        for part in [
            "123 bytes",
            "a place",
            "122",
            "100 for weights",
            "20 for keys",
            "7 positions",
            "3 for",
        ] {
            assert!(message.contains(part), "{part:?} is missing in: {message}");
        }
        assert!(message.contains("\nhint: ") && message.contains("--max-tokens"), "{message}");
    }

    #[test]
    fn meminfo_is_read_in_bytes() {
        let text = "MemTotal:  100 kB\nMemAvailable:    2048 kB\n";
        assert_eq!(kib(text, "MemAvailable:"), Some(2 << 20));
        assert_eq!(kib(text, "VmHWM:"), None);
        assert!(peak_bytes().is_some_and(|bytes| bytes > 0));
    }
}
