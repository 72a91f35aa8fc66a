//! Places for connections. Where all are taken and somebody new comes, the one gives way that has
//! waited longest without a request in work.
//!
//! So neither clients that open connections and say nothing, nor those that keep them for later,
//! stand in the way of a probe.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::connection::{Connection, Times};

/// As many connections as there may be at once.
#[derive(Debug)]
pub(crate) struct Places {
    limit: usize,
    free: Arc<Semaphore>,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    connections: BTreeMap<u64, Arc<Connection>>,
    next_id: u64,
}

impl Places {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        let (free, taken) = (Arc::new(Semaphore::new(limit)), Mutex::default());
        Arc::new(Self { limit, free, taken })
    }

    /// A place for a connection that was accepted, as soon as there is one.
    pub(crate) async fn take(self: &Arc<Self>, times: Times) -> Place {
        let free = self.free().await;
        let connection = Connection::new(times);
        let mut taken = self.taken();
        let id = taken.next_id;
        taken.next_id += 1;
        taken.connections.insert(id, Arc::clone(&connection));
        Place { id, connection, places: Arc::clone(self), _free: free }
    }

    async fn free(&self) -> OwnedSemaphorePermit {
        loop {
            if let Ok(free) = Arc::clone(&self.free).try_acquire_owned() {
                return free;
            }
            if let Some(idlest) = self.idlest() {
                idlest.give_way();
            }
            let free = Arc::clone(&self.free).acquire_owned();
            if let Ok(free) = timeout(LOOK_AGAIN, free).await {
                return free.expect("the semaphore is never closed");
            }
        }
    }

    /// The connection that has waited longest, and long enough.
    fn idlest(&self) -> Option<Arc<Connection>> {
        let taken = self.taken();
        let idle = taken.connections.values();
        let idle = idle.filter_map(|connection| Some((connection.idle()?.0, connection)));
        let (since, idlest) = idle.min_by_key(|(since, _)| *since)?;
        (since + NEWCOMER <= Instant::now()).then(|| Arc::clone(idlest))
    }

    /// When all are free.
    pub(crate) async fn are_free(&self) {
        let all = u32::try_from(self.limit).unwrap_or(u32::MAX);
        drop(self.free.acquire_many(all).await);
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    id: u64,
    pub(crate) connection: Arc<Connection>,
    places: Arc<Places>,
    _free: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken().connections.remove(&self.id);
    }
}

/// Who connects sends the first byte at once, but it may have to come from far away.
const NEWCOMER: Duration = Duration::from_millis(250);

/// Where nobody was idle when there was no place.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_those_without_a_request_the_one_gives_way_that_waited_longest() {
        let minute = Duration::from_mins(1);
        let places = Places::new(3);
        let times = Times { head: minute, between: minute };
        let busy = places.take(times).await;
        let old = places.take(times).await;
        let new = places.take(times).await;
        let request = busy.connection.begin();
        let newcomer = tokio::spawn({
            let places = Arc::clone(&places);
            async move { places.take(times).await }
        });
        old.connection.is_over().await;
        assert!(!newcomer.is_finished(), "its place is still taken");
        drop(old);
        let newest = newcomer.await.unwrap();
        let next = tokio::spawn({
            let places = Arc::clone(&places);
            async move { places.take(times).await }
        });
        new.connection.is_over().await;
        drop((request, busy));
        next.await.unwrap();
        drop((new, newest));
        places.are_free().await;
        assert!(places.taken().connections.is_empty());
    }
}
