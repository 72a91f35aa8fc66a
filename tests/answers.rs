//! Many answers at once are those that each would get alone, whenever it asks and whoever leaves: the engine with a
//! trained model of 4 MB, as it is loaded.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use firstlight_device::{Cpu, Device, KV_BLOCK};
use firstlight_generate::engine::{Cancelled, Event, Job, Limits, Worker};
use firstlight_generate::{Bias, Engine, Error, Sampling, SamplingOptions, StopRules, Tokenizer};
use firstlight_load::{Error as LoadError, Layers};
use firstlight_model::{Decoder, Group, Sequence, Settings, Spec, StageOrder};
use firstlight_store::folder::Folder;
use support::demo_model;
use support::engine::{Load, folder, group, load, settings};
use support::gated::Gated;
use tokio::sync::Semaphore;

const FIRST: StageOrder = StageOrder::EmbeddingFirst;

/// Beginnings of stories, of which some tokens each are taken.
const TEXT: &str = "Once upon a time there was a fox who lived in a small house by the river. One day the fox met an \
                    owl, and the owl said: come with me to the garden, there is a red ball under the old tree.";

fn demo_model() -> Folder {
    folder(&demo_model::demo_model())
}

fn tokenizer() -> Tokenizer {
    let folder = demo_model::demo_model();
    Tokenizer::parse(&std::fs::read(folder.join("tokenizer.json")).unwrap()).unwrap()
}

/// What a client asks.
#[derive(Debug, Clone)]
struct Wish {
    prompt_ids: Vec<u32>,
    max_tokens: u32,
    /// Events after which it leaves.
    patience: usize,
}

/// As many clients as `count`, all different, the same each time.
fn wishes(count: usize) -> Vec<Wish> {
    let ids = tokenizer().encode(TEXT, true).unwrap();
    let wish = |client: usize| {
        let first = client * 5 % (ids.len() / 2);
        let prompt_ids = ids[first..][..=client * 7 % (ids.len() / 2)].to_vec();
        let max_tokens = u32::try_from(1 + client * 11 % 90).unwrap();
        Wish { prompt_ids, max_tokens, patience: usize::MAX }
    };
    (0..count).map(wish).collect()
}

/// The greedy answer to one client that has a decoder for itself.
fn alone<D, I>(decoder: &mut Decoder<D, I>, wish: &Wish) -> Vec<u32>
where
    D: Device,
    I: Iterator<Item = Result<Group<D::Tensor>, LoadError>>,
{
    let mut sequence = Sequence::alone(decoder.settings().blocks);
    sequence.forward(decoder, &wish.prompt_ids).unwrap();
    let mut ids = Vec::new();
    loop {
        let logits = decoder.logits().unwrap();
        let best =
            (0..).zip(&logits).fold(
                (0, f32::MIN),
                |best, (id, &logit)| {
                    if logit > best.1 { (id, logit) } else { best }
                },
            );
        ids.push(best.0);
        if ids.len() == wish.max_tokens as usize {
            return ids;
        }
        sequence.forward(decoder, &[best.0]).unwrap();
    }
}

/// The answers that each gets alone.
async fn all_alone(wishes: &[Wish]) -> Vec<Vec<u32>> {
    let Load { spec, layers, .. } = load(demo_model(), FIRST).await;
    let mut decoder = decoder(spec, layers, settings(FIRST, 512));
    wishes.iter().map(|wish| alone(&mut decoder, wish)).collect()
}

fn decoder(
    spec: Spec,
    layers: Layers,
    settings: Settings,
) -> Decoder<Cpu, impl Iterator<Item = Result<Group<firstlight_device::Tensor>, LoadError>>> {
    Decoder::new(Cpu::new(), spec, settings, layers.map(group)).unwrap()
}

fn limits(spec: &Spec) -> Limits {
    Limits {
        context_length: spec.max_position_embeddings,
        vocabulary_size: spec.vocab_size,
        kv_blocks: 12,
        block_positions: KV_BLOCK,
        max_running: 8,
        max_waiting: 64,
        step_rows: 48,
    }
}

