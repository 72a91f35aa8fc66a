//! The machine code of the CUDA kernels: one fatbin, `$OUT_DIR/kernels.fatbin`.
//!
//! As a rule that is a copy of the checked-in `cuda/kernels.fatbin`, for which nothing needs to be
//! installed. Beside it lies the digest of the sources that it was made from, and the version of
//! the nvcc that made it:
//!
//! 1. where `NVCC` names a compiler, that one is used: whoever sets it wants its code;
//! 2. otherwise, where the sources have that digest, the checked-in file is used, and no compiler
//!    is looked for;
//! 3. otherwise somebody has changed a kernel, and the first nvcc of these is used: `CUDA_HOME`,
//!    `PATH`, the wheels of NVIDIA below `CUDA_WHEELS`, those beside the active Python. One of
//!    another version may give slower code or none for the newest processors, which is said in a
//!    warning;
//! 4. without any, the checked-in file is used, with a warning that it is of older sources.
//!
//! `kernels/check-cuda` makes the checked-in file, and sees that it is what the sources give.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    for watched in ["build.rs", "cuda"] {
        println!("cargo::rerun-if-changed={watched}");
    }
    for variable in ["NVCC", "CUDA_HOME", "CUDA_WHEELS"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let digest = digest_of_sources();
    println!("cargo::rustc-env=FIRSTLIGHT_CUDA_SOURCES={digest}");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("kernels.fatbin");
    match compiler(&digest) {
        Some(nvcc) => {
            compile(&nvcc, &out);
            let made_of = format!("{digest} {}\n", version(&nvcc));
            fs::write(out.with_extension("fatbin.txt"), made_of).expect("cargo made the folder");
        }
        None => {
            fs::copy("cuda/kernels.fatbin", &out).expect("it is checked in");
        }
    }
}

/// The nvcc to be run, if one is.
fn compiler(digest: &str) -> Option<PathBuf> {
    if let Some(nvcc) = env::var_os("NVCC") {
        return Some(nvcc.into());
    }
    let made_from = fs::read_to_string("cuda/kernels.fatbin.txt").expect("it is checked in");
    let (made_from, made_by) = made_from.trim().split_once(' ').expect("a digest and a version");
    if made_from == digest {
        return None;
    }
    let nvcc = places().into_iter().find(|nvcc| nvcc.is_file());
    match nvcc.as_deref().map(version) {
        None => {
            warn("kernels/cuda has changed, and there is no nvcc: the kernels are the old ones");
        }
        Some(version) if version != made_by => {
            warn(&format!("the kernels are compiled by nvcc {version}, not {made_by}"));
        }
        Some(_) => {}
    }
    nvcc
}

/// Where an nvcc may be, the likeliest first.
fn places() -> Vec<PathBuf> {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty());
    let home = variable("CUDA_HOME").map(|home| Path::new(&home).join("bin"));
    let path = variable("PATH").unwrap_or_default();
    let wheels = variable("CUDA_WHEELS").map(PathBuf::from);
    let python = variable("VIRTUAL_ENV").or(variable("CONDA_PREFIX"));
    let beside_python = python.iter().flat_map(|prefix| site_packages(Path::new(prefix)));
    let packages = wheels.into_iter().chain(beside_python);
    home.into_iter()
        .chain(env::split_paths(&path))
        .chain(packages.map(|packages| packages.join("nvidia/cu13/bin")))
        .map(|folder| folder.join("nvcc"))
        .collect()
}

/// `lib/python3.*/site-packages`
fn site_packages(prefix: &Path) -> Vec<PathBuf> {
    let versions = fs::read_dir(prefix.join("lib")).into_iter().flatten().flatten();
    versions.map(|version| version.path().join("site-packages")).collect()
}

/// `13.0.88`, or what it says instead.
fn version(nvcc: &Path) -> String {
    let output = Command::new(nvcc).arg("--version").output();
    let output = output.map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&output);
    let version = text.rsplit_once(", V").and_then(|(_, rest)| rest.split_whitespace().next());
    version.unwrap_or("of no version").to_owned()
}

/// Paths are relative to the folder of the sources, so that none of this machine gets into the
/// code.
fn compile(nvcc: &Path, out: &Path) {
    let mut command = Command::new(nvcc);
    command.current_dir("cuda").args(flags()).arg("--threads=0").arg("-o").arg(out);
    match command.arg("kernels.cu").output() {
        Err(error) => fail(&format!("`{}`: {error}", nvcc.display())),
        Ok(output) if !output.status.success() => fail(&String::from_utf8_lossy(&output.stderr)),
        Ok(_) => {}
    }
}

/// What the code depends on besides its sources.
fn flags() -> Vec<String> {
    // Quotients and roots to two units in the last place, in a few instructions.
    let code = ["-std=c++17", "-O3", "-prec-div=false", "-prec-sqrt=false"];
    // Compressed it is a fifth of the size; the driver unpacks it once a process.
    let form = ["-fatbin", "--compress-mode=size"];
    let mut flags: Vec<_> = code.iter().chain(&form).map(|&flag| flag.to_owned()).collect();
    for architecture in ARCHITECTURES {
        flags.push(format!("-gencode=arch=compute_{architecture},code=sm_{architecture}"));
    }
    flags.push(format!("-gencode=arch=compute_{PTX},code=compute_{PTX}"));
    flags
}

/// FNV-1a, 64 bits, over the flags and the names and contents of all sources: it tells changes,
/// not attacks.
fn digest_of_sources() -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |bytes: &[u8]| {
        for byte in bytes.iter().chain(&[0]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for flag in flags() {
        add(flag.as_bytes());
    }
    for path in sources() {
        add(path.file_name().expect("it was listed").as_encoded_bytes());
        add(&fs::read(&path).expect("it was listed"));
    }
    format!("{hash:016x}")
}

/// What the fatbin is made from, in the order of their names.
fn sources() -> Vec<PathBuf> {
    let is_source = |path: &PathBuf| {
        let extension = path.extension().and_then(OsStr::to_str);
        matches!(extension, Some("cu" | "cuh"))
    };
    let folder = fs::read_dir("cuda").expect("it is beside this file");
    let mut sources: Vec<_> =
        folder.flatten().map(|entry| entry.path()).filter(is_source).collect();
    sources.sort();
    sources
}

fn warn(message: &str) {
    println!("cargo::warning={message}");
}

fn fail(message: &str) -> ! {
    for line in message.lines() {
        println!("cargo::error={line}");
    }
    std::process::exit(1);
}

include!("src/cuda/architectures.rs");
