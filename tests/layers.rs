//! The architecture, as a test: who may import whom, which crate alone names what, where `unsafe` may stand.
//!
//! The tables below are the truth of today, not a wish: an arrow more or less fails, so that a change of the
//! architecture is made here, on purpose, and seen in review.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Each member: what it imports of the others, and what its tests import besides.
const ARROWS: &[(&str, &[&str], &[&str])] = &[
    ("bucket", &["timeline"], &[]),
    ("device", &["kernels"], &["stand-in"]),
    (
        "firstlight",
        &["bucket", "device", "generate", "load", "model", "plan", "serve", "store", "timeline"],
        &["bucket", "kernels", "stand-in"],
    ),
    ("generate", &["model"], &[]),
    ("kernels", &[], &[]),
    ("load", &["device", "plan", "store", "timeline"], &[]),
    ("model", &["device"], &["stand-in"]),
    ("plan", &[], &[]),
    ("serve", &["generate", "timeline"], &["model"]),
    ("stand-in", &[], &[]),
    ("store", &["timeline"], &["bucket"]),
    ("timeline", &[], &[]),
];

/// External crates, by name or by `prefix*`, and the only members that may import them (tests may import any).
const HOMES: &[(&str, &[&str])] = &[
    // The S3 and HTTP clients.
    ("aws-*", &["store"]),
    ("httparse", &["store"]),
    // The S3 server, and HTTPS for tests of clients; the server of the model.
    ("hyper*", &["bucket", "serve"]),
    ("axum*", &["serve"]),
    ("prometheus*", &["serve"]),
    ("lambda_runtime*", &["serve"]),
    ("s3s*", &["bucket"]),
    ("rustls", &["bucket", "store"]),
    // The format of the weights; whoever gets tensors gets them checked.
    ("safetensors", &["plan"]),
    // Text.
    ("tokenizers", &["generate"]),
    ("minijinja*", &["generate"]),
    ("rand*", &["generate"]),
    // Arguments and the terminal.
    ("clap", &["firstlight"]),
    ("console", &["firstlight"]),
    ("indicatif", &["firstlight"]),
    // Async ends where planning, memory and arithmetic begin.
    ("tokio*", &["bucket", "firstlight", "load", "serve", "store"]),
    ("futures*", &["bucket", "store"]),
    ("async-trait", &["bucket", "firstlight", "serve", "store"]),
    // The operating system: memory of the weights, clocks of the timeline, reads past the page cache; always by
    // rustix's safe calls, but for the handler of a signal. (The bucket imports nothing of libc: it turns a feature on.)
    ("libc", &["bucket", "device"]),
    ("memmap2", &["bucket", "kernels", "store"]),
    ("rustix", &["device", "load", "timeline"]),
    // The driver of the GPU.
    ("cudarc", &["device"]),
    // Libraries that are opened at run time: by cudarc, and the stand-in for libcuda by its tests.
    ("libloading", &["stand-in"]),
];

/// The members where `unsafe` is at home. All others forbid it, so that nobody can allow it again further down,
const UNSAFE: &[&str] = &["device", "kernels", "stand-in"];

/// but for these, with one block each: mapping a file has no safe form.
const ONE_UNSAFE_BLOCK: &[&str] = &["bucket", "store"];

/// The top level of the repository, dotfiles apart.
const TOP_LEVEL: &[&str] = &[
    "benches",
    "function",
    "infra",
    "kernels",
    "tests",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "clippy.toml",
    "deny.toml",
    "rustfmt.toml",
];

#[test]
fn the_arrows_between_the_crates_are_those_of_the_table() {
    let members = members();
    let names: Vec<_> = members.iter().map(|member| member.name.as_str()).collect();
    let expected: Vec<_> = ARROWS.iter().map(|(name, ..)| *name).collect();
    assert_eq!(names, expected, "a crate more or less belongs into ARROWS");
    for (member, (name, imports, in_tests)) in members.iter().zip(ARROWS) {
        assert_eq!(member.siblings(Use::Code), as_set(imports), "what `{name}` imports");
        assert_eq!(
            member.siblings(Use::Tests),
            as_set(in_tests),
            "what the tests of `{name}` import"
        );
    }
}