/// Has `worker` answer by the model that is being loaded.
fn run(worker: Worker, spec: Spec, layers: Layers, limits: &Limits) -> Result<(), Arc<Error>> {
    let settings = Settings {
        blocks: limits.kv_blocks,
        logits_rows: limits.max_running,
        ..settings(FIRST, 1)
    };
    worker.run(decoder(spec, layers, settings))
}

/// Submits a wish; its events come out of the receiver.
fn submit(engine: &Engine, wish: &Wish) -> Receiver<Event> {
    submit_with(engine, wish, || {})
}

/// The same; each token is noted when it comes.
fn submit_with(
    engine: &Engine,
    wish: &Wish,
    mut note: impl FnMut() + Send + 'static,
) -> Receiver<Event> {
    let (sender, events) = channel();
    let mut left = wish.patience;
    let job = Job {
        prompt_ids: wish.prompt_ids.clone(),
        sampling: Sampling::new(SamplingOptions::default()).unwrap(),
        stop: StopRules::new(Vec::new(), Vec::new(), wish.max_tokens).unwrap(),
        bias: Bias::default(),
        logprobs: None,
        prompt_logprobs: None,
        cancelled: Cancelled::default(),
        out: Box::new(move |event| {
            left -= 1;
            if let Event::Token(_) = event {
                note();
            }
            sender.send(event).is_ok() && left > 0
        }),
    };
    engine.submit(job).unwrap();
    events
}

