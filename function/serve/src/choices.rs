//! The answers to one request while they are computed: one job of the engine each, whose events
//! come together here.
//!
//! The engine calls from its own thread and must not wait, so that the way here has no bound of its
//! own: what bounds it is that an answer has only so many tokens. A client that reads slowly holds
//! that text, and not a block of the cache.
//!
//! Whoever drops the choices (a client that goes away does) cancels the jobs.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use firstlight_generate::engine::{Cancelled, Event, Job, Out};
use firstlight_generate::{Bias, Error, Sampling, SamplingOptions, Settings};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::metrics::{Arrival, Observer};
use crate::speech::{Prompt, Speech};
use crate::{Refusal, Server};

/// What is to be done with each prompt of a request.
pub(crate) struct Work {
    pub(crate) settings: Settings,
    pub(crate) bias: Bias,
    pub(crate) logprobs: Option<u8>,
    pub(crate) prompt_logprobs: Option<u8>,
    /// Answers to each prompt.
    pub(crate) answers: usize,
    /// The field that the prompts came in.
    pub(crate) param: &'static str,
}

/// Answers that are being computed. Those to the first prompt come first.
pub(crate) struct Choices {
    events: UnboundedReceiver<(usize, Event)>,
    cancelled: Cancelled,
    /// The process ends: the engine may wait for weights and tell nobody.
    stopped: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Choices {
    /// Submits the jobs: all of them, or none.
    pub(crate) fn submit(
        server: &Server,
        speech: &Speech,
        prompts: Vec<Prompt>,
        work: &Work,
        arrival: Arrival,
    ) -> Result<Self, Refusal> {
        let (sender, events) = unbounded_channel();
        // Dropped where a job is refused, which cancels those before it.
        let stopped = Box::pin(server.model().stopped());
        let choices = Self { events, cancelled: Cancelled::default(), stopped };
        for (n, prompt) in prompts.into_iter().enumerate() {
            for answer in 0..work.answers {
                let index = n * work.answers + answer;
                let observer = server.recorder().observer(prompt.ids.len(), arrival);
                let out = out(index, sender.clone(), observer);
                let job = choices.job(prompt.ids.clone(), answer, work, out);
                let taken = speech.engine.submit(job);
                taken.map_err(|refusal| Refusal::of_job(refusal, work.param))?;
            }
        }
        Ok(choices)
    }

    fn job(&self, prompt_ids: Vec<u32>, answer: usize, work: &Work, out: Out) -> Job {
        Job {
            prompt_ids,
            sampling: reseeded(work.settings.sampling, answer as u64),
            stop: work.settings.stop.clone(),
            bias: work.bias.clone(),
            logprobs: work.logprobs,
            prompt_logprobs: work.prompt_logprobs,
            cancelled: self.cancelled.clone(),
            out,
        }
    }

    /// The next event, and whose it is; an end before the last `Finished` is a broken promise.
    pub(crate) async fn next(&mut self) -> Option<(usize, Event)> {
        poll_fn(|context| self.poll_next(context)).await
    }

    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<(usize, Event)>> {
        if let Poll::Ready(event) = self.events.poll_recv(context) {
            return Poll::Ready(event);
        }
        let stopped = || Some((0, Event::Failed(Arc::new(Error::EngineStopped))));
        self.stopped.as_mut().poll(context).map(|()| stopped())
    }
}

impl Drop for Choices {
    fn drop(&mut self) {
        self.cancelled.cancel();
    }
}

/// The answers to one prompt differ by their seeds.
fn reseeded(sampling: Sampling, n: u64) -> Sampling {
    let options = *sampling.options();
    let seed = options.seed.wrapping_add(n);
    Sampling::new(SamplingOptions { seed, ..options }).expect("every seed is allowed")
}

fn out(index: usize, sender: UnboundedSender<(usize, Event)>, mut observer: Observer) -> Out {
    Box::new(move |event| {
        observer.observe(&event);
        sender.send((index, event)).is_ok()
    })
}
