//! Ranges from the wire, or from local files, to their places in one arena.
//!
//! As many tasks as ranges may be in flight take the fetches in the plan's order and send the regions that they fill to
//! whoever pulls the layers, where they become tensors once their stage is complete. Where bytes land, and what is to be
//! waited for before that, is the [`Landing`]'s.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use firstlight_device::arena::Extent;
use firstlight_device::{Arena, Region};
use firstlight_plan::{Fetch, Placed, Plan, StagePlan};
use firstlight_store::{Object, Priority, Reader, Turn};
use firstlight_timeline::{At, Lane, Mark, Timeline};
use tokio::task::{AbortHandle, JoinSet};

use crate::files::LocalFile;
use crate::landing::{Landed, Landing};
use crate::layers::Source;
use crate::{Checkpoint, Error, Layer, device_dtype};

/// What is read, and what is told of it.
pub(crate) struct Reading<'a> {
    pub(crate) reader: &'a Reader,
    pub(crate) checkpoint: &'a Checkpoint,
    pub(crate) priority: Priority,
    pub(crate) timeline: &'a Timeline,
}

/// The receiving end of a load.
pub(crate) struct Stream<L: Landing> {
    stages: std::vec::IntoIter<Assembly>,
    arrivals: Receiver<Result<Arrival<L>, Error>>,
    /// Stages by the number they have in the plan, for arrivals that are ahead of the one that is waited for.
    ahead: HashMap<usize, Vec<Arrival<L>>>,
    gate: L::Gate,
    fetching: AbortHandle,
    /// Whether the stages are the model's, and not rows that are read beside them.
    is_weights: bool,
    timeline: Timeline,
}

/// A stage that waits for its fetches.
struct Assembly {
    number: usize,
    plan: StagePlan,
}

/// The regions of one fetch.
struct Arrival<L: Landing> {
    stage: usize,
    /// The tensors of the stage that the regions are parts of.
    tensors: Vec<usize>,
    landed: Landed<L>,
    at: At,
}

impl<L: Landing> Stream<L> {
    /// Begins to fetch `plan`, by tasks of the current tokio runtime.
    pub(crate) fn start(
        landing: L,
        plan: Plan,
        Reading { reader, checkpoint, priority, timeline }: Reading<'_>,
    ) -> Result<Self, Error> {
        let jobs = jobs(landing.arena(), &plan)?;
        let objects = checkpoint.objects.iter();
        let from = |object: &Object| -> Result<_, Error> {
            Ok((object.clone(), LocalFile::open(reader, object, timeline)?))
        };
        let gate = landing.gate();
        let (sender, arrivals) = channel();
        let fetching = Fetching {
            reader: reader.clone(),
            objects: objects.map(from).collect::<Result<_, _>>()?,
            priority,
            names: plan.stages.iter().map(|stage| stage.name.as_str().into()).collect(),
            jobs: Mutex::new(jobs),
            landing,
            timeline: timeline.clone(),
        };
        let fetching = tokio::spawn(fetching.run(sender)).abort_handle();
        let stages = plan.stages.into_iter().enumerate();
        let stages: Vec<_> = stages.map(|(number, plan)| Assembly { number, plan }).collect();
        Ok(Self {
            stages: stages.into_iter(),
            arrivals,
            ahead: HashMap::new(),
            gate,
            fetching,
            is_weights: priority == Priority::Weights,
            timeline: timeline.clone(),
        })
    }

    fn wait_for(&mut self, stage: &Assembly) -> Result<Vec<Arrival<L>>, Error> {
        let mut arrived = self.ahead.remove(&stage.number).unwrap_or_default();
        while arrived.len() < stage.plan.fetches.len() {
            let cancelled = |_| Error::Cancelled { stage: stage.plan.name.clone() };
            let arrival = self.arrivals.recv().map_err(cancelled)??;
            if arrival.stage == stage.number {
                arrived.push(arrival);
            } else {
                self.ahead.entry(arrival.stage).or_default().push(arrival);
            }
        }
        Ok(arrived)
    }
}

impl<L: Landing> Source<L::Tensor> for Stream<L> {
    fn next_layer(&mut self) -> Option<Result<Layer<L::Tensor>, Error>> {
        let stage = self.stages.next()?;
        Some(self.wait_for(&stage).and_then(|arrived| {
            let resident = arrived.iter().map(|arrival| arrival.at).max();
            let started = self.timeline.now();
            let layer = assemble::<L>(&self.gate, stage.plan, arrived);
            self.timeline.record(Lane::Verify, stage_label(&layer), started, self.timeline.now());
            if let Some(at) = resident.filter(|_| self.is_weights && L::IS_RESIDENT) {
                self.timeline.mark_at(Mark::FirstLayerResident, at);
                if self.stages.len() == 0 {
                    self.timeline.mark_at(Mark::LastLayerResident, at);
                }
            }
            layer
        }))
    }

    fn is_at_its_end(&self) -> bool {
        self.stages.len() == 0
    }
}

impl<L: Landing> Drop for Stream<L> {
    fn drop(&mut self) {
        self.fetching.abort();
    }
}

/// A fetch and the regions that it fills.
struct Job<M> {
    fetch: Fetch,
    regions: Vec<Region<M>>,
}

