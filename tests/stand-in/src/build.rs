//! The library is built by g++ into the target folder. Each object, and the library itself, has a sum in its name of
//! all that goes into it: sources, headers, commands. What has been built is never built again, and a changed source
//! can never meet an old library.
//!
//! Several test processes may want it at once: the first takes a lock on a file, the others wait and find it built.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, thread};

/// Whether each load and store of a kernel is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checks {
    /// All of them: what the tests use.
    On,
    /// None; calls, copies and streams are checked all the same. Several times faster, for large models.
    Off,
}

/// The folder and name of the library, built if need be.
///
/// A process that finds its libcuda by `LD_LIBRARY_PATH` is given the folder: every name that cudarc tries first is
/// in it.
///
/// # Panics
///
/// If g++ is missing, or does not accept a source: the message is g++'s.
#[must_use]
pub fn library(checks: Checks) -> PathBuf {
    static BUILT: [OnceLock<PathBuf>; 2] = [OnceLock::new(), OnceLock::new()];
    BUILT[usize::from(checks == Checks::On)].get_or_init(|| Build::new(checks).library()).clone()
}

struct Build {
    checks: Checks,
    units: Vec<Unit>,
    /// Of all objects and libraries.
    folder: PathBuf,
}

/// A file that g++ compiles: of the driver in C++, or of kernels.
struct Unit {
    source: PathBuf,
    object: PathBuf,
}

impl Build {
    fn new(checks: Checks) -> Self {
        let folder = target_folder().join("stand-in");
        let mut files = files_in(&manifest("driver"));
        files.extend(files_in(&manifest("kernels")));
        files.extend(files_in(&function_kernels()));
        files.extend(files_in(&manifest("../../kernels/cuda/limits")));
        let headers = Sum::new(checks).with_files(files.iter().filter(|file| !is_unit(file)));
        let sources = files.iter().filter(|file| is_unit(file) && !is_collection(file));
        let units = sources.map(|source| Unit::new(source, &headers, &folder)).collect();
        Self { checks, units, folder }
    }

    fn library(&self) -> PathBuf {
        let objects = self.units.iter().map(|unit| &unit.object);
        let folder = self.folder.join(Sum::new(self.checks).with_names(objects).to_string());
        let library = folder.join("libcuda.so.1");
        fs::create_dir_all(&folder).expect("the target folder can be written");
        let lock = File::create(self.folder.join("lock")).expect("it is our folder");
        lock.lock().expect("the target folder's file system knows locks");
        if !library.exists() {
            self.compile_all();
            self.link(&library);
        }
        library
    }

    /// One g++ a processor, each with its share of the units.
    fn compile_all(&self) {
        let units: Vec<_> = self.units.iter().filter(|unit| !unit.object.exists()).collect();
        let workers = thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| {
            for worker in 0..workers {
                let share = units.iter().skip(worker).step_by(workers);
                scope.spawn(move || share.for_each(|unit| self.compile(unit)));
            }
        });
    }

    fn compile(&self, unit: &Unit) {
        let fresh = unit.object.with_extension("fresh");
        let mut compiler = self.compiler();
        if has_extension(&unit.source, "cu") {
            compiler.args(self.instrumentation()).arg("-Wno-unknown-pragmas").arg(self.wrap(unit));
        } else {
            compiler.args(["-flto", "-Wall", "-Wextra"]).arg(&unit.source);
        }
        run(compiler.args(["-c", "-o"]).arg(&fresh));
        fs::rename(fresh, &unit.object).expect("it is our folder");
    }

    /// A `.cu` file and, behind it, an `ENLIST` for each of its kernels, which macros may have named: they are read
    /// from the preprocessed text.
    fn wrap(&self, unit: &Unit) -> PathBuf {
        let mut preprocessor = self.compiler();
        preprocessor.args(["-x", "c++", "-E", "-P"]).args(shim()).arg(&unit.source);
        let mut wrapped =
            format!("#include \"{}\"\n#include \"enlist.h\"\n", unit.source.display());
        for kernel in kernels_in(&run(&mut preprocessor)) {
            writeln!(wrapped, "ENLIST({kernel})").expect("a string takes all");
        }
        let path = unit.object.with_extension("cpp");
        fs::write(&path, wrapped).expect("it is our folder");
        path
    }

    fn compiler(&self) -> Command {
        let mut compiler = Command::new("g++");
        compiler
            .args(["-std=c++17", "-O2", "-g1", "-fPIC", "-fvisibility=hidden", "-I"])
            .arg(manifest("driver"));
        if self.checks == Checks::Off {
            compiler.arg("-DSTAND_IN_UNCHECKED");
        }
        compiler
    }

    /// The sanitizers' calls, which `hooks.cpp` answers. Vector loads would be checked as one; scalar ones are simpler.
    fn instrumentation(&self) -> impl Iterator<Item = String> {
        let mut arguments = shim();
        if self.checks == Checks::On {
            arguments.extend([
                "-fsanitize=thread,alignment,bounds".to_owned(),
                "--param=tsan-instrument-func-entry-exit=0".to_owned(),
                "-fno-tree-vectorize".to_owned(),
            ]);
        }
        arguments.into_iter()
    }

    /// cudarc tries `libcuda.so` first, and takes `libcuda.so.1` last: both must be this one. The sanitizers' own
    /// libraries stay out, because the compiler is not told of them here.
    fn link(&self, library: &Path) {
        let fresh = library.with_extension("fresh");
        let mut linker = Command::new("g++");
        linker.args(["-shared", "-O2", "-flto", "-Wl,-soname,libcuda.so.1", "-Wl,-z,defs"]);
        linker.args(self.units.iter().map(|unit| &unit.object)).arg("-ldl");
        run(linker.arg("-o").arg(&fresh));
        let mut linker = Command::new("g++");
        linker.args(["-shared", "-Wl,-soname,libcuda.so", "-Wl,--no-as-needed"]).arg(&fresh);
        run(linker.arg("-o").arg(library.with_file_name("libcuda.so")));
        fs::rename(fresh, library).expect("it is our folder");
    }
}

