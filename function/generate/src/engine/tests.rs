//! The engine with a model that is a page of arithmetic, and a cache that is looked into.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};

use firstlight_model::{Draw, Passes, Rows};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::tokenizer::tests::demo_tokenizer;
use crate::{Bias, Finish, Logprobs, Sampling, SamplingOptions, StopRules};

const VOCABULARY: usize = 2048;
const BLOCK: usize = 4;

/// Its logits are a hash of all tokens before, which it reads from the blocks that it is given: who
/// gets another's block, or loses one, gets another answer.
#[derive(Default)]
struct Model {
    cache: HashMap<(u32, usize), u32>,
    logits: Vec<f32>,
    /// Those of a pass that was not taken to its end.
    open: Vec<f32>,
    passes: usize,
    behaviour: Behaviour,
}

#[derive(Default)]
struct Behaviour {
    /// Stages still to come; each comes when somebody says so, or all at once.
    stages: Option<Receiver<()>>,
    fails_in_pass: Option<usize>,
    panics_in_pass: Option<usize>,
}

impl Model {
    fn that(behaviour: Behaviour) -> Self {
        Self { behaviour, ..Self::default() }
    }

    fn run(&mut self, rows: &Rows<'_>) -> Vec<Vec<f32>> {
        let place = |position: usize| (rows.blocks[position / BLOCK], position % BLOCK);
        let mut logits = Vec::new();
        for (position, &id) in (rows.first..).zip(rows.ids) {
            self.cache.insert(place(position), id);
            let seen = (0..=position).map(|before| self.cache[&place(before)]);
            logits.push(logits_after(seen));
        }
        logits
    }

    /// The logits of the last rows of those that want them.
    fn run_all(&mut self, rows: &[Rows<'_>]) -> Vec<f32> {
        let mut wanted = Vec::new();
        for rows in rows {
            let logits = self.run(rows).pop().expect("there are rows");
            wanted.extend(logits.iter().filter(|_| rows.logits));
        }
        wanted
    }

    fn begin(&mut self) -> Result<(), firstlight_model::Error> {
        self.passes += 1;
        assert!(self.behaviour.panics_in_pass != Some(self.passes), "as it was told");
        if self.behaviour.fails_in_pass == Some(self.passes) {
            return Err(firstlight_model::Error::Ended { stage: "layer 7".to_owned() });
        }
        Ok(())
    }
}

/// Any function of the tokens.
fn logits_after(ids: impl Iterator<Item = u32>) -> Vec<f32> {
    let mix = |hash: u64, id: u64| (hash ^ id).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    let hash = ids.fold(1, |hash, id| mix(hash, u64::from(id) + 1));
    (0..VOCABULARY as u64).map(|id| (mix(hash, id) >> 48) as f32 / 8192.0).collect()
}

impl Passes for Model {
    fn pull(&mut self) -> Result<bool, firstlight_model::Error> {
        let Some(stages) = &self.behaviour.stages else { return Ok(false) };
        if stages.recv().is_err() {
            self.behaviour.stages = None;
        }
        Ok(self.behaviour.stages.is_some())
    }

