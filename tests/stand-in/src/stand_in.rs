//! The open library.

use std::env;
use std::ffi::{CString, c_char, c_int};
use std::fmt;
use std::sync::OnceLock;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

use crate::{Checks, library};

/// The stand-in, open in this process for as long as it runs.
#[derive(Debug)]
pub struct StandIn {
    library: Library,
}

/// When the work of streams runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schedule {
    /// As soon as it is enqueued.
    Eager,
    /// Not before the host waits for it: the adversary of whoever forgot to wait. The default.
    Lazy,
    /// Steps of streams, blocks of kernels and threads of blocks in an order of chance, from this seed.
    Random(u64),
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Eager => f.write_str("eager"),
            Self::Lazy => f.write_str("lazy"),
            Self::Random(seed) => write!(f, "random:{seed}"),
        }
    }
}

/// What was done since the start, or the last [`StandIn::reset`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Of the driver API.
    pub calls: u64,
    /// That have run.
    pub kernels: u64,
    /// That were launched.
    pub graphs: u64,
    /// Of the host's memory.
    pub copies_to_device: u64,
    /// To the host's memory.
    pub copies_from_device: u64,
    /// Within the device's memory.
    pub copies_on_device: u64,
    /// Of those copies.
    pub bytes_to_device: u64,
    /// Of those copies.
    pub bytes_from_device: u64,
    /// Copies of host memory that was neither allocated nor registered as pinned.
    pub pageable_copies: u64,
    /// Waits for all streams: those that are asked for, and those in `cuMemFree`, in copies without `Async`, ….
    pub device_synchronizes: u64,
    /// Waits for one stream.
    pub stream_synchronizes: u64,
    /// Waits for one event.
    pub event_synchronizes: u64,
    /// Pieces of work on the default stream.
    pub default_stream_work: u64,
}

/// Builds the library if need be, and makes it the libcuda of this process: with all checks, unless
/// `FIRSTLIGHT_STAND_IN_CHECKS` is `off`.
///
/// cudarc then finds it by the names that it looks for. Were another libcuda to be found by one of them, this panics:
/// no test runs on a real driver that believes to run on the stand-in.
///
/// # Panics
///
/// If it cannot be built, or if it would not be the one that is found.
pub fn load() -> &'static StandIn {
    static LOADED: OnceLock<StandIn> = OnceLock::new();
    LOADED.get_or_init(|| {
        let off = env::var("FIRSTLIGHT_STAND_IN_CHECKS").is_ok_and(|checks| checks == "off");
        StandIn::open(if off { Checks::Off } else { Checks::On })
    })
}

/// The number of the device that tests are to use: of the stand-in, which is loaded, unless `FIRSTLIGHT_TEST_GPU` says
/// which device of the machine's own driver it is to be. Then nothing is loaded.
///
/// # Panics
///
/// If the variable is no number, and where [`load`] does.
#[must_use]
pub fn device() -> usize {
    let Ok(gpu) = env::var("FIRSTLIGHT_TEST_GPU") else {
        load();
        return 0;
    };
    gpu.parse().unwrap_or_else(|_| panic!("FIRSTLIGHT_TEST_GPU: `{gpu}` is no number of a device"))
}

