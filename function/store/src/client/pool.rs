//! Idle connections, by whom they were made to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::time::Instant;

use super::connection::Connection;
use super::target::Origin;
use crate::settings::IDLE_CONNECTION;

/// More connections to one origin than this are not worth keeping: no load has as many ranges in flight.
const LIMIT_IDLE: usize = 256;

#[derive(Default)]
pub(super) struct Pool {
    idle: Mutex<HashMap<Origin, Vec<Idle>>>,
}

struct Idle {
    since: Instant,
    connection: Connection,
}

/// Where a connection belongs when it is idle.
pub(super) struct Home {
    pub(super) pool: Arc<Pool>,
    pub(super) origin: Origin,
}

impl Home {
    pub(super) fn put(self, connection: Connection) {
        let mut idle = self.pool.idle.lock().expect("no holder panics");
        let idle = idle.entry(self.origin).or_default();
        if idle.len() < LIMIT_IDLE {
            idle.push(Idle { since: Instant::now(), connection });
        }
    }
}

impl Pool {
    /// The connection that was used last, whose window is the widest, if there is one that the server has not closed.
    pub(super) fn take(&self, origin: &Origin) -> Option<Connection> {
        let mut idle = self.idle.lock().expect("no holder panics");
        let idle = idle.get_mut(origin)?;
        idle.retain(|idle| idle.since.elapsed() < IDLE_CONNECTION);
        while let Some(Idle { connection, .. }) = idle.pop() {
            if connection.is_quiet() {
                return Some(connection);
            }
        }
        None
    }
}
