//! The embedded S3 server of the demo, the tests and the benches, with a link to shape and faults
//! to inject.
//!
//! s3s checks signatures, parses requests and writes XML; this crate gives it objects to read, and
//! puts a network between it and its clients: a link of a certain rate, a first byte that comes
//! late, connections that break.
//!
//! # Layout
//! In the order in which a request meets them:
//! - [`Bucket`] (`server`): what a server is made of; starting and stopping it.
//! - `socket`: a connection's socket, and how an answer ends it before its time.
//! - `service`: one request from head to body.
//! - `turnstile`: where it may have to wait for the others of its round: [`Turnstile`].
//! - `request`: what it asks for. `journal`: what was asked and answered, [`RequestRecord`].
//! - `fault`: what goes wrong, and when: [`Faults`], [`Requests`], [`Action`]. `refusal`: the
//!   errors that faults give.
//! - `s3`: the S3 calls, over `listing` and [`Objects`], which are in memory or in a `folder`.
//! - `body`: the answer's bytes on their way out, paced by the `link`: [`Link`].
//! - `tls` (feature `tls`): the same over HTTPS.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

mod body;
mod fault;
mod folder;
mod journal;
mod link;
mod listing;
mod objects;
mod refusal;
mod request;
mod s3;
mod server;
mod service;
mod socket;
#[cfg(feature = "tls")]
pub mod tls;
mod turnstile;

pub use fault::{Action, Faults, Requests};
pub use journal::{Counters, RequestRecord};
pub use link::Link;
pub use objects::Objects;
pub use server::{Bucket, Builder, Running};
pub use turnstile::Turnstile;
