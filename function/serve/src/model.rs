//! The model as the handlers see it: a name, how far its load is, and, once it is known, how to
//! speak to it.
//!
//! Whoever loads the model tells of it through the same [`Model`]; requests that came before wait
//! for [`Model::speech`] and ride the load.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use firstlight_generate::engine::Statistics;
use firstlight_generate::{Embedder, Error};
use firstlight_timeline::Timeline;
use serde::Serialize;
use tokio::sync::watch;

use crate::Refusal;
use crate::speech::Speech;

/// How far the load is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// It is not known yet what is to be loaded.
    Starting,
    /// The weights are on their way.
    Loading,
    /// All weights were computed with once.
    Ready,
    /// There will be no answer.
    Failed,
}

/// What a model needs of the memory of its device, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Weights.
    pub weight_bytes: u64,
    /// Keys and values, of which pages are taken as they fill.
    pub cache_bytes: u64,
    /// Intermediate results.
    pub result_bytes: u64,
}

/// One model. Clones are the same one.
#[derive(Clone)]
pub struct Model(Arc<Inner>);

struct Inner {
    /// What requests call it; the first is what answers call it.
    names: Vec<String>,
    timeline: Timeline,
    created_unix_s: u64,
    progress: watch::Sender<Progress>,
}

/// What a model makes, and who takes requests for it.
#[derive(Clone)]
pub(crate) enum Served {
    Answers(Arc<Speech>),
    Embeddings(Embedder),
}

impl Served {
    /// Why there will be no more of it, if so.
    pub(crate) fn failure(&self) -> Option<Arc<Error>> {
        match self {
            Self::Answers(speech) => speech.engine.failure(),
            Self::Embeddings(embedder) => embedder.failure(),
        }
    }

    /// The interface for people: a model without a chat template goes on with texts.
    pub(crate) fn interface(&self) -> &'static str {
        match self {
            Self::Answers(speech) if speech.template().is_ok() => "chat",
            Self::Answers(_) => "completions",
            Self::Embeddings(_) => "embeddings",
        }
    }

    /// The most tokens of a text.
    pub(crate) fn max_tokens(&self) -> usize {
        match self {
            Self::Answers(speech) => speech.engine.limits().context_length,
            Self::Embeddings(embedder) => embedder.limits().max_tokens,
        }
    }

    /// What the engine does and has done; of an embedder, as far as it means the same.
    pub(crate) fn statistics(&self) -> Statistics {
        match self {
            Self::Answers(speech) => speech.engine.statistics(),
            Self::Embeddings(embedder) => {
                let now = embedder.statistics();
                Statistics {
                    waiting: now.waiting,
                    prompt_tokens: now.tokens,
                    steps: now.passes,
                    finished: now.finished,
                    cancelled: now.cancelled,
                    ..Statistics::default()
                }
            }
        }
    }
}

/// What is known so far.
struct Progress {
    state: State,
    served: Option<Served>,
    memory: Option<Memory>,
    error: Option<Arc<str>>,
    /// Whether it was told to stop.
    is_stopped: bool,
}

impl Model {
    /// A model of which nothing is known but its names.
    ///
    /// # Panics
    /// If there is no name.
    #[must_use]
    pub fn new(names: Vec<String>, timeline: Timeline) -> Self {
        assert!(!names.is_empty(), "a model has a name");
        let created_unix_s = unix_s();
        let progress = watch::Sender::new(Progress {
            state: State::Starting,
            served: None,
            memory: None,
            error: None,
            is_stopped: false,
        });
        Self(Arc::new(Inner { names, timeline, created_unix_s, progress }))
    }

    /// It needs so much memory.
    pub fn needs(&self, memory: Memory) {
        self.0.progress.send_modify(|progress| progress.memory = Some(memory));
    }

    /// It makes text: requests can be made tokens, and queued.
    pub fn speaks(&self, speech: Speech) {
        self.serves(Served::Answers(Arc::new(speech)));
    }

    /// It makes embeddings: texts can be queued.
    pub fn embeds(&self, embedder: Embedder) {
        self.serves(Served::Embeddings(embedder));
    }

    fn serves(&self, served: Served) {
        self.0.progress.send_modify(|progress| progress.served = Some(served));
    }

    /// The weights are on their way.
    pub fn is_loading(&self) {
        self.advance(State::Loading, None);
    }

    /// All weights are there.
    pub fn is_ready(&self) {
        self.advance(State::Ready, None);
    }

