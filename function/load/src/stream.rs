//! Ranges from the wire to their places in one arena.
//!
//! As many tasks as ranges may be in flight take the fetches in the plan's order and send the filled regions to whoever
//! pulls the layers, where they become tensors once their stage is complete. Another thread faults the arena's pages in, in the same order, ahead of the bytes.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
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
    fetching: AbortHandle,
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
        let fetching = Fetching {
            reader,
            objects,
            priority,
            names: plan.stages.iter().map(|stage| stage.name.as_str().into()).collect(),
            jobs: Mutex::new(jobs),
            timeline: timeline.clone(),
        };
        let fetching = tokio::spawn(fetching.run(sender)).abort_handle();
        let stages = plan.stages.into_iter().enumerate();
        let stages: Vec<_> = stages.map(|(number, plan)| Assembly { number, plan }).collect();
        let timeline = timeline.clone();
        Ok(Self { stages: stages.into_iter(), arrivals, ahead: HashMap::new(), fetching, timeline })
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
            if self.stages.len() == 0 {
                self.timeline.mark(Mark::LastLayerResident);
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
        self.fetching.abort();
    }
}

/// A fetch and the regions that it fills.
struct Job {
    fetch: Fetch,
    regions: Vec<Region>,
}

/// Cuts the arena into the places of all fetches.
fn jobs(arena: &Arc<Arena>, plan: &Plan) -> Result<VecDeque<Job>, Error> {
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

/// What the tasks that fetch share.
struct Fetching {
    reader: Reader,
    objects: Vec<Object>,
    priority: Priority,
    names: Vec<Arc<str>>,
    jobs: Mutex<VecDeque<Job>>,
    timeline: Timeline,
}

impl Fetching {
    /// Carries out all jobs: as many tasks as may be in flight, each with the next job in the plan's order. A failure is
    /// sent on, and ends the rest when the receiver is dropped.
    async fn run(self, sender: Sender<Result<Arrival, Error>>) {
        let shared = Arc::new(self);
        let mut tasks = JoinSet::new();
        for _ in 0..shared.reader.in_flight(shared.priority) {
            let (shared, sender) = (Arc::clone(&shared), sender.clone());
            tasks.spawn(async move { shared.work(&sender).await });
        }
        while tasks.join_next().await.is_some() {}
        if shared.priority == Priority::Weights {
            shared.timeline.mark(Mark::LastWeightByte);
        }
    }

    async fn work(&self, sender: &Sender<Result<Arrival, Error>>) {
        loop {
            let turn = self.reader.turn(self.priority).await;
            let Some(Job { fetch, regions }) = self.next_job() else { return };
            let (object, stage) = (&self.objects[fetch.shard], &self.names[fetch.stage]);
            let places = Places::new(&fetch.places, regions);
            let range = fetch.range.clone();
            let filled = self.reader.fetch(turn, object, range, stage, places).await;
            let arrival = filled.map(|filled| arrival(&fetch, filled, self.timeline.now()));
            // Nobody listens any more: the load was given up.
            let _ = sender.send(arrival.map_err(Error::from));
        }
    }

    fn next_job(&self) -> Option<Job> {
        self.jobs.lock().expect("no holder panics").pop_front()
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
