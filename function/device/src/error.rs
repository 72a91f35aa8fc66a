//! What the world can do to a device. Sizes that do not fit together are bugs and panic instead.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use firstlight_kernels::cuda::attention::MOST_HEAD_DIM;

use crate::DType;
use crate::cuda::{Capability, Version};

/// Why memory or a tensor could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused a reservation.
    #[error(
        "cannot reserve {bytes} bytes of memory for {purpose}: {source}\n\
         hint: free memory, raise the limit of the process or container, or choose a smaller model"
    )]
    OutOfMemory {
        /// What the memory is for.
        purpose: &'static str,
        /// How much was needed.
        bytes: u64,
        /// What the system said.
        source: io::Error,
    },

    /// A range that reaches past the end of an arena, or that ends before it starts.
    #[error("range `{range:?}` is not within an arena of {arena_bytes} bytes")]
    OutOfArena {
        /// The range that was asked for.
        range: Range<u64>,
        /// The size of the arena.
        arena_bytes: u64,
    },

    /// Two ranges of one arena that share bytes.
    #[error("ranges `{first:?}` and `{second:?}` of an arena overlap")]
    Overlap {
        /// The range that starts first.
        first: Range<u64>,
        /// The range that starts inside it.
        second: Range<u64>,
    },

    /// An arena is cut into regions once: a second cut could give a byte to two owners.
    #[error("the arena has already been carved into regions")]
    AlreadyCarved,

    /// Regions that were to be joined do not follow each other in one arena.
    #[error("region at `{found:?}` does not follow the one that ends at {end} in the same arena")]
    NotAdjacent {
        /// The end of the region before.
        end: u64,
        /// The region that was to follow it.
        found: Range<u64>,
    },

    /// The bytes of a tensor are not as many as its shape and dtype ask for.
    #[error("a tensor of shape `{shape:?}` in {dtype} is not {found_bytes} bytes long")]
    Length {
        /// Elements along each axis.
        shape: Vec<usize>,
        /// Type of an element.
        dtype: DType,
        /// The bytes there are.
        found_bytes: usize,
    },

    /// A region that starts where no element of the dtype may.
    #[error("offset {offset} of an arena is not aligned to the {} bytes of {dtype}", dtype.bytes())]
    Misaligned {
        /// Where the region starts in its arena.
        offset: u64,
        /// Type of an element.
        dtype: DType,
    },

    /// A region of the GPU that starts where no kernel may read.
    #[error(
        "offset {offset} of an arena is not aligned to the {} bytes of a tensor on a GPU",
        crate::cuda::ALIGN_BYTES
    )]
    MisalignedOnDevice {
        /// Where the region starts in its arena.
        offset: u64,
    },

    /// Weights that a kernel of the GPU takes together, and that are not of one type.
    #[error(
        "weights in {first} and in {second} belong to one operation, which a GPU does in one type"
    )]
    MixedDTypes {
        /// Of one of them.
        first: DType,
        /// Of another.
        second: DType,
    },

    /// Heads that no kernel of the GPU is made for.
    #[error("heads of {head_dim} columns: a GPU does multiples of 8 up to {MOST_HEAD_DIM}")]
    HeadDim {
        /// Columns of a head.
        head_dim: usize,
    },

    /// There is no library of the CUDA driver.
    #[error(
        "there is no CUDA driver: `libcuda.so.1` was not found\n\
         hint: install the driver of the GPU; in a container, have the runtime bring it in: `--gpus all` for docker, \
         `--device nvidia.com/gpu=all` for podman"
    )]
    NoDriver,

    /// The driver does not know the calls that are made.
    #[error(
        "the CUDA driver speaks CUDA {found}, and {needed} is needed\n\
         hint: install a newer driver on the host"
    )]
    OldDriver {
        /// The first version that will do.
        needed: Version,
        /// That of the driver.
        found: Version,
    },

    /// There is a driver, and nothing that it drives.
    #[error(
        "the CUDA driver shows no device\n\
         hint: see whether `nvidia-smi` lists one, and what `CUDA_VISIBLE_DEVICES` hides"
    )]
    NoDevice,

    /// A device was asked for by a number that none has.
    #[error("there is no CUDA device {ordinal}: the driver shows {devices}, counted from 0")]
    NoSuchDevice {
        /// The number that was asked for.
        ordinal: usize,
        /// How many there are.
        devices: usize,
    },

    /// The kernels were not built for this device.
    #[error(
        "`{device}` is {found}, and the kernels are built for {built}\n\
         hint: a device that is newer than those needs a newer driver, too: this one speaks CUDA {driver}"
    )]
    Architecture {
        /// What its maker calls the device.
        device: String,
        /// The generation of the device.
        found: Capability,
        /// The generations that there are kernels for.
        built: String,
        /// The version of the driver.
        driver: Version,
    },

    /// The device has less memory left than is needed.
    #[error(
        "cannot reserve {needed_bytes} bytes of the GPU for {purpose}: {free_bytes} are free\n\
         hint: end what else runs on it, choose a smaller model or context, or a GPU with more memory"
    )]
    OutOfDeviceMemory {
        /// What the memory is for.
        purpose: &'static str,
        /// How much was needed.
        needed_bytes: u64,
        /// How much there is.
        free_bytes: u64,
    },

    /// The driver refused a call for a reason of its own; also one that a kernel met earlier.
    #[error("`{call}` failed with {name} ({code}): {meaning}")]
    Driver {
        /// The function of the driver.
        call: &'static str,
        /// Its answer.
        code: u32,
        /// The name of the answer.
        name: String,
        /// What the driver says that it means.
        meaning: String,
    },

    /// The system refused a thread.
    #[error("cannot start a thread: {source}")]
    NoThread {
        /// What the system said.
        source: io::Error,
    },

    /// A copy to the device has failed, and the ring that it came out of is not used any more.
    #[error("weights cannot be copied to the device: {cause}")]
    RingBroken {
        /// What happened first.
        cause: Arc<Error>,
    },
}
