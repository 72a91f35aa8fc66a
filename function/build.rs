//! How the binary is linked: at a fixed address.
//!
//! A position-independent executable has 56,000 pointers to itself (tables of methods, most of them), which the loader
//! adds its address to before `main`: 1 MB of pages that are copied one fault at a time, 250 faults and 1.1 of the 5 ms
//! between `exec` and the first request. Linked at a fixed address they are right as they lie in the file, and are shared
//! with every other process that runs it. What is given up: the address of the program's own code is the same in every
//! run, where heap, stacks and libraries are not. What is read from outside is read by safe code.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=function/build.rs");
    let target = |what: &str| env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    if target("OS") == "linux" && target("ENV") == "gnu" {
        println!("cargo::rustc-link-arg-bin=firstlight=-no-pie");
    }
}
