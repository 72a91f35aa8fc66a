//! The iterator that the model pulls its layers from, and the clock that watches it.
//!
//! A layer is handed over when the model asks for it and it is complete: that is when its arithmetic begins; when the
//! model asks for the next one it has ended. So the iterator sees both, and the model knows of no clock.
//!
//! The CPU computes while it is waited for. A GPU is given its work and does it later: there, a thread of its own sees
//! when it has begun and when it is done.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use firstlight_device::Tensor;
use firstlight_device::cuda::port::Port;
use firstlight_device::cuda::ring::Ring;
use firstlight_plan::Plan;
use firstlight_store::{Priority, Reader};
use firstlight_timeline::{At, Lane, Mark, Timeline};

use crate::Error;
use crate::checkpoint::Checkpoint;
use crate::cuda::{Arithmetic, Cuda};
use crate::host::Host;
use crate::mapped::Mapped;
use crate::stamps::Stamps;
use crate::stream::{Reading, Stream};

/// The tensors of one stage: complete, and resident when the device comes to use them.
pub struct Layer<T = Tensor> {
    /// The stage's name.
    pub stage: String,
    /// Its tensors by their names in the checkpoint.
    pub tensors: HashMap<String, T>,
}

/// The stages of a plan in execution order, each as soon as it is complete.
pub struct Layers<T = Tensor> {
    source: Box<dyn Source<T>>,
    stamps: Stamps,
    computing: Computing,
}

/// Where layers come from.
pub(crate) trait Source<T>: Send {
    /// The next stage, as soon as it is complete.
    fn next_layer(&mut self) -> Option<Result<Layer<T>, Error>>;

    /// Whether there is none any more.
    fn is_at_its_end(&self) -> bool;
}

impl Layers {
    /// Begins to carry out `plan` in the memory of this machine. Its files are mapped, and made resident by a thread;
    /// everything else is fetched, by tasks of the current tokio runtime. Dropping the iterator ends them.
    pub fn start(
        reader: &Reader,
        checkpoint: &Checkpoint,
        plan: Plan,
        priority: Priority,
        timeline: &Timeline,
    ) -> Result<Self, Error> {
        let computing = Computing::new(timeline.clone(), Arc::new(AtOnce));
        if let Some((mapped, stamps)) = Mapped::start(reader, checkpoint, &plan, timeline)? {
            return Ok(Self { source: Box::new(mapped), stamps, computing });
        }
        let landing = Host::new(plan.arena_bytes)?;
        let reading = Reading { reader, checkpoint, priority, timeline };
        let stream = Stream::start(landing, plan, reading)?;
        Ok(Self { source: Box::new(stream), stamps: Stamps::default(), computing })
    }
}

impl<T: 'static> Layers<T> {
    /// Begins to carry out `plan` on the device that `ring` leads to; no fetch may be longer than a slot. Files of this
    /// machine are read, everything else is fetched, by tasks of the current tokio runtime. Dropping the iterator ends
    /// them. The ring is kept until the last stage is computed: it is given back by a call of the driver that may wait
    /// for the device, which nobody does before.
    pub fn through<P: Port<Tensor = T>>(
        ring: &Arc<Ring<P>>,
        reader: &Reader,
        checkpoint: &Checkpoint,
        plan: Plan,
        timeline: &Timeline,
    ) -> Result<Self, Error> {
        let arithmetic = Arithmetic::watched(Arc::clone(ring.port()))?;
        let mut computing = Computing::new(timeline.clone(), Arc::new(arithmetic));
        computing.kept = Arc::new(Mutex::new(Some(Box::new(Arc::clone(ring)))));
        let landing = Cuda::new(Arc::clone(ring), &plan, timeline)?;
        let reading = Reading { reader, checkpoint, priority: Priority::Weights, timeline };
        let stream = Stream::start(landing, plan, reading)?;
        Ok(Self { source: Box::new(stream), stamps: Stamps::default(), computing })
    }
}

impl<T> Layers<T> {
    /// The clock of the arithmetic, to be told when the last layer's has ended.
    #[must_use]
    pub fn computing(&self) -> Computing {
        self.computing.clone()
    }

    /// The files that are in use where they lie, also when all layers were handed over.
    #[must_use]
    pub fn stamps(&self) -> Stamps {
        self.stamps.clone()
    }
}

impl<T> Iterator for Layers<T> {
    type Item = Result<Layer<T>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.computing.end();
        let layer = self.source.next_layer();
        if let Some(Ok(layer)) = &layer {
            self.computing.begin(&layer.stage, self.source.is_at_its_end());
        }
        layer
    }
}

/// The work that a device was given.
pub(crate) trait Queue: Send + Sync {
    /// Has `due` done when all work that was given so far is done; in the order of the calls.
    fn when_done(&self, due: Box<dyn FnOnce() + Send>);
}

/// A device that has done its work when it returns.
struct AtOnce;

impl Queue for AtOnce {
    fn when_done(&self, due: Box<dyn FnOnce() + Send>) {
        due();
    }
}

/// What is being computed, and since when.
#[derive(Clone)]
pub struct Computing {
    timeline: Timeline,
    queue: Arc<dyn Queue>,
    current: Arc<Mutex<Option<Began>>>,
    /// What is to be dropped when the last stage's arithmetic is done.
    kept: Arc<Mutex<Option<Box<dyn Send>>>>,
}

/// A stage whose arithmetic was begun.
struct Began {
    stage: String,
    /// Known when the device has come to it.
    since: Arc<OnceLock<At>>,
    is_last: bool,
}

impl Computing {
    fn new(timeline: Timeline, queue: Arc<dyn Queue>) -> Self {
        Self { timeline, queue, current: Arc::default(), kept: Arc::default() }
    }

    fn begin(&self, stage: &str, is_last: bool) {
        let since = Arc::new(OnceLock::new());
        let (timeline, known) = (self.timeline.clone(), Arc::clone(&since));
        self.queue.when_done(Box::new(move || {
            known.get_or_init(|| timeline.now());
        }));
        let current = Began { stage: stage.to_owned(), since, is_last };
        *self.current.lock().expect("no holder panics") = Some(current);
    }

    /// All arithmetic of the stage that was handed over last has been asked for. Does nothing where that is known
    /// already.
    pub fn end(&self) {
        let current = self.current.lock().expect("no holder panics").take();
        if let Some(Began { stage, since, is_last }) = current {
            let timeline = self.timeline.clone();
            let kept = self.kept.lock().expect("no holder panics").take_if(|_| is_last);
            self.queue.when_done(Box::new(move || {
                let now = timeline.now();
                timeline.record(Lane::Compute, stage, *since.get().unwrap_or(&now), now);
                timeline.mark_at(Mark::FirstLayerComputed, now);
                drop(kept);
            }));
        }
    }
}
