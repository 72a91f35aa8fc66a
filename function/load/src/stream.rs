//! Ranges from the wire to their places in one arena.
//!
//! As many tasks as ranges may be in flight take the fetches in the plan's order and send the filled regions to whoever
//! pulls the layers, where they become tensors once their stage is complete. Until the first byte lands, another thread
//! faults the arena's pages in, in the order in which they will be written.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
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

/// A huge page.
const POPULATE_BYTES: u64 = 2 << 20;

/// The receiving end of a load.
pub(crate) struct Stream {
    stages: std::vec::IntoIter<Assembly>,
    arrivals: Receiver<Result<Arrival, Error>>,
    /// Stages by the number they have in the plan, for arrivals that are ahead of the one that is waited for.
    ahead: HashMap<usize, Vec<Arrival>>,
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
        let landing = Arc::new(AtomicBool::new(false));
        populate_ahead(&arena, Arc::clone(&landing));
        let (sender, arrivals) = channel();
        let fetching = Fetching {
            reader,
            objects,
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
            fetching,
            is_weights: priority == Priority::Weights,
            timeline: timeline.clone(),
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
            if let Some(at) = resident.filter(|_| self.is_weights) {
                self.timeline.mark_at(Mark::FirstLayerResident, at);
                if self.stages.len() == 0 {
                    self.timeline.mark_at(Mark::LastLayerResident, at);
                }
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

/// Faults the arena's pages in, in the order in which they will be written, while the network is still connecting: until
/// that is done, or the first byte has landed, or nobody needs the arena any more. Once bytes flow, the threads that
/// write them fault in the rest: on loopback, where bytes come as fast as pages are cleared, a thread that clears beside
/// them costs a third more CPU time, for pages that are cleared twice and caches that are not hot.
fn populate_ahead(arena: &Arc<Arena>, landing: Arc<AtomicBool>) {
    let bytes = arena.bytes();
    let arena = Arc::downgrade(arena);
    let populate = move || {
        let mut at = 0;
        while at < bytes && !landing.load(Relaxed) {
            let end = bytes.min(at + POPULATE_BYTES);
            if !arena.upgrade().is_some_and(|arena| arena.populate(at..end)) {
                return;
            }
            at = end;
        }
    };
    // Without the thread, all pages fault in as they are written.
    drop(thread::Builder::new().name("populate".into()).spawn(populate));
}

/// What the tasks that fetch share.
struct Fetching {
    reader: Reader,
    objects: Vec<Object>,
    priority: Priority,
    names: Vec<Arc<str>>,
    jobs: Mutex<VecDeque<Job>>,
    /// Set when the first byte of all lands.
    landing: Arc<AtomicBool>,
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
        let mut landed = true;
        while let Some(ended) = tasks.join_next().await {
            landed &= ended.unwrap_or(false);
        }
        if landed && shared.priority == Priority::Weights {
            shared.timeline.mark(Mark::LastWeightByte);
        }
    }

    /// Carries out jobs until there is none left; says whether all of its own landed. After a failure no more are begun.
    async fn work(&self, sender: &Sender<Result<Arrival, Error>>) -> bool {
        let mut landed = true;
        loop {
            let turn = self.reader.turn(self.priority).await;
            let Some(Job { fetch, regions }) = self.next_job() else { return landed };
            let (object, stage) = (&self.objects[fetch.shard], &self.names[fetch.stage]);
            let places = Places::new(&fetch.places, regions, Arc::clone(&self.landing));
            let range = fetch.range.clone();
            let filled = self.reader.fetch(turn, object, range, stage, places).await;
            if filled.is_err() {
                landed = false;
                self.jobs.lock().expect("no holder panics").clear();
            }
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
