//! What a connection is at: its stream, its requests and the door have a part of that each.
//!
//! ```text
//! accepted ──► head ──► request ──► between two ──► head ──► request …
//! ```
//!
//! A head has to come within a time: the first from when the connection was accepted, those after it
//! from their first byte. Between two requests a connection may wait longer. As long as no request
//! is in work, it can be closed for somebody who waits for its place.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// A connection that was accepted.
#[derive(Debug)]
pub(crate) struct Connection {
    times: Times,
    now: Mutex<Now>,
    /// Somebody waits for its place.
    is_in_the_way: Notify,
}

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// To send a head.
    pub(crate) head: Duration,
    /// To begin with the next one.
    pub(crate) between: Duration,
}

#[derive(Debug)]
struct Now {
    at: At,
    /// When it was accepted, or its latest request ended.
    since: Instant,
    /// The client does not take what is written.
    is_deaf: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Head { until: Instant },
    Request,
    Between { until: Instant },
}

impl Connection {
    pub(crate) fn new(times: Times) -> Arc<Self> {
        let since = Instant::now();
        let at = At::Head { until: since + times.head };
        let now = Mutex::new(Now { at, since, is_deaf: false });
        Arc::new(Self { times, now, is_in_the_way: Notify::new() })
    }

    /// Something was read.
    pub(crate) fn has_spoken(&self) {
        let mut now = self.now();
        if let At::Between { .. } = now.at {
            now.at = At::Head { until: Instant::now() + self.times.head };
        }
    }

    /// Whether a write has to wait for the client.
    pub(crate) fn is_deaf(&self, is_deaf: bool) {
        self.now().is_deaf = is_deaf;
    }

    /// A request is in work until what is returned is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> InWork {
        self.now().at = At::Request;
        InWork(Arc::clone(self))
    }

    /// Since when it has been waiting for a request, if it has, and until when it may.
    pub(crate) fn idle(&self) -> Option<(Instant, Instant)> {
        let now = self.now();
        match now.at {
            At::Head { until } | At::Between { until } if !now.is_deaf => Some((now.since, until)),
            _ => None,
        }
    }

    /// Somebody waits for its place.
    pub(crate) fn give_way(&self) {
        self.is_in_the_way.notify_one();
    }

    /// When no request has come in time, or none is in work and somebody waits for the place.
    pub(crate) async fn is_over(&self) {
        // No time that begins meanwhile ends before.
        let look_again = self.times.head.min(self.times.between);
        loop {
            let soon = Instant::now() + look_again;
            let until = self.idle().map_or(soon, |(_, until)| until.min(soon));
            let is_in_the_way = tokio::select! {
                () = self.is_in_the_way.notified() => true,
                () = sleep_until(until) => false,
            };
            let is_over = |(_, until)| is_in_the_way || until <= Instant::now();
            if self.idle().is_some_and(is_over) {
                return;
            }
        }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request of a connection, until the last byte of its answer was given away.
#[derive(Debug)]
pub(crate) struct InWork(Arc<Connection>);

impl Drop for InWork {
    fn drop(&mut self) {
        let since = Instant::now();
        let mut now = self.0.now();
        (now.at, now.since) = (At::Between { until: since + self.0.times.between }, since);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_has_its_time_and_a_pause_another() {
        let (head, between) = (Duration::from_mins(1), Duration::from_hours(1));
        let connection = Connection::new(Times { head, between });
        let (accepted, until) = connection.idle().unwrap();
        assert_eq!(until, accepted + head);
        connection.has_spoken();
        assert_eq!(connection.idle(), Some((accepted, until)), "half a head is no head");

        let request = connection.begin();
        connection.has_spoken();
        assert_eq!(connection.idle(), None);
        drop(request);
        let (ended, until) = connection.idle().unwrap();
        assert!(ended > accepted);
        assert_eq!(until, ended + between);
        connection.is_deaf(true);
        assert_eq!(connection.idle(), None, "its answer is not out");
        connection.is_deaf(false);

        connection.has_spoken();
        let (since, until) = connection.idle().unwrap();
        assert_eq!(since, ended);
        assert!((ended + head..ended + between).contains(&until));
    }

    #[tokio::test]
    async fn times_that_begin_later_are_kept_and_a_request_in_work_has_none() {
        let head = Duration::from_millis(20);
        let connection = Connection::new(Times { head, between: Duration::from_hours(1) });
        connection.is_over().await;
        let request = connection.begin();
        connection.give_way();
        tokio::select! {
            biased;
            () = connection.is_over() => panic!("a request is in work"),
            () = tokio::time::sleep(3 * head) => drop(request),
        }
        tokio::join!(connection.is_over(), async {
            tokio::time::sleep(3 * head).await;
            assert!(connection.idle().is_some_and(|(_, until)| until > Instant::now() + 2 * head));
            connection.has_spoken();
        });
    }
}
