//! What this process may use, so that a model that does not fit is refused before it is fetched, and not killed after.

use std::fs;

/// Bytes that can still be used: what the machine has to give and what the control group allows, whichever is less.
/// Nothing where neither can be known.
pub(crate) fn available_bytes() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.and_then(|text| kib(&text, "MemAvailable:"));
    [machine, control_group()].into_iter().flatten().min()
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

/// What version 2 leaves, as a container sees its own group. Pages of files are counted as used there, but are given
/// back when memory is asked for.
fn control_group() -> Option<u64> {
    let read = |name: &str| fs::read_to_string(format!("/sys/fs/cgroup/memory.{name}")).ok();
    let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
    let used = number("current")?.saturating_sub(file_bytes(&read("stat")?));
    Some(number("max")?.saturating_sub(used))
}

/// The pages of files in memory.stat.
fn file_bytes(stat: &str) -> u64 {
    let value = |name: &str| {
        let line = stat.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse::<u64>().ok()
    };
    ["inactive_file ", "active_file "].into_iter().filter_map(value).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_read_in_bytes() {
        let text = "MemTotal:  100 kB\nMemAvailable:    2048 kB\n";
        assert_eq!(kib(text, "MemAvailable:"), Some(2 << 20));
        assert_eq!(kib(text, "VmHWM:"), None);
        assert_eq!(file_bytes("anon 5\ninactive_file 30\nactive_file 12\n"), 42);
        assert!(peak_bytes().is_some_and(|bytes| bytes > 0));
    }
}
