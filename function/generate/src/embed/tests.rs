//! The embedder with a model that is a line of arithmetic.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use firstlight_model::Embeds;

use super::*;
use crate::engine::Cancelled;
use crate::tokenizer::tests::demo_tokenizer;

const ROWS: usize = 40;
const TEXTS: usize = 6;

/// Its vectors are the sum of the tokens and their number.
#[derive(Default)]
struct Model {
    /// Passes wait for a word each, until nobody gives any.
    words: Option<Receiver<()>>,
    /// The texts of each pass.
    passes: Option<Sender<Vec<usize>>>,
    stages: usize,
    fails_at: Option<u32>,
    panics_at: Option<u32>,
    is_none_at: Option<u32>,
}

impl Embeds for Model {
    fn max_rows(&self) -> usize {
        ROWS
    }

    fn max_texts(&self) -> usize {
        TEXTS
    }

    fn embed(&mut self, texts: &[&[u32]]) -> Result<Vec<Vec<f32>>, firstlight_model::Error> {
        if let Some(words) = &self.words {
            let _ = words.recv();
        }
        if let Some(passes) = &self.passes {
            drop(passes.send(texts.iter().map(|ids| ids.len()).collect()));
        }
        let rows: usize = texts.iter().map(|ids| ids.len()).sum();
        assert!(rows <= ROWS && texts.len() <= TEXTS, "{rows} rows of {}", texts.len());
        let has = |id: Option<u32>| texts.iter().any(|ids| id.is_some_and(|id| ids.contains(&id)));
        assert!(!has(self.panics_at), "as it was told");
        if has(self.fails_at) {
            return Err(firstlight_model::Error::Ended { stage: "layer 7".to_owned() });
        }
        let is_none = |ids: &[u32]| self.is_none_at.is_some_and(|id| ids.contains(&id));
        let embed = |ids: &&[u32]| if is_none(ids) { vec![1.0, f32::NAN] } else { vector(ids) };
        Ok(texts.iter().map(embed).collect())
    }

    fn pull(&mut self) -> Result<bool, firstlight_model::Error> {
        self.stages = self.stages.saturating_sub(1);
        Ok(self.stages > 0)
    }
}

fn vector(ids: &[u32]) -> Vec<f32> {
    vec![ids.iter().sum::<u32>() as f32, ids.len() as f32]
}

type Answer = Result<Embeddings, Arc<Error>>;

struct Running {
    embedder: Embedder,
    worker: Option<JoinHandle<Result<(), Arc<Error>>>>,
}

impl Running {
    fn new(model: Model, max_waiting: usize) -> Self {
        let limits =
            Limits { max_tokens: 30, vocabulary_size: 1000, lower_case: false, max_waiting };
        let (embedder, worker) = Embedder::new(demo_tokenizer(), limits);
        Self { embedder, worker: Some(thread::spawn(move || worker.run(model))) }
    }

    fn submit(&self, texts: &[Vec<u32>]) -> Result<(Receiver<Answer>, Cancelled), Refusal> {
        let (sender, answer) = channel();
        let out: Out = Box::new(move |answer| drop(sender.send(answer)));
        let cancelled = Cancelled::default();
        let job = Job { texts: texts.to_vec(), cancelled: cancelled.clone(), out };
        self.embedder.submit(job)?;
        Ok((answer, cancelled))
    }

    fn stop(mut self, drain: Duration) -> Result<(), Arc<Error>> {
        self.embedder.stop(drain);
        self.worker.take().unwrap().join().unwrap()
    }
}

fn texts(count: u32, seed: u32) -> Vec<Vec<u32>> {
    let text = |i: u32| (0..=(i * 7 + seed) % 30).map(|id| (id * 31 + i) % 1000).collect();
    (0..count).map(text).collect()
}

#[test]
fn every_job_gets_its_own_vectors_in_order_whoever_asks_beside_it() {
    let running = Running::new(Model { stages: 4, ..Model::default() }, 100);
    thread::scope(|scope| {
        for seed in 0..20 {
            let running = &running;
            scope.spawn(move || {
                let texts = texts(seed * 3, seed);
                let (answer, _) = running.submit(&texts).unwrap();
                let answer = answer.recv().unwrap().unwrap();
                let expected: Vec<_> = texts.iter().map(|ids| vector(ids)).collect();
                assert_eq!(answer.vectors, expected);
                assert_eq!(answer.tokens, texts.iter().map(Vec::len).sum::<usize>());
            });
        }
    });
    let statistics = running.embedder.statistics();
    assert_eq!((statistics.waiting, statistics.waiting_tokens), (0, 0));
    assert_eq!((statistics.finished, statistics.texts), (20, 3 * 190));
    running.stop(Duration::ZERO).unwrap();
}

#[test]
fn a_job_of_one_text_does_not_wait_for_one_of_many() {
    let (go, words) = channel();
    let (passes, seen) = channel();
    let model = Model { words: Some(words), passes: Some(passes), ..Model::default() };
    let running = Running::new(model, 10);
    let (many, _) = running.submit(&vec![vec![1; 10]; 20]).unwrap();
    // The first pass has begun when it takes its word; what comes now is in the second.
    go.send(()).unwrap();
    assert_eq!(seen.recv().unwrap(), [10; 4]);
    let (one, _) = running.submit(&[vec![7; 5]]).unwrap();
    drop(go);
    assert_eq!(one.recv().unwrap().unwrap().vectors, [vector(&[7; 5])]);
    let passes: Vec<_> = seen.try_iter().collect();
    let at = passes.iter().position(|texts| texts.contains(&5)).unwrap();
    assert!(at <= 1, "{passes:?}");
    assert_eq!(many.recv().unwrap().unwrap().vectors.len(), 20);
}

