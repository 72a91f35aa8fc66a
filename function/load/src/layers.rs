//! The iterator that the model pulls its layers from, and the clock that watches it.
//!
//! A layer is handed over when the model asks for it and it is complete: that is when its arithmetic begins; when the
//! model asks for the next one it has ended. So the iterator sees both, and the model knows of no clock.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use firstlight_device::Tensor;
use firstlight_plan::Plan;
use firstlight_store::{Priority, Reader};
use firstlight_timeline::{At, Lane, Mark, Timeline};

use crate::Error;
use crate::checkpoint::Checkpoint;
use crate::mapped::Mapped;
use crate::stream::Stream;

/// The tensors of one stage, complete and resident.
pub struct Layer {
    /// The stage's name.
    pub stage: String,
    /// Its tensors by their names in the checkpoint.
    pub tensors: HashMap<String, Tensor>,
}

/// The stages of a plan in execution order, each as soon as it is complete.
pub struct Layers {
    source: Source,
    computing: Computing,
}

enum Source {
    Streamed(Stream),
    Mapped(Mapped),
}

impl Layers {
    /// Begins to carry out `plan`. Files of this machine are mapped, and made resident by a thread; everything else is fetched, by tasks of the current
    /// tokio runtime. Dropping the iterator ends them.
    pub fn start(
        reader: &Reader,
        checkpoint: &Checkpoint,
        plan: Plan,
        priority: Priority,
        timeline: &Timeline,
    ) -> Result<Self, Error> {
        let source = if let Some(mapped) = Mapped::start(reader, checkpoint, &plan, timeline)? {
            Source::Mapped(mapped)
        } else {
            let objects = checkpoint.objects.clone();
            let stream = Stream::start(reader.clone(), objects, plan, priority, timeline)?;
            Source::Streamed(stream)
        };
        Ok(Self { source, computing: Computing::new(timeline.clone()) })
    }

    /// The clock of the arithmetic, to be told when the last layer's has ended.
    #[must_use]
    pub fn computing(&self) -> Computing {
        self.computing.clone()
    }
}

impl Iterator for Layers {
    type Item = Result<Layer, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.computing.end();
        let layer = match &mut self.source {
            Source::Streamed(stream) => stream.next_layer(),
            Source::Mapped(mapped) => mapped.next_layer(),
        };
        if let Some(Ok(layer)) = &layer {
            self.computing.begin(&layer.stage);
        }
        layer
    }
}

/// What is being computed, and since when.
#[derive(Clone)]
pub struct Computing {
    timeline: Timeline,
    current: Arc<Mutex<Option<(String, At)>>>,
}

impl Computing {
    fn new(timeline: Timeline) -> Self {
        Self { timeline, current: Arc::default() }
    }

    fn begin(&self, stage: &str) {
        let now = self.timeline.now();
        *self.current.lock().expect("no holder panics") = Some((stage.to_owned(), now));
    }

    /// The arithmetic of the stage that was handed over last has ended. Does nothing where that is known already.
    pub fn end(&self) {
        let current = self.current.lock().expect("no holder panics").take();
        if let Some((stage, since)) = current {
            self.timeline.record(Lane::Compute, stage, since, self.timeline.now());
            self.timeline.mark(Mark::FirstLayerComputed);
        }
    }
}