impl StandIn {
    fn open(checks: Checks) -> Self {
        let path = library(checks);
        let unversioned = path.with_file_name("libcuda.so");
        // SAFETY: both are the library that was just built; what it runs as it is opened registers kernels.
        let open = |path| unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) };
        let library = open(&path).unwrap_or_else(|error| panic!("`{}`: {error}", path.display()));
        let second = open(&unversioned).unwrap_or_else(|error| panic!("{error}"));
        // cudarc goes on to use it for as long as the process lives.
        std::mem::forget(second);
        Self::assert_it_is_found();
        Self { library }
    }

    /// By the first and by the last name that cudarc tries; the others are of other systems or versions.
    fn assert_it_is_found() {
        for name in ["libcuda.so", "libcuda.so.1"] {
            // SAFETY: a library that is found by this name is a libcuda, which cudarc would open as well.
            let found = unsafe { Library::open(Some(name), RTLD_NOW) };
            // SAFETY: only the address is looked at.
            let ours = found.is_ok_and(|found| unsafe {
                found.get::<*const ()>(b"stand_in_is_checked\0").is_ok()
            });
            assert!(
                ours,
                "`{name}` is not the stand-in: another libcuda was opened in this process"
            );
        }
    }

    /// Whether loads and stores of kernels are checked.
    #[must_use]
    pub fn is_checked(&self) -> bool {
        self.call::<extern "C" fn() -> c_int>("stand_in_is_checked")() == 1
    }

    /// When work runs from now on.
    pub fn schedule(&self, schedule: Schedule) {
        self.set(&format!("schedule={schedule}"));
    }

    /// The `nth` call of `call` from now (a name of cuda.h, such as `cuMemAlloc_v2`) answers with `status`.
    pub fn fail(&self, call: &str, nth: u32, status: u32) {
        self.set(&format!("fail={call}:{nth}:{status}"));
    }

    /// One setting, as `FIRSTLIGHT_STAND_IN` has them: `memory=BYTES`, `devices=N`, `driver=VERSION`,
    /// `architecture=NN`, and those that have a function here.
    ///
    /// # Panics
    ///
    /// If it is none of these.
    pub fn set(&self, setting: &str) {
        let text = CString::new(setting).expect("settings have no zeros");
        let set = self.call::<extern "C" fn(*const c_char) -> c_int>("stand_in_set");
        assert_eq!(set(text.as_ptr()), 1, "`{setting}` is no setting of the stand-in for libcuda");
    }

    /// What was done since the start or the last reset.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            calls: self.counter("calls"),
            kernels: self.counter("kernels"),
            graphs: self.counter("graphs"),
            copies_to_device: self.counter("copies_to_device"),
            copies_from_device: self.counter("copies_from_device"),
            copies_on_device: self.counter("copies_on_device"),
            bytes_to_device: self.counter("bytes_to_device"),
            bytes_from_device: self.counter("bytes_from_device"),
            pageable_copies: self.counter("pageable_copies"),
            device_synchronizes: self.counter("device_synchronizes"),
            stream_synchronizes: self.counter("stream_synchronizes"),
            event_synchronizes: self.counter("event_synchronizes"),
            default_stream_work: self.counter("default_stream_work"),
        }
    }

    fn counter(&self, name: &str) -> u64 {
        let name = CString::new(name).expect("names have no zeros");
        let value =
            self.call::<extern "C" fn(*const c_char) -> u64>("stand_in_counter")(name.as_ptr());
        assert_ne!(value, u64::MAX, "{name:?} is no counter");
        value
    }

    /// Allocations of the device that were not freed.
    #[must_use]
    pub fn live_allocations(&self) -> u64 {
        self.call::<extern "C" fn() -> u64>("stand_in_live_allocations")()
    }

    /// Graphs and executables of them that were not destroyed.
    #[must_use]
    pub fn live_graphs(&self) -> u64 {
        self.call::<extern "C" fn() -> u64>("stand_in_live_graphs")()
    }

    /// What the checks have found, one line each. With that the failure is known, and calls work again.
    #[must_use]
    pub fn take_reports(&self) -> Vec<String> {
        let reports = self.text("stand_in_reports").lines().map(str::to_owned).collect();
        self.call::<extern "C" fn()>("stand_in_take_reports")();
        reports
    }

    /// What was enqueued and what has run, in that order: lines `enqueue STREAM NAME` and `run STREAM NAME`. Kernels
    /// have their own names, copies are called `copy of N bytes to the device`; a graph is enqueued as `graph of N`, and
    /// what is in it runs by its own names. Between them lines `host CALL`: pinned memory of the host was given back.
    #[must_use]
    pub fn journal(&self) -> Vec<String> {
        self.text("stand_in_journal").lines().map(str::to_owned).collect()
    }

    /// The sizes of a kernel's parameters, if it was compiled in.
    #[must_use]
    pub fn parameters(&self, kernel: &str) -> Option<Vec<usize>> {
        /// More than any kernel has.
        const ROOM: usize = 32;
        let kernel = CString::new(kernel).expect("names have no zeros");
        let mut sizes = [0; ROOM];
        let parameters = self.call::<extern "C" fn(*const c_char, *mut usize, c_int) -> c_int>(
            "stand_in_parameters",
        );
        let room = c_int::try_from(ROOM).expect("it is small");
        let count = parameters(kernel.as_ptr(), sizes.as_mut_ptr(), room);
        usize::try_from(count).ok().map(|count| sizes[..count].to_vec())
    }

    /// Counters, journal, reports, faults and the machine are as at the start. What is allocated stays.
    pub fn reset(&self) {
        self.call::<extern "C" fn()>("stand_in_reset")();
    }

    fn text(&self, function: &str) -> String {
        let text = self.call::<extern "C" fn(*mut c_char, usize) -> usize>(function);
        let mut room = vec![0_u8; text(std::ptr::null_mut(), 0)];
        // Another thread may have added to it since.
        while text(room.as_mut_ptr().cast(), room.len()) > room.len() {
            room.resize(room.len() * 2, 0);
        }
        let end = room.iter().position(|&byte| byte == 0).expect("it ends with a zero");
        String::from_utf8_lossy(&room[..end]).into_owned()
    }

    /// `F`, as control.cpp declares it.
    fn call<F: Copy>(&self, function: &str) -> F {
        // SAFETY: each caller names the type that control.cpp has for this function.
        let symbol = unsafe { self.library.get::<F>(function.as_bytes()) };
        *symbol.unwrap_or_else(|error| panic!("`{function}`: {error}"))
    }
}