#[test]
fn past_the_limit_a_job_is_refused_and_cancelled_ones_make_room() {
    let (go, words) = channel();
    let running = Running::new(Model { words: Some(words), ..Model::default() }, 2);
    let (first, _) = running.submit(&texts(30, 1)).unwrap();
    let (second, cancelled) = running.submit(&texts(3, 2)).unwrap();
    let refusal = running.submit(&texts(1, 3)).unwrap_err();
    assert!(matches!(refusal, Refusal::QueueFull { waiting: 2, retry_after_s: 1 }), "{refusal:?}");
    cancelled.cancel();
    drop(go);
    assert_eq!(first.recv().unwrap().unwrap().vectors.len(), 30);
    // Either it was complete before anybody looked, or nobody was told.
    let was_told = second.recv().is_ok();
    let statistics = running.embedder.statistics();
    assert_eq!((statistics.waiting, statistics.waiting_tokens), (0, 0));
    assert_eq!(statistics.cancelled, u64::from(!was_told));
    running.submit(&texts(1, 3)).unwrap().0.recv().unwrap().unwrap();
}

#[test]
fn texts_that_cannot_be_computed_are_refused() {
    let running = Running::new(Model::default(), 2);
    let refusal = |texts: &[Vec<u32>]| running.submit(texts).unwrap_err().to_string();
    assert!(refusal(&[vec![1], vec![]]).contains("no tokens"));
    assert!(refusal(&[vec![1; 31]]).contains("31 tokens, and the model takes 30"));
    assert!(refusal(&[vec![1, 1000]]).contains("id 1000"));
    assert!(running.submit(&[]).unwrap().0.recv().unwrap().unwrap().vectors.is_empty());
}

#[test]
fn a_job_whose_embedding_is_no_number_fails_alone() {
    let running = Running::new(Model { is_none_at: Some(13), ..Model::default() }, 2);
    let answer = |texts: &[Vec<u32>]| running.submit(texts).unwrap().0.recv().unwrap();
    let error = answer(&[vec![1], vec![2, 13]]).err().unwrap();
    assert!(matches!(*error, Error::BadEmbedding { text: 1 }), "{error}");
    assert_eq!(answer(&[vec![1]]).unwrap().vectors, [vector(&[1])]);
}

#[test]
fn a_long_text_is_refused_or_cut() {
    let running = Running::new(Model::default(), 2);
    let text = "Once upon a time ".repeat(30);
    assert!(running.embedder.encode(&text, false).unwrap_err().to_string().contains("takes 30"));
    let whole = demo_tokenizer().encode(&text, true).unwrap();
    assert_eq!(running.embedder.encode(&text, true).unwrap(), whole[..30]);
    let within = |most| running.embedder.encode_within(&text, most).unwrap();
    assert_eq!((within(7), within(999)), (whole[..7].to_vec(), whole[..30].to_vec()));
    let short = |truncate| running.embedder.encode("a", truncate).unwrap();
    for truncate in [false, true] {
        let refused = running.embedder.encode("", truncate);
        assert!(matches!(refused, Err(Error::EmptyText)), "{refused:?}");
    }
    assert_eq!(short(false), short(true));
}

#[test]
fn who_waits_and_who_comes_is_told_why_a_model_failed() {
    for (model, reason) in [
        (Model { fails_at: Some(13), ..Model::default() }, "the load ended before `layer 7`"),
        (Model { panics_at: Some(13), ..Model::default() }, "as it was told"),
    ] {
        let mut running = Running::new(model, 10);
        let (answer, _) = running.submit(&[vec![13]]).unwrap();
        let told = answer.recv().unwrap().unwrap_err().to_string();
        assert!(told.contains(reason), "{told}");
        let ended = running.worker.take().unwrap().join().unwrap();
        assert!(ended.unwrap_err().to_string().contains(reason));
        assert!(matches!(running.submit(&[vec![1]]), Err(Refusal::Failed(_))));
        assert!(running.embedder.failure().is_some());
    }
    let limits = Limits { max_tokens: 30, vocabulary_size: 1000, lower_case: true, max_waiting: 1 };
    let (embedder, worker) = Embedder::new(demo_tokenizer(), limits);
    assert_eq!(embedder.encode("ABC", false).unwrap(), embedder.encode("abc", false).unwrap());
    drop(worker);
    assert!(matches!(embedder.failure().as_deref(), Some(Error::EngineGone)));
}

#[test]
fn what_was_taken_is_finished_before_the_end_as_far_as_there_is_time() {
    let (go, words) = channel();
    let running = Running::new(Model { words: Some(words), ..Model::default() }, 10);
    let (answer, _) = running.submit(&texts(30, 1)).unwrap();
    running.embedder.stop(Duration::from_mins(1));
    assert!(matches!(running.submit(&texts(1, 1)), Err(Refusal::Stopping)));
    drop(go);
    assert_eq!(answer.recv().unwrap().unwrap().vectors.len(), 30);
    running.stop(Duration::ZERO).unwrap();

    let (go, words) = channel();
    let running = Running::new(Model { words: Some(words), ..Model::default() }, 10);
    let (answer, _) = running.submit(&texts(30, 1)).unwrap();
    running.embedder.stop(Duration::ZERO);
    drop(go);
    assert!(matches!(answer.recv().unwrap(), Err(error) if matches!(*error, Error::EngineStopped)));
}