impl Unit {
    fn new(source: &Path, headers: &Sum, folder: &Path) -> Self {
        let sum = headers.clone().with_files([source]);
        let name = source.file_name().expect("it is a file").to_string_lossy();
        Self { source: source.to_owned(), object: folder.join(format!("{name}.{sum}.o")) }
    }
}

/// Of what goes into a file that g++ writes.
#[derive(Clone)]
struct Sum(DefaultHasher);

impl Sum {
    fn new(checks: Checks) -> Self {
        let mut hasher = DefaultHasher::new();
        (include_str!("build.rs"), checks == Checks::On).hash(&mut hasher);
        Self(hasher)
    }

    fn with_files(mut self, files: impl IntoIterator<Item = impl AsRef<Path>>) -> Self {
        for file in files {
            fs::read(file).expect("it was listed").hash(&mut self.0);
        }
        self
    }

    fn with_names(mut self, files: impl IntoIterator<Item = impl AsRef<Path>>) -> Self {
        files.into_iter().for_each(|file| file.as_ref().hash(&mut self.0));
        self
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0.finish())
    }
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| {
        panic!("the stand-in for libcuda is built by g++, which cannot be run: {error}")
    });
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}:\n{errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn shim() -> Vec<String> {
    let shim = manifest("driver/shim.h");
    vec!["-include".to_owned(), shim.display().to_string()]
}

/// What `KERNEL` of the shim has left.
fn kernels_in(preprocessed: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let behind = preprocessed.split("stand_in_kernel_").skip(1);
    behind.map(|text| text.chars().take_while(|&c| is_name(c)).collect()).collect()
}

/// Those of the function; or a changed copy, of which the tests are to find out that it is wrong.
fn function_kernels() -> PathBuf {
    env::var_os("FIRSTLIGHT_STAND_IN_KERNELS")
        .map_or_else(|| manifest("../../kernels/cuda"), PathBuf::from)
}

fn is_unit(file: &Path) -> bool {
    ["cpp", "cu"].iter().any(|extension| has_extension(file, extension))
}

/// Whether it only brings other units together, for nvcc.
fn is_collection(unit: &Path) -> bool {
    let text = fs::read_to_string(unit).expect("it was listed");
    text.lines().any(|line| line.starts_with("#include") && line.contains(".cu\""))
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.expect("it is ours").path()).collect();
    files.retain(|file| {
        ["cpp", "h", "cu", "cuh"].iter().any(|extension| has_extension(file, extension))
    });
    files.sort();
    files
}

fn has_extension(file: &Path, extension: &str) -> bool {
    file.extension().is_some_and(|found| found == extension)
}

fn manifest(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// `target/debug` of the process that runs, or wherever else it lies: a test binary is in `deps` below.
fn target_folder() -> PathBuf {
    let binary = env::current_exe().expect("it runs");
    let folder = binary.parent().expect("it lies in a folder");
    if folder.ends_with("deps") {
        folder.parent().expect("`deps` is below").to_owned()
    } else {
        folder.to_owned()
    }
}
