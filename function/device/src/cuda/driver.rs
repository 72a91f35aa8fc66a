//! The driver: whether there is one, and how it says no.
//!
//! Its library is looked for before anything of it is called, since `cudarc` panics without it, even where it only
//! prints an error. So the rest of [`cuda`](super) starts from a [`Probe`], and a process that asks for no GPU opens
//! nothing.
#![expect(unsafe_code, reason = "the driver is a C library")]

use std::ffi::CStr;
use std::fmt;

use cudarc::driver::DriverError;
use cudarc::driver::result;
use cudarc::driver::sys::{self, CUresult};

use crate::Error;

/// A driver that is new enough, with at least one device. Initialised; no context was made.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// The CUDA version that the driver speaks.
    pub version: Version,
    /// The devices that it shows to this process.
    pub devices: usize,
}

/// A version of CUDA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 12 of 12.2
    pub major: u32,
    /// 2 of 12.2
    pub minor: u32,
}

impl Version {
    /// From the driver's way to write 12.2: 12020.
    pub(super) const fn from_number(number: u32) -> Self {
        Self { major: number / 1000, minor: number % 1000 / 10 }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl Probe {
    /// Looks for the library, its version and its devices, in this order, and says what is missing.
    pub(super) fn new() -> Result<Self, Error> {
        // SAFETY: opening the library runs its initialisers, which is what it was installed for.
        if !unsafe { sys::is_culib_present() } {
            return Err(Error::NoDriver);
        }
        let version = version()?;
        if version < NEEDED {
            return Err(Error::OldDriver { needed: NEEDED, found: version });
        }
        match result::init() {
            Err(DriverError(CUresult::CUDA_ERROR_NO_DEVICE)) => return Err(Error::NoDevice),
            initialised => check("cuInit", initialised)?,
        }
        let count = check("cuDeviceGetCount", result::device::get_count())?;
        match usize::try_from(count) {
            Ok(0) | Err(_) => Err(Error::NoDevice),
            Ok(devices) => Ok(Self { version, devices }),
        }
    }
}

/// The driver's answer to `call` as ours.
pub(super) fn check<T>(call: &'static str, answer: Result<T, DriverError>) -> Result<T, Error> {
    answer.map_err(|error| {
        let text = |text: Result<&CStr, DriverError>| {
            text.map_or_else(|_| "unknown".to_owned(), |text| text.to_string_lossy().into_owned())
        };
        Error::Driver {
            call,
            code: error.0 as u32,
            name: text(error.error_name()),
            meaning: text(error.error_string()),
        }
    })
}

/// It may be asked before anything is initialised.
fn version() -> Result<Version, Error> {
    let mut number = 0;
    // SAFETY: the driver writes one number, into one.
    let answer = unsafe { sys::cuDriverGetVersion(&raw mut number) };
    check("cuDriverGetVersion", answer.result())?;
    Ok(Version::from_number(u32::try_from(number).unwrap_or_default()))
}

/// The first of which the driver has all calls that are made here, and loads kernels when they are first asked for.
const NEEDED: Version = Version { major: 12, minor: 2 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared_as_numbers() {
        let version = Version::from_number(12_020);
        assert_eq!(version.to_string(), "12.2");
        assert!(Version::from_number(9_020) < version);
        assert!(Version::from_number(12_100) > version);
        assert_eq!(Version::from_number(13_000).to_string(), "13.0");
    }
}
