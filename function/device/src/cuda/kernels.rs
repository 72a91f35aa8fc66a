//! The loaded kernels: machine code that was made ahead of time, each function looked up once.
#![expect(unsafe_code, reason = "the driver is a C library")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::ptr;
use std::sync::Arc;

use cudarc::driver::DriverError;
use cudarc::driver::result::{function, module};
use cudarc::driver::sys::{self, CUfunction, CUfunction_attribute, CUmodule, CUresult};
use firstlight_kernels::cuda::{ARCHITECTURES, DRIVER_VERSION, FATBIN, Launch, PLAIN_SHARED_BYTES};

use super::context::Context;
use super::driver::{Version, check};
use super::launch::Arguments;
use super::stream::Stream;
use crate::Error;

/// The module of all kernels, on one device.
///
/// A function is brought to the device when it is first launched, so that a start pays for those that it uses.
#[derive(Debug)]
pub(super) struct Kernels {
    context: Arc<Context>,
    module: CUmodule,
    functions: RefCell<HashMap<&'static str, Function>>,
}

#[derive(Clone, Copy, Debug)]
struct Function {
    raw: CUfunction,
    /// What a launch may ask for.
    shared_bytes: u32,
}

// SAFETY: the driver's calls may come from any thread; the handles are names that only the driver follows.
unsafe impl Send for Kernels {}

impl Kernels {
    pub(super) fn load(context: &Arc<Context>) -> Result<Self, Error> {
        Self::of(context, FATBIN)
    }

    /// Those of another image, which is a whole fatbin, too.
    pub(super) fn of(context: &Arc<Context>, fatbin: &'static [u8]) -> Result<Self, Error> {
        context.bind()?;
        // SAFETY: the image is a fatbin with its length in its header, and static.
        match unsafe { module::load_data(fatbin.as_ptr().cast()) } {
            Err(DriverError(refusal)) if is_unreadable(refusal) => {
                Err(unreadable(context, refusal))
            }
            loaded => Ok(Self {
                context: Arc::clone(context),
                module: check("cuModuleLoadData", loaded)?,
                functions: RefCell::default(),
            }),
        }
    }

    /// Issues a kernel behind what `stream` has to do.
    ///
    /// The arguments are those that stand beside the launch's function in `firstlight_kernels::cuda`, and their addresses
    /// lead to as many numbers as the launch is made for.
    pub(super) fn launch(
        &self,
        stream: &Stream,
        launch: Launch,
        arguments: &Arguments,
    ) -> Result<(), Error> {
        let stream = stream.bound()?;
        let function = self.function(launch)?;
        let (start, mut bytes) = (arguments.words().as_ptr().cast_mut(), arguments.bytes());
        let mut extra =
            [ARGUMENTS_START, start.cast(), ARGUMENTS_SIZE, (&raw mut bytes).cast(), ARGUMENTS_END];
        let ([x, y, z], [threads_x, threads_y, threads_z]) = (launch.grid, launch.block);
        // SAFETY: the function is of this module and the stream of its context. The driver copies the arguments, which it
        // does not change, and whose size it compares with the kernel's. What the kernel reads and writes is memory of the device, into which there
        // are no references.
        let issued = unsafe {
            sys::cuLaunchKernel(
                function.raw,
                x,
                y,
                z,
                threads_x,
                threads_y,
                threads_z,
                launch.shared_bytes,
                stream,
                ptr::null_mut(),
                extra.as_mut_ptr(),
            )
        };
        check("cuLaunchKernel", issued.result())
    }

    /// The function, allowed as much shared memory as the launch asks for.
    fn function(&self, launch: Launch) -> Result<Function, Error> {
        let mut functions = self.functions.borrow_mut();
        let known = functions.get(launch.kernel).copied();
        if let Some(function) = known.filter(|known| launch.shared_bytes <= known.shared_bytes) {
            return Ok(function);
        }
        let raw = known.map_or_else(|| self.find(launch.kernel), |known| Ok(known.raw))?;
        let shared_bytes = launch.shared_bytes.max(PLAIN_SHARED_BYTES);
        if shared_bytes > PLAIN_SHARED_BYTES {
            allow_shared(raw, shared_bytes)?;
        }
        let function = Function { raw, shared_bytes };
        functions.insert(launch.kernel, function);
        Ok(function)
    }

    fn find(&self, kernel: &'static str) -> Result<CUfunction, Error> {
        let name = CString::new(kernel).expect("names of kernels are C identifiers");
        // SAFETY: the module was loaded by this value, which is borrowed.
        check("cuModuleGetFunction", unsafe { module::get_function(self.module, name) })
    }
}

impl Drop for Kernels {
    fn drop(&mut self) {
        if self.context.bind().is_ok() {
            // SAFETY: the module was loaded by this value, and its functions are known to nobody else.
            let unloaded = unsafe { module::unload(self.module) };
            // A device that was lost says no to everything; there is nobody left to tell.
            let _ = unloaded;
        }
    }
}

fn allow_shared(function: CUfunction, bytes: u32) -> Result<(), Error> {
    let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    let bytes = i32::try_from(bytes).expect("a multiprocessor has some hundred kilobytes");
    // SAFETY: the function is of a module that is loaded.
    let allowed = unsafe { function::set_function_attribute(function, attribute, bytes) };
    check("cuFuncSetAttribute", allowed)
}

/// The driver finds nothing in the image that it can run on the device, or make into what it can.
fn is_unreadable(refusal: CUresult) -> bool {
    matches!(
        refusal,
        CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU
            | CUresult::CUDA_ERROR_INVALID_IMAGE
            | CUresult::CUDA_ERROR_INVALID_PTX
            | CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION
            | CUresult::CUDA_ERROR_JIT_COMPILER_NOT_FOUND
    )
}

/// Whether it is the driver that does not know what it reads, or the device that is none of those in it.
fn unreadable(context: &Context, refusal: CUresult) -> Error {
    let found = context.driver();
    if refusal != CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU && found < WRITTEN_FOR {
        return Error::OldDriver { needed: WRITTEN_FOR, found };
    }
    Error::Architecture {
        device: context.name().to_owned(),
        found: context.capability(),
        built: built(),
        driver: found,
    }
}

fn built() -> String {
    let names: Vec<_> = ARCHITECTURES.iter().map(|number| format!("sm_{number}")).collect();
    names.join(", ")
}

/// The version whose drivers read whatever its compiler writes; older ones may.
const WRITTEN_FOR: Version = Version::from_number(DRIVER_VERSION);

// `CU_LAUNCH_PARAM_BUFFER_POINTER`, `_BUFFER_SIZE` and `_END` of `cuda.h`: what stands before the address of the
// arguments, before that of their size, and behind both.
const ARGUMENTS_START: *mut c_void = ptr::without_provenance_mut(1);
const ARGUMENTS_SIZE: *mut c_void = ptr::without_provenance_mut(2);
const ARGUMENTS_END: *mut c_void = ptr::null_mut();
