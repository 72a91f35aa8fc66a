//! What a process holds, as the kernel sees it: threads by their names, open files by what they are, memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A moment of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Census {
    /// How many there are of each name.
    pub(crate) threads: BTreeMap<String, usize>,
    /// Sockets, pipes and the like count by their kind, other files by their paths.
    pub(crate) files: BTreeMap<String, usize>,
}

impl Census {
    pub(crate) fn of(process: u32) -> Self {
        let name = |task: &Path| fs::read_to_string(task.join("comm")).ok();
        let target = |file: &Path| fs::read_link(file).ok();
        Self {
            threads: counted(entries(process, "task").filter_map(|task| name(&task))),
            files: counted(
                entries(process, "fd").filter_map(|file| target(&file)).map(|it| kind(&it)),
            ),
        }
    }
}

/// Bytes that are resident now.
pub(crate) fn resident_bytes(process: u32) -> u64 {
    status_bytes(process, "VmRSS:")
}

/// The most bytes that were resident at once so far.
pub(crate) fn peak_bytes(process: u32) -> u64 {
    status_bytes(process, "VmHWM:")
}

fn status_bytes(process: u32, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel tells");
    let kib = line.trim().strip_suffix("kB").expect("it is in kB").trim();
    kib.parse::<u64>().expect("a number") * 1024
}

/// What comes and goes while it is listed is left out.
fn entries(process: u32, folder: &str) -> impl Iterator<Item = PathBuf> {
    let folder = fs::read_dir(format!("/proc/{process}/{folder}")).expect("it runs");
    folder.flatten().map(|entry| entry.path())
}

/// `socket:[12345]` is a socket.
fn kind(target: &Path) -> String {
    let target = target.to_string_lossy();
    let kind =
        target.split_once(":[").filter(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()));
    kind.map_or(target.as_ref(), |(kind, _)| kind).to_owned()
}

fn counted(names: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for name in names {
        *counts.entry(name.trim_end().to_owned()).or_default() += 1;
    }
    counts
}