    /// There will be no answer, for the reason that `error` says.
    pub fn has_failed(&self, error: impl Into<Arc<str>>) {
        self.advance(State::Failed, Some(error.into()));
    }

    /// How far the load is.
    #[must_use]
    pub fn state(&self) -> State {
        self.0.progress.borrow().state
    }

    /// When there will be no answer any more.
    pub async fn failed(&self) {
        let mut progress = self.0.progress.subscribe();
        drop(progress.wait_for(|now| now.state == State::Failed).await);
    }

    /// Why it failed, if it did.
    pub(crate) fn error(&self) -> Option<Arc<str>> {
        self.outcome().1
    }

    /// How far the load is and why it failed, if it did, at one moment.
    pub(crate) fn outcome(&self) -> (State, Option<Arc<str>>) {
        let now = self.0.progress.borrow();
        (now.state, now.error.clone())
    }

    /// What it needs, if that is known.
    pub(crate) fn memory(&self) -> Option<Memory> {
        self.0.progress.borrow().memory
    }

    /// What it makes, if that is known.
    pub(crate) fn served_now(&self) -> Option<Served> {
        self.0.progress.borrow().served.clone()
    }

    /// How to speak to it, as soon as that is known.
    pub(crate) async fn speech(&self) -> Result<Arc<Speech>, Refusal> {
        match self.served().await? {
            Served::Answers(speech) => Ok(speech),
            Served::Embeddings(_) => {
                Err(Refusal::not_served("model", "it makes embeddings: ask `/v1/embeddings`"))
            }
        }
    }

    /// What embeds texts, as soon as that is known.
    pub(crate) async fn embedder(&self) -> Result<Embedder, Refusal> {
        match self.served().await? {
            Served::Embeddings(embedder) => Ok(embedder),
            Served::Answers(_) => Err(Refusal::not_served(
                "model",
                "it makes text, and no embeddings: ask `/v1/chat/completions` or `/v1/completions`",
            )),
        }
    }

    async fn served(&self) -> Result<Served, Refusal> {
        let mut progress = self.0.progress.subscribe();
        let known = progress.wait_for(|now| now.error.is_some() || now.served.is_some()).await;
        let known = known.expect("the sender lives as long as the model");
        match (&known.error, &known.served) {
            (None, Some(served)) => Ok(served.clone()),
            (reason, _) => {
                let reason = reason.clone().expect("one of both is there");
                Err(Refusal::Load { reason })
            }
        }
    }

    /// When its load is over, for better or worse.
    pub(crate) async fn settled(&self) {
        let mut progress = self.0.progress.subscribe();
        let settled = progress.wait_for(|now| matches!(now.state, State::Ready | State::Failed));
        drop(settled.await);
    }

    /// Its engine, if there is one, ends: nobody waits for an answer any more, not even where the
    /// thread that computes waits for weights itself and cannot tell.
    pub(crate) fn stop(&self) {
        self.0.progress.send_modify(|progress| progress.is_stopped = true);
        match self.served_now() {
            Some(Served::Answers(speech)) => speech.engine.stop(Duration::ZERO),
            Some(Served::Embeddings(embedder)) => embedder.stop(Duration::ZERO),
            None => {}
        }
    }

    /// When it was told to stop.
    pub(crate) fn stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut progress = self.0.progress.subscribe();
        // Whoever waits for an answer has the server, and it the model.
        async move { drop(progress.wait_for(|now| now.is_stopped).await) }
    }

    pub(crate) fn timeline(&self) -> &Timeline {
        &self.0.timeline
    }

    /// What answers call it.
    pub(crate) fn name(&self) -> &str {
        &self.0.names[0]
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.0.names
    }

    pub(crate) fn created_unix_s(&self) -> u64 {
        self.0.created_unix_s
    }

    /// Checks that a request means this one.
    pub(crate) fn check_name(&self, name: &str) -> Result<(), Refusal> {
        if self.0.names.iter().any(|known| known == name) {
            return Ok(());
        }
        Err(Refusal::UnknownModel { model: name.to_owned(), served: self.name().to_owned() })
    }

    /// What has failed stays so.
    fn advance(&self, state: State, error: Option<Arc<str>>) {
        self.0.progress.send_if_modified(|progress| {
            let changes = progress.state != State::Failed;
            if changes {
                (progress.state, progress.error) = (state, error);
            }
            changes
        });
    }
}

/// Seconds since 1970.
pub(crate) fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
