//! Where and of what it was measured.

use std::fs;
use std::process::Command;

/// The processor, how many of it this process may use, and the kernel: `AMD EPYC, 2 cores, Linux 6.18`.
pub(crate) fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let processor = model.map_or(std::env::consts::ARCH, |(_, name)| name.trim());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{processor}, {cores} cores, {}", said("uname", &["-sr"]))
}

/// The commit that is checked out, and whether a tracked file is not as it is in there.
pub(crate) fn commit() -> (String, bool) {
    let git = ["-C", env!("CARGO_MANIFEST_DIR")];
    let changes = said("git", &[&git[..], &["status", "--porcelain", "-uno"]].concat());
    (said("git", &[&git[..], &["rev-parse", "--short", "HEAD"]].concat()), !changes.is_empty())
}

/// `2026-11-22 20:14 UTC`.
pub(crate) fn date() -> String {
    said("date", &["-u", "+%Y-%m-%d %H:%M UTC"])
}

/// What a program says on one line; nothing where there is none.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}