    fn forward(&mut self, rows: &[Rows<'_>]) -> Result<(), firstlight_model::Error> {
        self.begin()?;
        assert!(self.behaviour.stages.is_none(), "a pass that may wait goes layer by layer");
        self.logits = self.run_all(rows);
        Ok(())
    }

    fn open(&mut self, rows: &[Rows<'_>]) -> Result<(), firstlight_model::Error> {
        self.begin()?;
        self.open = self.run_all(rows);
        Ok(())
    }

    fn join(&mut self, rows: &[Rows<'_>]) -> Result<(), firstlight_model::Error> {
        let logits = self.run_all(rows);
        self.open.extend(logits);
        Ok(())
    }

    /// Each stage that is still to come is that of a layer.
    fn advance(&mut self) -> Result<bool, firstlight_model::Error> {
        if self.behaviour.stages.is_some() {
            return self.pull().map(|_| true);
        }
        self.logits = std::mem::take(&mut self.open);
        Ok(false)
    }

    fn logits(&mut self) -> Result<Vec<f32>, firstlight_model::Error> {
        Ok(self.logits.clone())
    }

    /// It leaves every other choice to the caller.
    fn draw(
        &mut self,
        draws: &[Option<Draw>],
    ) -> Result<Vec<Option<u32>>, firstlight_model::Error> {
        let rows = self.logits.chunks_exact(VOCABULARY).zip(draws);
        let tokens = rows.enumerate().map(|(row, (logits, draw))| {
            let draw = draw.filter(|draw| draw.temperature == 0.0 && row % 2 == 0)?;
            assert!(draw.uniform <= 0.0, "nothing is drawn for a greedy choice");
            // The first of equals.
            (0..).zip(logits).min_by(|(_, a), (_, b)| b.total_cmp(a)).map(|(id, _)| id)
        });
        Ok(tokens.collect())
    }

    fn forward_all(&mut self, rows: Rows<'_>) -> Result<Vec<f32>, firstlight_model::Error> {
        self.begin()?;
        while self.pull()? {} // all of them, before the first row
        Ok(self.run(&rows).concat())
    }
}

fn limits() -> Limits {
    Limits {
        context_length: 64,
        vocabulary_size: VOCABULARY,
        kv_blocks: 64,
        block_positions: BLOCK,
        max_running: 8,
        max_waiting: 64,
        step_rows: 16,
    }
}

/// An engine whose worker runs.
struct Served {
    engine: Engine,
    worker: JoinHandle<Result<(), Arc<Error>>>,
}

impl Served {
    fn new(limits: Limits, behaviour: Behaviour) -> Self {
        let (engine, worker) = Engine::new(demo_tokenizer(), limits);
        let worker = thread::spawn(move || worker.run(Model::that(behaviour)));
        Self { engine, worker }
    }

    fn end(self) -> Result<(), Arc<Error>> {
        self.engine.stop(Duration::from_mins(1));
        self.worker.join().expect("it catches its panics")
    }
}

/// A job, and where its events come out.
fn job(prompt_ids: &[u32], max_tokens: u32, seed: u64) -> (Job, Receiver<Event>) {
    let (sender, events) = channel();
    let temperature = if seed == 3 { 0.0 } else { 0.7 };
    let options = SamplingOptions { temperature, seed, ..SamplingOptions::default() };
    let job = Job {
        prompt_ids: prompt_ids.to_vec(),
        sampling: Sampling::new(options).unwrap(),
        stop: StopRules::new(Vec::new(), vec![1], max_tokens).unwrap(),
        bias: Bias::default(),
        logprobs: None,
        prompt_logprobs: None,
        cancelled: Cancelled::default(),
        out: Box::new(move |event| sender.send(event).is_ok()),
    };
    (job, events)
}

/// What came of a job.
#[derive(Debug, Default)]
struct Told {
    ids: Vec<u32>,
    text: String,
    prompt: Vec<Option<Logprobs>>,
    logprobs: Vec<Logprobs>,
    finish: Option<(Finish, Usage)>,
    error: Option<Arc<Error>>,
}

/// Waits for the end of `events`, which must come.
fn told(events: &Receiver<Event>) -> Told {
    let mut told = Told::default();
    loop {
        match events.recv_timeout(Duration::from_mins(1)) {
            Ok(Event::Started) => {}
            Ok(Event::Prompt(logprobs)) => told.prompt = logprobs,
            Ok(Event::Token(token)) => {
                told.ids.push(token.id);
                told.text += &token.text;
                told.logprobs.extend(token.logprobs);
            }
            Ok(Event::Finished { finish, usage }) => told.finish = Some((finish, usage)),
            Ok(Event::Failed(error)) => told.error = Some(error),
            Err(RecvTimeoutError::Disconnected) => return told,
            Err(RecvTimeoutError::Timeout) => panic!("a client hangs, after {told:?}"),
        }
    }
}

/// A wish of a client: its prompt, the longest answer, the seed.
type Wish = (Vec<u32>, u32, u64);

fn wish() -> impl Strategy<Value = Wish> {
    (vec(2u32..2000, 1..40), 1u32..24, 0u64..4)
}

/// What a client alone would get, without any engine.
fn alone((prompt_ids, max_tokens, seed): &Wish, limits: &Limits) -> Vec<u32> {
    let (job, _) = job(prompt_ids, *max_tokens, *seed);
    let request = GenerationRequest {
        prompt_ids,
        sampling: job.sampling,
        stop: job.stop,
        context_length: limits.context_length,
        vocabulary_size: VOCABULARY,
    };
    let mut generation = Generation::new(&demo_tokenizer(), request).unwrap();
    let mut ids = prompt_ids.clone();
    while generation.finish().is_none() {
        let logits = logits_after(ids.iter().copied());
        ids.push(generation.step(&logits).unwrap().token);
    }
    ids.split_off(prompt_ids.len())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn each_gets_the_answer_that_it_gets_alone_whatever_the_mix(
        wishes in vec(wish(), 1..20),
        kv_blocks in 16usize..40, max_running in 1usize..9, step_rows in 1usize..40,
    ) {
        let limits = Limits { kv_blocks, max_running, step_rows, ..limits() };
        let served = Served::new(limits, Behaviour::default());
        let submitted = wishes.iter().map(|(prompt_ids, max_tokens, seed)| {
            let (job, events) = job(prompt_ids, *max_tokens, *seed);
            served.engine.submit(job).unwrap();
            events
        });
        let submitted: Vec<_> = submitted.collect();
        for (wish, events) in wishes.iter().zip(&submitted) {
            let told = told(events);
            prop_assert_eq!(&told.ids, &alone(wish, &limits));
            let (_, usage) = told.finish.unwrap();
            prop_assert_eq!((usage.prompt_tokens, usage.generated_tokens), (wish.0.len(), told.ids.len()));
        }
        let engine = served.engine.clone();
        served.end().unwrap();
        let tokens: usize = wishes.iter().map(|wish| alone(wish, &limits).len()).sum();
        let prompts: usize = wishes.iter().map(|wish| wish.0.len()).sum();
        let statistics = engine.statistics();
        prop_assert_eq!(statistics.generated_tokens, tokens as u64);
        prop_assert_eq!(statistics.prompt_tokens, prompts as u64);
        prop_assert_eq!(statistics.finished, wishes.len() as u64);
        prop_assert_eq!((statistics.kv_blocks_used, statistics.running), (0, 0));
    }

    #[test]
    fn clients_that_leave_as_they_like_leave_nothing_behind(
        wishes in vec((wish(), 0usize..12), 64), kv_blocks in 16usize..40,
    ) {
        let served = Served::new(Limits { kv_blocks, ..limits() }, Behaviour::default());
        let clients = wishes.into_iter().map(|((prompt_ids, max_tokens, seed), patience)| {
            let (mut job, events) = job(&prompt_ids, max_tokens, seed);
            let cancelled = job.cancelled.clone();
            // Every other one says so by its answer to an event, the others by the flag.
            if seed % 2 == 0 {
                let mut left = patience;
                let mut send = job.out;
                job.out = Box::new(move |event| {
                    left = left.saturating_sub(1);
                    send(event) && left > 0
                });
            } else if patience < 6 {
                cancelled.cancel();
            }
            served.engine.submit(job).unwrap();
            events
        });
        let clients: Vec<_> = clients.collect();
        for events in &clients {
            prop_assert!(told(events).error.is_none());
        }
        let engine = served.engine.clone();
        served.end().unwrap();
        let Statistics { waiting, running, kv_blocks_used, finished, cancelled, .. } = engine.statistics();
        prop_assert_eq!((waiting, running, kv_blocks_used), (0, 0, 0));
        prop_assert_eq!(finished + cancelled, 64);
    }
}

#[test]
fn who_asks_before_the_weights_are_there_gets_the_same_answer() {
    let (stages, behaviour) = gated();
    let served = Served::new(limits(), behaviour);
    let wishes: [Wish; 3] = [(vec![5; 30], 9, 1), (vec![6, 7], 4, 2), (vec![8; 17], 12, 3)];
    let events = wishes.each_ref().map(|(prompt_ids, max_tokens, seed)| {
        let (job, events) = job(prompt_ids, *max_tokens, *seed);
        served.engine.submit(job).unwrap();
        stages.send(()).unwrap();
        events
    });
    assert_eq!(served.engine.statistics().generated_tokens, 0);
    drop(stages);
    for (wish, events) in wishes.iter().zip(&events) {
        assert_eq!(told(events).ids, alone(wish, &limits()));
    }
    served.end().unwrap();
}

/// An engine that waits in its first pass: with its stages, and what comes of that pass's one job.
fn loading(limits: Limits, wish: &Wish) -> (Served, Sender<()>, Receiver<Event>) {
    let (stages, behaviour) = gated();
    let served = Served::new(limits, behaviour);
    let (first, events) = job(&wish.0, wish.1, wish.2);
    served.engine.submit(first).unwrap();
    until(&stages, || served.engine.statistics().running == 1);
    (served, stages, events)
}

/// Lets stages come until it is so.
fn until(stages: &Sender<()>, is_so: impl Fn() -> bool) {
    while !is_so() {
        stages.send(()).unwrap();
        thread::yield_now();
    }
}

#[test]
fn who_asks_while_the_first_pass_waits_gets_the_first_token_of_that_pass() {
    let wishes: [Wish; 4] =
        [(vec![5; 30], 9, 1), (vec![6, 7], 4, 2), (vec![8; 13], 12, 3), (vec![9; 2], 3, 0)];
    let (served, stages, first) = loading(limits(), &wishes[0]);
    let mut events = vec![first];
    let (noted, passes_before) = channel();
    // Prompts of 16 tokens together may join, and 15 do: the last one's turn is the next pass.
    for (running, wish) in [2, 3, 3].into_iter().zip(&wishes[1..]) {
        let (mut job, its_events) = job(&wish.0, wish.1, wish.2);
        let (engine, mut tell) = (served.engine.clone(), job.out);
        let mut noted = Some(noted.clone());
        job.out = Box::new(move |event| {
            let is_token = matches!(event, Event::Token(_));
            if let Some(noted) = noted.take_if(|_| is_token) {
                noted.send(engine.statistics().steps).unwrap();
            }
            tell(event)
        });
        served.engine.submit(job).unwrap();
        until(&stages, || served.engine.statistics().running == running);
        events.push(its_events);
    }
    let Statistics { generated_tokens, waiting, .. } = served.engine.statistics();
    assert_eq!((generated_tokens, waiting), (0, 1));
    drop(stages);
    for (wish, events) in wishes.iter().zip(&events) {
        assert_eq!(told(events).ids, alone(wish, &limits()));
    }
    assert_eq!(passes_before.try_iter().collect::<Vec<_>>(), [0, 0, 1]);
    served.end().unwrap();
}

#[test]
fn a_pass_that_loads_is_broken_off_where_it_is_in_vain() {
    let wish = (vec![5; 30], 9, 1);
    let (stages, behaviour) = gated();
    let served = Served::new(limits(), behaviour);
    let (left, events) = job(&wish.0, wish.1, wish.2);
    let cancelled = left.cancelled.clone();
    served.engine.submit(left).unwrap();
    until(&stages, || served.engine.statistics().running == 1);
    cancelled.cancel();
    until(&stages, || served.engine.statistics().cancelled == 1);
    assert_eq!(served.engine.statistics().kv_blocks_used, 0);
    assert!(told(&events).ids.is_empty());
    let (next, events) = job(&wish.0, wish.1, wish.2);
    served.engine.submit(next).unwrap();
    until(&stages, || served.engine.statistics().running == 1);
    served.engine.stop(Duration::ZERO);
    // The weights are not all there, and never will be. It has ended already where another stage was left.
    let _ = stages.send(());
    assert!(matches!(*told(&events).error.unwrap(), Error::EngineStopped));
    served.end().unwrap();
    drop(stages);
}

/// A model whose weights come when the sender says so, and are all there once it is dropped.
fn gated() -> (Sender<()>, Behaviour) {
    let (sender, stages) = channel();
    (sender, Behaviour { stages: Some(stages), ..Behaviour::default() })
}

#[test]
fn past_its_bound_the_queue_refuses_and_who_left_makes_room() {
    let (stages, behaviour) = gated();
    let served = Served::new(Limits { max_waiting: 2, max_running: 1, ..limits() }, behaviour);
    let submit = || {
        let (job, events) = job(&[5], 4, 0);
        let cancelled = job.cancelled.clone();
        served.engine.submit(job).map(|()| (cancelled, events))
    };
    let first = submit().unwrap();
    while served.engine.statistics().waiting > 0 {
        thread::yield_now();
        stages.send(()).unwrap();
    }
    let second = submit().unwrap();
    let third = submit().unwrap();
    let refusal = submit().unwrap_err();
    assert!(matches!(refusal, Refusal::QueueFull { waiting: 2, retry_after_s: 1 }), "{refusal}");
    second.0.cancel();
    let fourth = submit().unwrap();
    assert_eq!(served.engine.statistics().waiting, 2);
    drop(stages);
    for (_, events) in [first, third, fourth] {
        assert_eq!(told(&events).finish.unwrap().0, Finish::Length);
    }
    assert!(told(&second.1).finish.is_none());
    served.end().unwrap();
}

#[test]
fn a_model_that_fails_fails_everybody_with_the_same_error() {
    let (stages, gated) = gated();
    let behaviour = Behaviour { fails_in_pass: Some(2), ..gated };
    everybody_is_told(behaviour, stages, "the load ended before `layer 7`");
}

#[test]
fn a_panic_of_the_worker_leaves_no_client_hanging() {
    let (stages, gated) = gated();
    let behaviour = Behaviour { panics_in_pass: Some(3), ..gated };
    everybody_is_told(behaviour, stages, "the engine panicked: as it was told");
}

fn everybody_is_told(behaviour: Behaviour, stages: Sender<()>, expected: &str) {
    let served = Served::new(Limits { max_running: 2, ..limits() }, behaviour);
    let events: Vec<_> = (0..5)
        .map(|seed| {
            let (job, events) = job(&[5, 6], 20, seed);
            served.engine.submit(job).unwrap();
            events
        })
        .collect();
    drop(stages);
    let errors: Vec<_> = events.iter().map(|events| told(events).error.unwrap()).collect();
    assert!(errors.iter().all(|error| Arc::ptr_eq(error, &errors[0])));
    assert_eq!(errors[0].to_string(), expected);
    let refusal = served.engine.submit(job(&[5], 1, 0).0).unwrap_err();
    assert!(matches!(&refusal, Refusal::Failed(error) if Arc::ptr_eq(error, &errors[0])));
    assert!(Arc::ptr_eq(&served.engine.failure().unwrap(), &errors[0]));
    assert_eq!(served.engine.statistics().kv_blocks_used, 0);
    assert!(Arc::ptr_eq(&served.end().unwrap_err(), &errors[0]));
}

#[test]
fn a_worker_that_never_runs_leaves_no_client_hanging() {
    let (engine, worker) = Engine::new(demo_tokenizer(), limits());
    let (first, events) = job(&[5], 1, 0);
    engine.submit(first).unwrap();
    drop(worker);
    assert!(matches!(*told(&events).error.unwrap(), Error::EngineGone));
    assert!(matches!(engine.submit(job(&[5], 1, 0).0), Err(Refusal::Failed(_))));

    let (engine, worker) = Engine::new(demo_tokenizer(), limits());
    let (first, events) = job(&[5], 1, 0);
    engine.submit(first).unwrap();
    worker.fail(Error::NoChatTemplate);
    assert!(matches!(*told(&events).error.unwrap(), Error::NoChatTemplate));
    assert!(matches!(*engine.failure().unwrap(), Error::NoChatTemplate));
}

#[test]
fn an_engine_that_stops_finishes_what_it_took_within_its_time() {
    let served = Served::new(limits(), Behaviour::default());
    let (first, events) = job(&[5], 20, 0);
    served.engine.submit(first).unwrap();
    served.engine.stop(Duration::from_mins(1));
    assert!(matches!(served.engine.submit(job(&[5], 1, 0).0), Err(Refusal::Stopping)));
    assert!(told(&events).finish.is_some());
    served.end().unwrap();

    let (stages, behaviour) = gated();
    let served = Served::new(limits(), behaviour);
    let (first, events) = job(&[5], 20, 0);
    served.engine.submit(first).unwrap();
    served.engine.stop(Duration::ZERO);
    drop(stages);
    let told = told(&events);
    assert!(matches!(*told.error.unwrap(), Error::EngineStopped));
    assert!(told.ids.len() <= 1, "the pass that had begun, and no more");
    served.end().unwrap();
}

#[test]
fn what_cannot_ever_be_answered_is_refused_with_its_numbers() {
    let (engine, _worker) = Engine::new(demo_tokenizer(), Limits { kv_blocks: 8, ..limits() });
    let refused = |ids: &[u32]| engine.submit(job(ids, 1, 0).0).unwrap_err().to_string();
    assert!(refused(&[5; 64]).contains("has 64 tokens, the model's context holds 64"));
    let refusal = refused(&[5; 32]);
    assert!(refusal.contains("has 32 tokens, the cache of keys and values holds 32"), "{refusal}");
    assert!(refused(&[]).contains("no tokens"));
    assert!(engine.submit(job(&[5; 31], 1, 0).0).is_ok());
}

#[test]
fn log_probabilities_are_those_of_the_model_whatever_the_bias() {
    let served = Served::new(Limits { step_rows: 7, ..limits() }, Behaviour::default());
    let prompt: Vec<u32> = (10..50).collect();
    let (mut wanted, events) = job(&prompt, 3, 5);
    wanted.logprobs = Some(2);
    wanted.prompt_logprobs = Some(0);
    wanted.bias = Bias::new(vec![(77, 100.0)], VOCABULARY).unwrap();
    let (beside, other) = job(&prompt, 3, 5);
    served.engine.submit(wanted).unwrap();
    served.engine.submit(beside).unwrap();
    let told_wanted = told(&events);
    assert_eq!(told_wanted.ids, [77, 77, 77], "the bias forces it");
    let text = [prompt.clone(), told_wanted.ids.clone()].concat();
    let expected = |position: usize, top: u8| {
        Logprobs::new(&logits_after(text[..position].iter().copied()), text[position], top)
    };
    let answer: Vec<_> = (40..43).map(|position| expected(position, 2)).collect();
    assert_eq!(told_wanted.logprobs, answer);
    let scored: Vec<_> =
        (0..40).map(|position| (position > 0).then(|| expected(position, 0))).collect();
    assert_eq!(told_wanted.prompt, scored);
    let told_beside = told(&other);
    assert_eq!(told_beside.ids, alone(&(prompt, 3, 5), &limits()));
    assert!(told_beside.logprobs.is_empty() && told_beside.prompt.is_empty());
    served.end().unwrap();
}
