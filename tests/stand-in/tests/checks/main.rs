//! The stand-in sees what it is there to see, and nothing where all is right.

#![expect(unsafe_code, reason = "the driver API is called as it is")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it stands")]

mod device;
mod faults;
mod graphs;
mod kernels;
mod streams;
