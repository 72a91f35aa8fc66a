//! A stand-in for libcuda, for tests only: the driver API on a CPU, with our kernels compiled in and everything checked.
//!
//! [`load`] builds the library if it is not there yet and opens it before cudarc looks for one, so that everything
//! that a test then does with cudarc happens in it. What the checks find comes back as the status of the next call,
//! and as a text: [`StandIn::take_reports`]. A process that ends with reports that no test took fails.
//!
//! # Layout
//! - `build`: g++, once for each state of the sources
//! - `stand_in`: the open library, and what a test may ask of it
//! - `driver/*.{h,cpp}`: the library itself; `README.md` says how it works and what it does not see
//! - `kernels/*.cu`: small kernels, right ones and wrong ones, for the tests of the checks

#![expect(unsafe_code, reason = "a C++ library is opened and called, which no type checks")]

mod build;
mod stand_in;

pub use build::{Checks, library};
pub use stand_in::{Counters, Schedule, StandIn, device, load};
