//! Bytes of one immutable object, by range, into the caller's memory.
//!
//! A [`Store`] makes single attempts: it opens an object (its head, its size and its version in one request) and reads
//! ranges of exactly that version. A [`Reader`] turns attempts into answers: it retries from the byte that was reached,
//! abandons an attempt that stalls, hedges the slowest ranges on a second connection, and keeps every limit.
//!
//! # Layout
//!
//! - [`location`]: where a model lives: `s3://`, `https://`, `hf://` or a folder
//! - [`object`]: one version of one object
//! - [`source`]: the trait [`Store`] and what an attempt yields
//! - [`s3`], [`http`], [`hf`], [`folder`]: the four stores
//! - [`buckets`]: small objects of all buckets, whole, read and written: what a function is told of
//! - `client`: HTTP/1.1 and TLS for the first three, bodies straight into memory; `connector`: aws-sdk-s3's way to it
//! - [`settings`]: endpoints, tokens and limits, resolved once by the caller
//! - [`reader`]: attempts to answers; with [`sink`] (the caller's memory), `opening` (an object's
//!   head), `attempt` and its `log`, `race` (a second attempt beside a late one) and `hedge` (when
//!   that pays), `pauses` (between failed attempts), `throttle` (the bandwidth cap) and `held` (what
//!   that cost a range)

#![deny(unsafe_code)] // but for one line: mapping a file

pub mod buckets;
pub mod folder;
pub mod hf;
pub mod http;
pub mod location;
pub mod object;
pub mod reader;
pub mod s3;
pub mod settings;
pub mod sink;
pub mod source;

mod attempt;
mod client;
mod connector;
mod error;
mod hedge;
mod held;
mod log;
mod opening;
mod pauses;
mod race;
mod throttle;

pub use buckets::Buckets;
pub use error::Error;
pub use location::Location;
pub use object::{Object, Version};
pub use reader::{Priority, Reader, Turn};
pub use settings::{Limits, Settings};
pub use sink::{Gather, Sink};
pub use source::{Body, Opened, Store};

use std::sync::Arc;

/// The store that holds `location`. Nothing is requested yet.
pub async fn connect(location: &Location, settings: &Settings) -> Result<Arc<dyn Store>, Error> {
    Ok(match location {
        Location::S3 { bucket, prefix } => {
            Arc::new(s3::S3::connect(bucket, prefix, settings).await?)
        }
        Location::Http { base } => Arc::new(http::Http::new(base.clone())),
        Location::Hub { repository, revision } => {
            Arc::new(hf::Hub::new(repository, revision, settings)?)
        }
        Location::Folder { path } => Arc::new(folder::Folder::new(path)?),
    })
}
