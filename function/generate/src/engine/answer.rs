//! One answer that is being written, and who listens to it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use firstlight_model::Draw;

use super::job::{Event, Job, Token, Usage};
use crate::{Error, Generation, Logprobs, Result, Step};

/// A job that was taken.
pub(super) struct Answer {
    job: Job,
    generation: Generation,
    /// The prompt, and the answer so far.
    ids: Vec<u32>,
    /// How likely each token of the prompt was, as far as it was computed.
    prompt_logprobs: Vec<Option<Logprobs>>,
    begun: Instant,
    has_ended: bool,
}

impl Answer {
    pub(super) fn new(mut job: Job, generation: Generation) -> Self {
        let ids = std::mem::take(&mut job.prompt_ids);
        let begun = Instant::now();
        Self { job, generation, ids, prompt_logprobs: Vec::new(), begun, has_ended: false }
    }

    /// The prompt, and the answer so far.
    pub(super) fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// How many there will be at most.
    pub(super) fn longest(&self) -> usize {
        self.ids.len().saturating_add(self.job.stop.max_tokens() as usize)
    }

    /// It left the queue.
    pub(super) fn begin(&mut self) {
        self.begun = Instant::now();
        self.tell(Event::Started);
    }

    /// How long it took, since it left the queue.
    pub(super) fn took_s(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.job.cancelled.is_cancelled()
    }

    /// Whether nothing more is to be computed of it.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    pub(super) fn prompt_tokens(&self) -> usize {
        self.ids.len() - self.generation.generated_tokens()
    }

    /// Whether the logits of all rows at these positions are wanted.
    pub(super) fn scores(&self, positions: &Range<usize>) -> bool {
        let is_told = self.generation.generated_tokens() > 0;
        self.job.prompt_logprobs.is_some() && !is_told && !positions.is_empty()
    }

    /// How likely the prompt's tokens are, by the logits of its tokens from `first` on, a row of
    /// `vocabulary` each.
    pub(super) fn score(&mut self, first: usize, logits: &[f32], vocabulary: usize) {
        let Some(top) = self.job.prompt_logprobs else { return };
        if self.prompt_logprobs.is_empty() {
            self.prompt_logprobs.push(None);
        }
        for (position, logits) in (first + 1..).zip(logits.chunks_exact(vocabulary)) {
            if position == self.prompt_logprobs.len() && position < self.prompt_tokens() {
                let logprobs = Logprobs::new(logits, self.ids[position], top);
                self.prompt_logprobs.push(Some(logprobs));
            }
        }
    }

    /// How a device may choose the next token, where it may: then [`accept`](Self::accept) or
    /// [`choose`](Self::choose) comes next.
    pub(super) fn draw(&mut self) -> Option<Draw> {
        let is_plain = self.job.bias.is_empty() && self.job.logprobs.is_none();
        if is_plain { self.generation.draw() } else { None }
    }

    /// Goes on with the token that the device has drawn.
    pub(super) fn accept(&mut self, token: u32) {
        let step = self.generation.accept(token);
        self.go_on(step.map(|step| (step, None)));
    }

    /// Chooses the next token by the logits that follow the last one.
    pub(super) fn choose(&mut self, logits: &mut [f32]) {
        let step = self.step(logits);
        self.go_on(step);
    }

    fn step(&mut self, logits: &mut [f32]) -> Result<(Step, Option<Logprobs>)> {
        let Some(top) = self.job.logprobs else {
            self.job.bias.apply(logits);
            return Ok((self.generation.step(logits)?, None));
        };
        // What is told is what the model said.
        let step = if self.job.bias.is_empty() {
            self.generation.step(logits)?
        } else {
            let mut biased = logits.to_vec();
            self.job.bias.apply(&mut biased);
            self.generation.step(&biased)?
        };
        let logprobs = Logprobs::new(logits, step.token, top);
        Ok((step, Some(logprobs)))
    }

    /// Tells what a step led to.
    fn go_on(&mut self, step: Result<(Step, Option<Logprobs>)>) {
        let (Step { token: id, text, finish }, logprobs) = match step {
            Ok(step) => step,
            Err(error) => {
                tracing::warn!(%error, "an answer failed, and others go on");
                return self.fail(&Arc::new(error));
            }
        };
        if self.generation.generated_tokens() == 1 && self.job.prompt_logprobs.is_some() {
            let logprobs = std::mem::take(&mut self.prompt_logprobs);
            self.tell(Event::Prompt(logprobs));
        }
        self.ids.push(id);
        self.tell(Event::Token(Token { id, text, logprobs }));
        if let Some(finish) = finish {
            let generated_tokens = self.generation.generated_tokens();
            let usage = Usage { prompt_tokens: self.prompt_tokens(), generated_tokens };
            self.tell(Event::Finished { finish, usage });
            self.has_ended = true;
        }
    }

    /// It ends here.
    pub(super) fn fail(&mut self, error: &Arc<Error>) {
        self.tell(Event::Failed(Arc::clone(error)));
        self.has_ended = true;
    }

    /// Nobody is told anything any more, once nobody listens.
    fn tell(&mut self, event: Event) {
        if !self.is_cancelled() && !(self.job.out)(event) {
            self.job.cancelled.cancel();
        }
    }
}
