//! One device, initialised.
//!
//! The primary context of the chosen device is retained, and no other device is touched: with eight of them in the
//! machine that is most of the time it would take. A context is current in a thread or not; whoever is about to call the
//! driver makes it so ([`Context::bind`]), which costs tens of nanoseconds.
#![expect(unsafe_code, reason = "the driver is a C library")]

use std::fmt;
use std::sync::Arc;

use cudarc::driver::result::{self, ctx, device, primary_ctx};
use cudarc::driver::sys::{CUcontext, CUdevice, CUdevice_attribute as Attribute};

use super::driver::{Probe, Version, check};
use crate::Error;

/// The primary context of one device. Released on drop.
#[derive(Debug)]
pub struct Context {
    raw: CUcontext,
    device: CUdevice,
    name: String,
    capability: Capability,
    driver: Version,
}

/// The generation of a device, which machine code is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// 9 of `sm_90`
    pub major: u32,
    /// 0 of `sm_90`
    pub minor: u32,
}

// SAFETY: the driver's calls may come from any thread; the handle is a name that only the driver follows.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    /// Initialises the driver and the device of that number among those that it shows.
    pub fn open(ordinal: usize) -> Result<Arc<Self>, Error> {
        let Probe { version, devices } = Probe::new()?;
        let missing = Error::NoSuchDevice { ordinal, devices };
        if ordinal >= devices {
            return Err(missing);
        }
        let ordinal = i32::try_from(ordinal).map_err(|_| missing)?;
        let device = check("cuDeviceGet", device::get(ordinal))?;
        // SAFETY: the device is one that the driver just named.
        let retained = unsafe { primary_ctx::retain(device) };
        let raw = check("cuDevicePrimaryCtxRetain", retained)?;
        Ok(Arc::new(Self {
            raw,
            device,
            name: check("cuDeviceGetName", device::get_name(device))?,
            capability: Capability::of(device)?,
            driver: version,
        }))
    }

    /// What the maker calls the device.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The generation of the device.
    #[must_use]
    pub fn capability(&self) -> Capability {
        self.capability
    }

    /// What the driver speaks.
    #[must_use]
    pub fn driver(&self) -> Version {
        self.driver
    }

    /// Bytes of its memory that nobody holds.
    pub fn free_bytes(&self) -> Result<u64, Error> {
        self.bind()?;
        let (free, _) = check("cuMemGetInfo", result::mem_get_info())?;
        Ok(free as u64)
    }

    /// Makes the context current in this thread.
    pub(super) fn bind(&self) -> Result<(), Error> {
        // SAFETY: the context was retained by this value, which is borrowed.
        check("cuCtxSetCurrent", unsafe { ctx::set_current(self.raw) })
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: `open` retained it, and whatever lives in it holds this value.
        let released = unsafe { primary_ctx::release(self.device) };
        // A device that was lost says no to everything; there is nobody left to tell.
        let _ = released;
    }
}

impl Capability {
    fn of(device: CUdevice) -> Result<Self, Error> {
        let attribute = |attribute| {
            // SAFETY: the device is one that the driver named.
            let value = unsafe { device::get_attribute(device, attribute) };
            check("cuDeviceGetAttribute", value).map(|value| u32::try_from(value).unwrap_or(0))
        };
        Ok(Self {
            major: attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            minor: attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        })
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sm_{}{}", self.major, self.minor)
    }
}