/// The tokens that came, once no more can come, and whether the answer was complete.
fn answer(events: &Receiver<Event>) -> (Vec<u32>, bool) {
    let (mut ids, mut is_complete) = (Vec::new(), false);
    loop {
        match events.recv_timeout(Duration::from_mins(1)) {
            Ok(Event::Token(token)) => ids.push(token.id),
            Ok(Event::Finished { .. }) => is_complete = true,
            Ok(Event::Failed(error)) => panic!("{error}"),
            Ok(Event::Started | Event::Prompt(_)) => {}
            Err(RecvTimeoutError::Disconnected) => return (ids, is_complete),
            Err(RecvTimeoutError::Timeout) => panic!("a client hangs"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_gets_the_tokens_that_it_gets_alone_whatever_the_mix() {
    let wishes = wishes(24);
    let expected = all_alone(&wishes).await;
    for (kv_blocks, max_running, step_rows) in [(12, 8, 48), (3, 24, 512), (40, 3, 5), (40, 24, 1)]
    {
        let Load { spec, layers, .. } = load(demo_model(), FIRST).await;
        let limits = Limits { kv_blocks, max_running, step_rows, ..limits(&spec) };
        let (engine, worker) = Engine::new(tokenizer(), limits);
        let events: Vec<_> = wishes.iter().map(|wish| submit(&engine, wish)).collect();
        engine.stop(Duration::from_mins(1));
        run(worker, spec, layers, &limits).unwrap();
        for ((wish, events), expected) in wishes.iter().zip(&events).zip(&expected) {
            assert_eq!(answer(events), (expected.clone(), true), "{wish:?} with {limits:?}");
        }
        let statistics = engine.statistics();
        assert_eq!((statistics.running, statistics.kv_blocks_used), (0, 0));
        assert!(kv_blocks > 3 || statistics.preemptions > 0, "the cache was never full");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_before_the_last_weight_is_there_gets_the_same_tokens() {
    let wishes = wishes(8);
    let expected = all_alone(&wishes).await;
    let gate = Arc::new(Semaphore::new(0));
    let store = Gated::new(demo_model(), Arc::clone(&gate)).await;
    let Load { spec, layers, .. } = load(store, FIRST).await;
    let limits = limits(&spec);
    let (engine, worker) = Engine::new(tokenizer(), limits);
    let mut events: Vec<_> = wishes[..3].iter().map(|wish| submit(&engine, wish)).collect();
    let worker = thread::spawn(move || run(worker, spec, layers, &limits));
    until_running(&engine, 3);
    // The pass of the first three waits for the last range.
    events.extend(wishes[3..].iter().map(|wish| submit(&engine, wish)));
    assert_eq!(engine.statistics().generated_tokens, 0);
    gate.add_permits(1);
    for (events, expected) in events.iter().zip(&expected) {
        assert_eq!(answer(events), (expected.clone(), true));
    }
    engine.stop(Duration::from_mins(1));
    worker.join().unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_while_layers_arrive_gets_the_first_token_of_the_same_pass() {
    let wishes = wishes(4);
    let expected = all_alone(&wishes).await;
    let Load { spec, layers, .. } = load(demo_model(), FIRST).await;
    let limits = limits(&spec);
    let (engine, worker) = Engine::new(tokenizer(), limits);
    let (noted, passes_before) = channel();
    let ask = |wish: &Wish| {
        let (engine_of, noted, mut is_first) = (engine.clone(), noted.clone(), true);
        submit_with(&engine, wish, move || {
            // Passes are counted when they have ended.
            if std::mem::take(&mut is_first) {
                noted.send(engine_of.statistics().steps).unwrap();
            }
        })
    };
    let mut events = vec![ask(&wishes[0])];
    let (bring, stages) = channel();
    let worker = thread::spawn(move || {
        // Each stage is there when it is brought, and all are once nobody brings any.
        let groups = layers.map(group).inspect(move |_| stages.recv().unwrap_or_default());
        let settings = Settings { blocks: limits.kv_blocks, logits_rows: 8, ..settings(FIRST, 1) };
        worker.run(Decoder::new(Cpu::new(), spec, settings, groups).unwrap())
    });
    until_running(&engine, 1);
    bring.send(()).unwrap(); // the embedding, without which nothing begins
    for (wish, running) in wishes[1..].iter().zip(2..) {
        events.push(ask(wish));
        bring.send(()).unwrap();
        until_running(&engine, running);
    }
    drop(bring);
    for (events, expected) in events.iter().zip(&expected) {
        assert_eq!(answer(events), (expected.clone(), true));
    }
    assert_eq!(passes_before.try_iter().collect::<Vec<_>>(), [0; 4]);
    engine.stop(Duration::from_mins(1));
    worker.join().unwrap().unwrap();
}

fn until_running(engine: &Engine, running: usize) {
    while engine.statistics().running < running {
        thread::yield_now();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_clients_that_leave_when_they_like_leave_nothing_behind_and_harm_nobody() {
    let mut wishes = wishes(64);
    let expected = all_alone(&wishes).await;
    for (client, wish) in wishes.iter_mut().enumerate() {
        if client % 3 != 0 {
            wish.patience = 1 + client * 13 % 30;
        }
    }
    let Load { spec, layers, .. } = load(demo_model(), FIRST).await;
    let limits = Limits { max_running: 16, ..limits(&spec) };
    let (engine, worker) = Engine::new(tokenizer(), limits);
    let worker = thread::spawn(move || run(worker, spec, layers, &limits));
    let events: Vec<_> = wishes.iter().map(|wish| submit(&engine, wish)).collect();
    for ((wish, events), expected) in wishes.iter().zip(&events).zip(&expected) {
        let (ids, is_complete) = answer(events);
        assert!(expected.starts_with(&ids), "{ids:?} instead of {expected:?}");
        assert_eq!(is_complete, wish.patience > ids.len() + 1, "{wish:?}");
    }
    engine.stop(Duration::from_mins(1));
    worker.join().unwrap().unwrap();
    let statistics = engine.statistics();
    assert_eq!((statistics.waiting, statistics.running, statistics.kv_blocks_used), (0, 0, 0));
    assert_eq!(statistics.finished + statistics.cancelled, 64);
}
