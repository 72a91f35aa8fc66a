//! The stand-in sees what it is there to see, and nothing where all is right.

#![expect(unsafe_code, reason = "the driver API is called as it is")]

mod device;
mod faults;
mod kernels;
mod streams;
