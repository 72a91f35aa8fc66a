//! What all handlers share.

use std::num::NonZero;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::Refusal;
use crate::activity::Activity;
use crate::cors::Origin;
use crate::keys::Keys;
use crate::metrics::Recorder;
use crate::model::{Model, State};

/// One model and how it is served. Clones are the same server.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

struct Inner {
    model: Model,
    settings: Settings,
    recorder: Arc<Recorder>,
    activity: Activity,
    /// Who may read and encode long texts now: as many as there are processors.
    encoders: Arc<Semaphore>,
}

/// How a model is served.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// What clients may take.
    pub limits: Limits,
    /// Who may ask; everybody, where there is no key.
    pub keys: Keys,
    /// When `/health/ready` says yes.
    pub ready: Ready,
    /// Whose pages may ask, if any.
    pub cors: Option<Origin>,
    /// Whether there is a page at `/`.
    pub page: bool,
}

/// When an instance is ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ready {
    /// When it takes requests: from the first moment on, they ride the load.
    #[default]
    Accepting,
    /// When the model is loaded.
    Loaded,
}

/// What clients may take.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The longest body of a request.
    pub body_bytes: usize,
    /// How long the head of a request may take to arrive: the first of a connection from its
    /// beginning, others from their first byte.
    pub head_time: Duration,
    /// How long the body of a request may take to arrive.
    pub body_time: Duration,
    /// How long a client may take to read what was sent, before it is given up.
    pub stall_time: Duration,
    /// How long a stream may say nothing until its answer begins.
    pub quiet_time: Duration,
    /// How long a connection may wait for the first byte of its next request.
    pub idle_time: Duration,
    /// Connections at once; for one more, the one that has been idle for longest is closed.
    pub connections: usize,
    /// The longest answer that may be asked for; to the end of the context, where there is none.
    pub answer_tokens: Option<NonZero<u32>>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Three times the text that fills a context of 128k tokens.
            body_bytes: 2 << 20,
            head_time: Duration::from_secs(30),
            body_time: Duration::from_secs(30),
            stall_time: Duration::from_secs(30),
            // A quarter of the time after which load balancers cut what says nothing (60 s).
            quiet_time: Duration::from_secs(15),
            // Longer than load balancers keep a connection (60 s): they should be the ones to close.
            idle_time: Duration::from_secs(75),
            // With the longest bodies, 2 GiB; and as many descriptors as a process usually has.
            connections: 1000,
            answer_tokens: None,
        }
    }
}

impl Server {
    /// A server of `model`, which need not be loaded yet.
    #[must_use]
    pub fn new(model: Model, settings: Settings) -> Self {
        let recorder = Arc::new(Recorder::new(&model));
        let threads = available_parallelism().map_or(1, NonZero::get);
        Self(Arc::new(Inner {
            model,
            settings,
            recorder,
            activity: Activity::default(),
            encoders: Arc::new(Semaphore::new(threads)),
        }))
    }

    pub(crate) fn model(&self) -> &Model {
        &self.0.model
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.0.settings.limits
    }

    pub(crate) fn recorder(&self) -> &Arc<Recorder> {
        &self.0.recorder
    }

    pub(crate) fn activity(&self) -> &Activity {
        &self.0.activity
    }

    /// Whether a request that comes now meets a model that is not loaded.
    pub(crate) fn is_cold(&self) -> bool {
        self.model().state() != State::Ready
    }

    /// When nobody has asked for anything for so long, and the load is over.
    pub async fn idle(&self, time: Duration) {
        self.model().settled().await;
        self.activity().idle(time).await;
    }

    /// Has work on a text of `bytes` done where it does not keep other requests waiting.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        if bytes <= AT_ONCE_BYTES {
            return work();
        }
        let permit = Arc::clone(&self.0.encoders).acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        let working = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        working.await.map_err(|_| Refusal::BrokenOff)?
    }
}

/// Parsed in some 50 µs, which is what handing it to another thread may take.
const AT_ONCE_BYTES: usize = 16 << 10;
