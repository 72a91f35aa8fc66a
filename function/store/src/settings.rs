//! Everything that a store or a reader can be told, resolved once by the caller. Nothing here reads the environment;
//! what the AWS default chain reads (credentials, profiles, region) is the exception, and is its business; so are proxies and
//! root certificates, which every client of a machine finds in the same variables.

use std::time::Duration;

/// Endpoints and credentials.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Another S3 than Amazon's: `http://127.0.0.1:8333`. Path-style addressing is used with it.
    pub s3_endpoint: Option<String>,
    /// Requests to S3 are not signed: public buckets.
    pub s3_anonymous: bool,
    /// Key id and secret to sign with, instead of what the AWS default chain finds.
    pub s3_keys: Option<(String, String)>,
    /// The hub's address; `https://huggingface.co` unless given.
    pub hub_endpoint: Option<String>,
    /// The hub's access token.
    pub hub_token: Option<String>,
}

/// The limits that a [`Reader`](crate::Reader) keeps.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Ranges of weights in flight at once.
    pub in_flight: usize,
    /// Bytes a second that all reads together may take.
    pub bandwidth_bytes_per_s: Option<u64>,
    /// An attempt that yields no byte for this long is abandoned. The tail of S3's first byte is 80 ms and more, a
    /// cold object behind a CDN takes a second: three seconds are a fault, not a tail.
    pub stall: Duration,
    /// Attempts in a row that may fail without a byte of progress.
    pub attempts: u32,
    /// Hedged requests, as a share of all requests (and a handful at least); 0: none. AWS advises to re-issue the slowest
    /// 1 %.
    pub hedge_share: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            in_flight: 16,
            bandwidth_bytes_per_s: None,
            stall: Duration::from_secs(3),
            attempts: 5,
            hedge_share: 0.03,
        }
    }
}

/// Small requests that overtake the ranges of weights: heads, configuration, the prompt's embedding rows. More would
/// open more connections than they save round trips.
pub(crate) const URGENT_IN_FLIGHT: usize = 16;

/// S3 closes idle connections after 5 to 20 s: one that is found closed costs a round trip.
pub(crate) const IDLE_CONNECTION: Duration = Duration::from_secs(4);

/// Resolving a name and opening a connection, before the three-second rule of [`Limits::stall`] would call it a stall.
pub(crate) const CONNECT: Duration = Duration::from_secs(3);
