//! Ranges from the wire to their places in one arena.
//!
//! A dispatcher takes a turn of the reader for each fetch, in the plan's order, and lets a task carry it out; the task
//! sends the filled regions to whoever pulls the layers, where they become tensors once their stage is complete. Another
//! thread faults the arena's pages in, in the same order, ahead of the bytes.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use firstlight_device::{Arena, Region, Tensor};
use firstlight_plan::{Fetch, Placed, Plan, StagePlan};
use firstlight_store::{Object, Priority, Reader};
use firstlight_timeline::{At, Lane, Mark, Timeline};
use tokio::task::{AbortHandle, JoinSet};

use crate::places::Places;
use crate::{Error, Layer, device_dtype};

/// What one call faults in: a few milliseconds of huge pages, so that the end of the load is noticed soon.
const POPULATE_BYTES: u64 = 32 << 20;

/// The receiving end of a load.
pub(crate) struct Stream {
    stages: std::vec::IntoIter<Assembly>,
    arrivals: Receiver<Result<Arrival, Error>>,
    /// Stages by the number they have in the plan, for arrivals that are ahead of the one that is waited for.
    ahead: HashMap<usize, Vec<Arrival>>,
    dispatcher: AbortHandle,
    timeline: Timeline,
}

/// A stage that waits for its fetches.
struct Assembly {
    number: usize,
    plan: StagePlan,
}

/// The filled regions of one fetch.
struct Arrival {
    stage: usize,
    /// With each region, the tensor of the stage that it is a part of.
    regions: Vec<(usize, Region)>,
    at: At,
}

impl Stream {
    pub(crate) fn start(
        reader: Reader,
        objects: Vec<Object>,
        plan: Plan,
        priority: Priority,
        timeline: &Timeline,
    ) -> Result<Self, Error> {
        let arena = Arena::new(plan.arena_bytes)?;
        let jobs = jobs(&arena, &plan)?;
        populate_ahead(&arena, plan.arena_bytes);
        let (sender, arrivals) = channel();
        let dispatcher = Dispatcher {
            reader,
            objects,
            priority,
            names: plan.stages.iter().map(|stage| stage.name.as_str().into()).collect(),
            timeline: timeline.clone(),
        };
        let dispatcher = tokio::spawn(dispatcher.run(jobs, sender)).abort_handle();
        let stages = plan.stages.into_iter().enumerate();
        let stages: Vec<_> = stages.map(|(number, plan)| Assembly { number, plan }).collect();
        let timeline = timeline.clone();
        Ok(Self {
            stages: stages.into_iter(),
            arrivals,
            ahead: HashMap::new(),
            dispatcher,
            timeline,
        })
    }

    /// The next stage, as soon as all of its fetches have arrived.
    pub(crate) fn next_layer(&mut self) -> Option<Result<Layer, Error>> {
        let stage = self.stages.next()?;
        Some(self.wait_for(&stage).and_then(|arrived| {
            let resident = arrived.iter().map(|arrival| arrival.at).max();
            let started = self.timeline.now();
            let layer = assemble(stage.plan, arrived);
            self.timeline.record(Lane::Verify, stage_label(&layer), started, self.timeline.now());
            if let Some(at) = resident {
                self.timeline.mark_at(Mark::FirstLayerResident, at);
            }
            layer
        }))
    }

    fn wait_for(&mut self, stage: &Assembly) -> Result<Vec<Arrival>, Error> {
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

impl Drop for Stream {
    fn drop(&mut self) {
        self.dispatcher.abort();
    }
}

/// A fetch and the regions that it fills.
struct Job {
    fetch: Fetch,
    regions: Vec<Region>,
}

/// Cuts the arena into the places of all fetches.
fn jobs(arena: &Arc<Arena>, plan: &Plan) -> Result<Vec<Job>, Error> {
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

/// Faults the arena's pages in, in order, until that is done or nobody needs the arena any more.
fn populate_ahead(arena: &Arc<Arena>, bytes: u64) {
    let arena = Arc::downgrade(arena);
    thread::spawn(move || {
        for start in (0..bytes).step_by(usize::try_from(POPULATE_BYTES).expect("32 MiB")) {
            let end = bytes.min(start + POPULATE_BYTES);
            if !arena.upgrade().is_some_and(|arena| arena.populate(start..end)) {
                return;
            }
        }
    });
}

struct Dispatcher {
    reader: Reader,
    objects: Vec<Object>,
    priority: Priority,
    names: Vec<Arc<str>>,
    timeline: Timeline,
}

impl Dispatcher {
    /// Carries out all jobs. The first failure is sent on, and ends the rest when the receiver is dropped.
    async fn run(self, jobs: Vec<Job>, sender: Sender<Result<Arrival, Error>>) {
        let mut tasks = JoinSet::new();
        for job in jobs {
            let turn = self.reader.turn(self.priority).await;
            let (reader, sender) = (self.reader.clone(), sender.clone());
            let object = self.objects[job.fetch.shard].clone();
            let stage = Arc::clone(&self.names[job.fetch.stage]);
            let timeline = self.timeline.clone();
            tasks.spawn(async move {
                let Job { fetch, regions } = job;
                let places = Places::new(&fetch.places, regions);
                let filled = reader.fetch(turn, &object, fetch.range.clone(), &stage, places).await;
                let arrival = filled.map(|filled| arrival(&fetch, filled, timeline.now()));
                // Nobody listens any more: the load was given up.
                let _ = sender.send(arrival.map_err(Error::from));
            });
        }
        while tasks.join_next().await.is_some() {}
        if self.priority == Priority::Weights {
            self.timeline.mark(Mark::LastWeightByte);
        }
    }
}

fn arrival(fetch: &Fetch, filled: Places, at: At) -> Arrival {
    let tensors = fetch.places.iter().map(|place| place.tensor);
    Arrival { stage: fetch.stage, regions: tensors.zip(filled.into_regions()).collect(), at }
}

/// All regions of a stage to its tensors.
fn assemble(stage: StagePlan, arrived: Vec<Arrival>) -> Result<Layer, Error> {
    let mut regions: Vec<Vec<Region>> = stage.tensors.iter().map(|_| Vec::new()).collect();
    for (tensor, region) in arrived.into_iter().flat_map(|arrival| arrival.regions) {
        regions[tensor].push(region);
    }
    let tensors = stage.tensors.into_iter().zip(regions);
    let tensors = tensors.map(|(placed, regions)| tensor(placed, regions));
    Ok(Layer { stage: stage.name, tensors: tensors.collect::<Result<_, _>>()? })
}

fn tensor(placed: Placed, mut regions: Vec<Region>) -> Result<(String, Tensor), Error> {
    regions.sort_by_key(|region| region.range().start);
    let dtype = device_dtype(placed.dtype);
    let size = |size: &u64| usize::try_from(*size).expect("the tensor is in memory");
    let shape = placed.shape.iter().map(size).collect();
    let tensor = Tensor::from_region(Region::join(regions)?, dtype, shape)?;
    Ok((placed.name, tensor))
}

fn stage_label(layer: &Result<Layer, Error>) -> String {
    layer.as_ref().map_or_else(|_| "failed".into(), |layer| layer.stage.clone())
}
