//! What the world can do to a device. Sizes that do not fit together are bugs and panic instead.

use std::io;
use std::ops::Range;

use crate::DType;

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
}
