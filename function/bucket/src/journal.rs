//! What was asked and what was answered: for tests that assert on it, and for the totals of a run.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU16, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use hyper::StatusCode;

use crate::request::Target;

/// One request and its answer so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRecord {
    /// `GET`, `HEAD` and so on.
    pub method: String,
    /// Empty for a request to the service itself.
    pub bucket: String,
    /// Empty for a request to a bucket.
    pub key: String,
    /// The bytes it asked for, if it asked for a range.
    pub range: Option<Range<u64>>,
    /// Which connection it came on, counted from 0.
    pub connection: u64,
    /// The status of the answer; `None` before there is one.
    pub status: Option<u16>,
    /// Bytes of the body handed to the connection so far.
    pub bytes_sent: u64,
    /// When it arrived, since the server was started.
    pub at: Duration,
}

/// The totals since the server was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections accepted.
    pub connections: u64,
    /// Requests received.
    pub requests: u64,
    /// Bytes of bodies handed to connections.
    pub bytes_sent: u64,
}

#[derive(Debug)]
pub(crate) struct Journal {
    started: Instant,
    entries: Mutex<VecDeque<Arc<Entry>>>,
    totals: Arc<Totals>,
}

impl Journal {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), entries: Mutex::default(), totals: Arc::default() }
    }

    /// Counts a connection and gives it its number.
    pub(crate) fn connection(&self) -> u64 {
        self.totals.connections.fetch_add(1, Relaxed)
    }

    pub(crate) fn request(&self, target: &Target, connection: u64) -> Arc<Entry> {
        let entry = Arc::new(Entry {
            target: target.clone(),
            connection,
            at: self.started.elapsed(),
            status: AtomicU16::new(0),
            bytes_sent: AtomicU64::new(0),
            totals: Arc::clone(&self.totals),
        });
        self.totals.requests.fetch_add(1, Relaxed);
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() == ENTRIES_MAX {
            entries.pop_front();
        }
        entries.push_back(Arc::clone(&entry));
        entry
    }

    pub(crate) fn records(&self) -> Vec<RequestRecord> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().map(|entry| entry.record()).collect()
    }

    pub(crate) fn counters(&self) -> Counters {
        Counters {
            connections: self.totals.connections.load(Relaxed),
            requests: self.totals.requests.load(Relaxed),
            bytes_sent: self.totals.bytes_sent.load(Relaxed),
        }
    }
}

/// The line of one request, written while it is answered.
#[derive(Debug)]
pub(crate) struct Entry {
    target: Target,
    connection: u64,
    at: Duration,
    status: AtomicU16,
    bytes_sent: AtomicU64,
    totals: Arc<Totals>,
}

impl Entry {
    pub(crate) fn answered(&self, status: StatusCode) {
        self.status.store(status.as_u16(), Relaxed);
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.bytes_sent.fetch_add(bytes as u64, Relaxed);
        self.totals.bytes_sent.fetch_add(bytes as u64, Relaxed);
    }

    fn record(&self) -> RequestRecord {
        let status = self.status.load(Relaxed);
        RequestRecord {
            method: self.target.method.to_string(),
            bucket: self.target.bucket.clone(),
            key: self.target.key.clone(),
            range: self.target.range.clone(),
            connection: self.connection,
            status: (status != 0).then_some(status),
            bytes_sent: self.bytes_sent.load(Relaxed),
            at: self.at,
        }
    }
}

#[derive(Debug, Default)]
struct Totals {
    connections: AtomicU64,
    requests: AtomicU64,
    bytes_sent: AtomicU64,
}

/// The requests of 30 loads of a 16 GB model in ranges of 8 MiB; older ones are forgotten, not
/// uncounted.
const ENTRIES_MAX: usize = 1 << 16;
