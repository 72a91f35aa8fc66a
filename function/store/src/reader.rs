//! Attempts to answers: what a load reads through.
//!
//! A range waits for its turn (first come, first served: the order of the calls is the order on the wire), is asked
//! for, and lands. An attempt that breaks is followed by one that goes on from the byte that was reached, after a
//! jittered pause; one that yields nothing for [`Limits::stall`] counts as broken, and since its connection is closed
//! with it, the next one runs on another. A range that is far behind its peers (see `hedge`) is asked for a second time
//! beside the first, and the faster of the two wins; the head of an object whose first byte is late is so too.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use firstlight_timeline::Timeline;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::attempt::{Landing, Wire};
use crate::log::Label;
use crate::opening::Opening;
use crate::pauses::Pauses;
use crate::settings::URGENT_IN_FLIGHT;
use crate::{Error, Limits, Object, Sink, Store};

/// Which queue a range waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Weights, in execution order.
    Weights,
    /// Small and waited for: overtakes the weights.
    Urgent,
}

/// A place among the ranges in flight, until it is dropped.
pub struct Turn {
    priority: Priority,
    _permit: OwnedSemaphorePermit,
}

/// Reads objects of one store within its limits. Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
}

struct Shared {
    wire: Wire,
    limits: Limits,
    weights: Arc<Semaphore>,
    urgent: Arc<Semaphore>,
}

impl Reader {
    /// A reader of `store` that keeps `limits` and tells `timeline`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, limits: Limits, timeline: Timeline) -> Self {
        let wire = Wire::new(store, &limits, timeline);
        let weights = Arc::new(Semaphore::new(limits.in_flight.max(1)));
        let urgent = Arc::new(Semaphore::new(URGENT_IN_FLIGHT));
        Self { shared: Arc::new(Shared { wire, limits, weights, urgent }) }
    }

    /// The object's full name, for messages.
    #[must_use]
    pub fn locate(&self, key: &str) -> String {
        self.shared.wire.store.locate(key)
    }

    /// How many ranges of a priority are in flight at most.
    #[must_use]
    pub fn in_flight(&self, priority: Priority) -> usize {
        match priority {
            Priority::Weights => self.shared.limits.in_flight.max(1),
            Priority::Urgent => URGENT_IN_FLIGHT,
        }
    }

    /// Bytes of the ranges of weights that have landed so far, for a progress bar.
    #[must_use]
    pub fn landed_bytes(&self) -> u64 {
        self.shared.wire.landed.load(Relaxed)
    }

    /// The object as a file of this machine, where the store has it as one.
    pub fn file(&self, object: &Object) -> Result<Option<File>, Error> {
        self.shared.wire.store.file(object)
    }

    /// The object as memory backed by the page cache, where the store has it.
    pub fn map(&self, object: &Object) -> Result<Option<Bytes>, Error> {
        self.shared.wire.store.map(object)
    }

    /// Opens `connections` connections that the ranges to come will use, by asking for the first byte of `key` over each.
    /// Comes back at once; what fails here fails again where it matters.
    pub fn warm(&self, key: &'static str, connections: usize) {
        for _ in 0..connections {
            let reader = self.clone();
            let opening =
                Opening { key, stage: "connections", head_bytes: 1, size_limit: u64::MAX };
            tokio::spawn(async move {
                let wire = &reader.shared.wire;
                if let Ok((opened, log)) = opening.request(wire, 1, false).await {
                    drop(opening.receive(wire, opened, log).await); // then it can be used again
                }
            });
        }
    }

    /// Opens an object and reads its first `head_bytes` (all of it where it is smaller).
    pub async fn open(&self, key: &str, head_bytes: u64) -> Result<(Object, Vec<u8>), Error> {
        let opening = Opening { key, stage: "headers", head_bytes, size_limit: u64::MAX };
        self.open_with(&opening).await
    }

    /// A small file, whole: at most `limit` bytes.
    pub async fn whole(&self, key: &str, limit: u64) -> Result<Vec<u8>, Error> {
        let opening = Opening { key, stage: "small files", head_bytes: limit, size_limit: limit };
        self.open_with(&opening).await.map(|(_, bytes)| bytes)
    }

    /// A small file that need not be there.
    pub async fn optional(&self, key: &str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
        match self.whole(key, limit).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.may_be_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits for a place among the ranges in flight. Turns are given in the order in which they are asked for, so that
    /// whoever takes them one after another has its ranges asked for in that order.
    pub async fn turn(&self, priority: Priority) -> Turn {
        let queue = match priority {
            Priority::Weights => &self.shared.weights,
            Priority::Urgent => &self.shared.urgent,
        };
        let permit = Arc::clone(queue).acquire_owned().await;
        Turn { priority, _permit: permit.expect("a reader's queues are never closed") }
    }

    /// Reads `range` of `object` into `sink` and gives the sink back. `stage` is what the timeline calls it.
    pub async fn fetch<S: Sink>(
        &self,
        turn: Turn,
        object: &Object,
        range: Range<u64>,
        stage: &Arc<str>,
        sink: S,
    ) -> Result<S, Error> {
        let landing = Landing::new(object.clone(), range, sink);
        let pauses = Pauses::new(&self.shared.limits);
        self.finish(&landing, stage, turn.priority, pauses).await?;
        Ok(landing.into_sink())
    }

    /// Attempt after attempt, until nothing is missing.
    async fn finish<S: Sink>(
        &self,
        landing: &Landing<S>,
        stage: &Arc<str>,
        priority: Priority,
        mut pauses: Pauses,
    ) -> Result<(), Error> {
        let wire = &self.shared.wire;
        let is_weights = priority == Priority::Weights;
        loop {
            let before = landing.reached();
            let attempt = pauses.attempt;
            let label = |hedge| Label { stage: Arc::clone(stage), attempt, hedge, is_weights };
            let read = |hedge| wire.attempt(landing, label(hedge));
            match wire.race(read, || wire.until_late(landing)).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    pauses.wait(error, landing.reached() > before, &wire.timeline).await?;
                }
            }
        }
    }

    async fn open_with(&self, opening: &Opening<'_>) -> Result<(Object, Vec<u8>), Error> {
        let Shared { wire, limits, .. } = &*self.shared;
        let turn = self.turn(Priority::Urgent).await;
        let mut pauses = Pauses::new(limits);
        let (landing, received) = loop {
            match opening.attempt(wire, pauses.attempt).await {
                Err(error) => pauses.wait(error, false, &wire.timeline).await?,
                Ok(opened) => break opened,
            }
        };
        // What broke in the middle goes on from the byte reached, as a range of the version that is known now.
        if let Err(error) = received {
            pauses.wait(error, landing.reached() > 0, &wire.timeline).await?;
            self.finish(&landing, &opening.stage.into(), turn.priority, pauses).await?;
        }
        Ok((landing.object.clone(), landing.into_sink().into_bytes()))
    }
}