/// Cuts the arena into the places of all fetches.
fn jobs<M: Extent>(arena: &Arc<Arena<M>>, plan: &Plan) -> Result<VecDeque<Job<M>>, Error> {
    let places = plan.fetches.iter().flat_map(|fetch| &fetch.places);
    let ranges: Vec<Range<u64>> = places
        .map(|place| place.arena..place.arena + (place.source.end - place.source.start))
        .collect();
    let mut regions = arena.carve(&ranges)?.into_iter();
    let job = |fetch: &Fetch| {
        let regions = regions.by_ref().take(fetch.places.len()).collect();
        Job { fetch: fetch.clone(), regions }
    };
    Ok(plan.fetches.iter().map(job).collect())
}

/// What the tasks that fetch share.
struct Fetching<L: Landing> {
    reader: Reader,
    /// With each object, the file that it is, if it is one.
    objects: Vec<(Object, Option<Arc<LocalFile>>)>,
    priority: Priority,
    names: Vec<Arc<str>>,
    jobs: Mutex<VecDeque<Job<L::Memory>>>,
    landing: L,
    timeline: Timeline,
}

impl<L: Landing> Fetching<L> {
    /// Carries out all jobs: as many tasks as may be in flight, each with the next job in the plan's order. A failure is
    /// sent on, and ends the rest when the receiver is dropped.
    async fn run(self, sender: Sender<Result<Arrival<L>, Error>>) {
        let shared = Arc::new(self);
        let mut tasks = JoinSet::new();
        for _ in 0..shared.reader.in_flight(shared.priority) {
            let (shared, sender) = (Arc::clone(&shared), sender.clone());
            tasks.spawn(async move { shared.work(&sender).await });
        }
        let mut landed = true;
        while let Some(ended) = tasks.join_next().await {
            landed &= ended.unwrap_or(false);
        }
        if landed && shared.priority == Priority::Weights {
            shared.timeline.mark(Mark::LastWeightByte);
        }
    }

    /// Carries out jobs until there is none left; says whether all of its own landed. After a failure no more are begun.
    async fn work(&self, sender: &Sender<Result<Arrival<L>, Error>>) -> bool {
        let mut landed = true;
        while let Some(arrival) = self.next_arrival(sender).await {
            if arrival.is_err() {
                landed = false;
                self.jobs.lock().expect("no holder panics").clear();
            }
            // Nobody listens any more: the load was given up.
            let _ = sender.send(arrival);
        }
        landed
    }

    /// The next job, done; nothing where there is none left. A job is taken when it can be begun: the next in the plan's
    /// order is always the next to begin.
    async fn next_arrival(
        &self,
        sender: &Sender<Result<Arrival<L>, Error>>,
    ) -> Option<Result<Arrival<L>, Error>> {
        let turn = self.reader.turn(self.priority).await;
        if self.jobs.lock().expect("no holder panics").is_empty() {
            return None;
        }
        let room = match self.landing.room().await {
            Ok(room) => room,
            Err(error) => return Some(Err(error)),
        };
        let Job { fetch, regions } = self.jobs.lock().expect("no holder panics").pop_front()?;
        let sink = self.landing.sink(&fetch, regions, room);
        let landed = self.receive(turn, &fetch, sink).await.and_then(|sink| {
            let sender = sender.clone();
            let failed = move |error| drop(sender.send(Err(error)));
            self.landing.land(&fetch, sink, failed)
        });
        Some(landed.map(|landed| Arrival {
            stage: fetch.stage,
            tensors: fetch.places.iter().map(|place| place.tensor).collect(),
            landed,
            at: self.timeline.now(),
        }))
    }

    async fn receive(&self, turn: Turn, fetch: &Fetch, sink: L::Sink) -> Result<L::Sink, Error> {
        let ((object, file), stage) = (&self.objects[fetch.shard], &self.names[fetch.stage]);
        match file {
            Some(file) => file.read(fetch.range.clone(), stage, sink).await,
            None => Ok(self.reader.fetch(turn, object, fetch.range.clone(), stage, sink).await?),
        }
    }
}

/// All regions of a stage to its tensors.
fn assemble<L: Landing>(
    gate: &L::Gate,
    stage: StagePlan,
    arrived: Vec<Arrival<L>>,
) -> Result<Layer<L::Tensor>, Error> {
    let mut regions: Vec<Vec<_>> = stage.tensors.iter().map(|_| Vec::new()).collect();
    let mut filled = Vec::with_capacity(arrived.len());
    for Arrival { tensors, landed, .. } in arrived {
        for (tensor, region) in tensors.into_iter().zip(landed.regions) {
            regions[tensor].push(region);
        }
        filled.push(landed.filled);
    }
    L::admit(gate, filled)?;
    let tensors = stage.tensors.into_iter().zip(regions);
    let tensors = tensors.map(|(placed, regions)| tensor::<L>(placed, regions));
    Ok(Layer { stage: stage.name, tensors: tensors.collect::<Result<_, _>>()? })
}

fn tensor<L: Landing>(
    placed: Placed,
    mut regions: Vec<Region<L::Memory>>,
) -> Result<(String, L::Tensor), Error> {
    regions.sort_by_key(|region| region.range().start);
    let dtype = device_dtype(placed.dtype);
    let size = |size: &u64| usize::try_from(*size).expect("the tensor is in memory");
    let shape = placed.shape.iter().map(size).collect();
    Ok((placed.name, L::tensor(Region::join(regions)?, dtype, shape)?))
}

fn stage_label<T>(layer: &Result<Layer<T>, Error>) -> String {
    layer.as_ref().map_or_else(|_| "failed".into(), |layer| layer.stage.clone())
}