#[test]
fn external_crates_stay_in_their_homes() {
    for member in members() {
        for dependency in member.dependencies.iter().filter(|d| d.used_by == Use::Code) {
            let homes = HOMES.iter().find(|(pattern, _)| matches(pattern, &dependency.name));
            if let Some((pattern, homes)) = homes {
                let name = member.name.as_str();
                assert!(
                    homes.contains(&name),
                    "`{name}` imports `{pattern}`, whose homes are {homes:?}"
                );
            }
        }
    }
}

#[test]
fn unsafe_code_is_forbidden_but_where_it_is_at_home() {
    for member in members() {
        let (name, root) = (member.name.as_str(), &member.root);
        if ONE_UNSAFE_BLOCK.contains(&name) {
            let code = code_below(root.parent().expect("a file lies in a folder"));
            assert_eq!(code.matches("unsafe {").count(), 1, "blocks of `unsafe` in `{name}`");
            continue;
        }
        let root = fs::read_to_string(root).expect("cargo knows it");
        let forbids = root.lines().any(|line| line == "#![forbid(unsafe_code)]");
        assert_eq!(forbids, !UNSAFE.contains(&name), "`#![forbid(unsafe_code)]` in `{name}`");
    }
}

#[test]
fn the_top_level_is_fixed() {
    let ignored = fs::read_to_string(repository().join(".gitignore")).unwrap_or_default();
    for entry in fs::read_dir(repository()).expect("it is this repository") {
        let name = entry.expect("it is this repository").file_name().into_string().expect("UTF-8");
        let known = name.starts_with('.')
            || TOP_LEVEL.contains(&name.as_str())
            || ignored.lines().any(|line| line == format!("/{name}"));
        assert!(known, "`{name}` has no place at the top level: see `TOP_LEVEL`");
    }
}

/// A crate of the workspace.
struct Member {
    /// Without `firstlight-`.
    name: String,
    /// Its `lib.rs` or `main.rs`.
    root: PathBuf,
    dependencies: BTreeSet<Dependency>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Dependency {
    name: String,
    used_by: Use,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    Code,
    Tests,
}

impl Member {
    fn new(package: &Value) -> Self {
        let dependencies = package["dependencies"].as_array().expect("cargo says so");
        Self {
            name: short(text(&package["name"])),
            root: code_root(package),
            dependencies: dependencies.iter().map(Dependency::new).collect(),
        }
    }

    fn siblings(&self, used_by: Use) -> BTreeSet<String> {
        self.dependencies
            .iter()
            .filter(|dependency| dependency.used_by == used_by)
            .filter(|dependency| dependency.name.starts_with("firstlight-"))
            .map(|dependency| short(&dependency.name))
            .collect()
    }
}

impl Dependency {
    /// Of a build script, too, the imports count as the crate's own.
    fn new(dependency: &Value) -> Self {
        let used_by = if dependency["kind"] == "dev" { Use::Tests } else { Use::Code };
        Self { name: text(&dependency["name"]).to_owned(), used_by }
    }
}

/// All of them, by name.
fn members() -> Vec<Member> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(repository())
        .output()
        .expect("cargo runs this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    let packages = metadata["packages"].as_array().expect("cargo says so");
    let mut members: Vec<_> = packages.iter().map(Member::new).collect();
    members.sort_by(|a, b| a.name.cmp(&b.name));
    members
}

fn code_root(package: &Value) -> PathBuf {
    let targets = package["targets"].as_array().expect("cargo says so");
    let code =
        targets.iter().find(|target| target["kind"][0] == "lib" || target["kind"][0] == "bin");
    PathBuf::from(text(&code.expect("every member has code")["src_path"]))
}

/// The text of all files of `folder`, and of the folders in it.
fn code_below(folder: &Path) -> String {
    let entries = fs::read_dir(folder).expect("cargo knows it");
    entries.map(|entry| code_at(&entry.expect("it is there").path())).collect()
}

fn code_at(path: &Path) -> String {
    if path.is_dir() { code_below(path) } else { fs::read_to_string(path).expect("code is UTF-8") }
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    }
}

fn short(name: &str) -> String {
    name.strip_prefix("firstlight-").unwrap_or(name).to_owned()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("cargo says so")
}

fn as_set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
