//! What the control groups leave of their memory that this process is in.
//!
//! /proc/self/cgroup names the group; what bounds it may be the group itself or any that it is in, of which a container
//! may see all, or its own alone, as the root of what is mounted. Pages of files are counted as used, but are given
//! back when memory is asked for.

use std::fs;
use std::path::Path;

/// The least that is left by any of them; nothing where none has a limit.
pub(crate) fn left_bytes() -> Option<u64> {
    let membership = fs::read_to_string("/proc/self/cgroup").ok()?;
    left_in(Path::new("/sys/fs/cgroup"), &membership)
}

fn left_in(mounted: &Path, membership: &str) -> Option<u64> {
    let lefts = membership.lines().filter_map(|line| {
        // Such as `0::/group`, or `4:memory:/group` in the first version.
        let (_, line) = line.split_once(':')?;
        let (controllers, group) = line.split_once(':')?;
        let (root, files) = match controllers {
            "" => (mounted.to_owned(), &SECOND),
            _ if controllers.split(',').any(|name| name == "memory") => {
                (mounted.join("memory"), &FIRST)
            }
            _ => return None,
        };
        let groups = Path::new(group.trim_start_matches('/')).ancestors();
        groups.filter_map(|group| files.left_bytes(&root.join(group))).min()
    });
    lefts.min()
}

/// How one version calls its files.
struct Files {
    limit: &'static str,
    used: &'static str,
    /// Fields of memory.stat: pages of files, which the kernel can take back.
    cached: [&'static str; 2],
}

const SECOND: Files = Files {
    limit: "memory.max",
    used: "memory.current",
    cached: ["inactive_file ", "active_file "],
};

const FIRST: Files = Files {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    cached: ["total_inactive_file ", "total_active_file "],
};

/// The first version writes so much and more where there is no limit.
const NO_LIMIT: u64 = 1 << 62;

impl Files {
    /// What `group` leaves, where it has a limit.
    fn left_bytes(&self, group: &Path) -> Option<u64> {
        let read = |name: &str| fs::read_to_string(group.join(name)).ok();
        let limit: u64 = read(self.limit)?.trim().parse().ok()?;
        if limit >= NO_LIMIT {
            return None;
        }
        let used: u64 = read(self.used)?.trim().parse().ok()?;
        let stat = read("memory.stat").unwrap_or_default();
        let value = |name: &&str| {
            let line = stat.lines().find_map(|line| line.strip_prefix(*name))?;
            line.trim().parse::<u64>().ok()
        };
        let given_back: u64 = self.cached.iter().filter_map(value).sum();
        Some(limit.saturating_sub(used.saturating_sub(given_back)))
    }
}

#[cfg(test)]
mod tests {
    use tempfile::{TempDir, tempdir};

    use super::*;

    /// A folder of groups with their files.
    fn mounted(files: &[(&str, &str)]) -> TempDir {
        let folder = tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn a_limit_leaves_what_is_not_used_but_for_pages_of_files() {
        let folder = mounted(&[
            ("a/memory.max", "1000\n"),
            ("a/memory.current", "700\n"),
            ("a/memory.stat", "anon 5\ninactive_file 30\nactive_file 12\n"),
        ]);
        assert_eq!(left_in(folder.path(), "0::/a\n"), Some(342));
        assert_eq!(left_in(folder.path(), "0::/a/b\n"), Some(342), "it is in it");
        assert_eq!(left_in(folder.path(), "0::/\n"), None);
    }

    #[test]
    fn of_several_limits_the_one_that_leaves_least_counts() {
        let folder = mounted(&[
            ("memory.max", "400"),
            ("memory.current", "300"),
            ("a/memory.max", "1000"),
            ("a/memory.current", "100"),
            ("a/b/memory.max", "max\n"),
        ]);
        assert_eq!(left_in(folder.path(), "0::/a/b\n"), Some(100));
    }

    #[test]
    fn the_first_version_has_a_tree_and_names_of_its_own() {
        let folder = mounted(&[
            ("memory/a/memory.limit_in_bytes", "1000"),
            ("memory/a/memory.usage_in_bytes", "900"),
            ("memory/a/memory.stat", "inactive_file 1\ntotal_inactive_file 50\n"),
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ]);
        let membership = "5:cpu,cpuacct:/\n4:memory:/a\n0::/\n";
        assert_eq!(left_in(folder.path(), membership), Some(150));
        assert_eq!(left_in(folder.path(), "4:memory:/\n"), None, "no limit");
        // As a container sees it that is not told where its group lies.
        assert_eq!(left_in(&folder.path().join("memory"), "4:memory:/elsewhere\n"), None);
    }
}
