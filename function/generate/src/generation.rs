//! One answer, as a state machine that is driven with logits.
//!
//! ```text
//! logits ──► Sampler ──► token ──► StopRules ──► Detokenizer ──► StopStrings ──► text
//! ```
//!
//! The caller computes the prompt, then for each step gives the logits of the last position, or the
//! token that the device has drawn of them, gets a token, and computes that. Everything that can be wrong with the prompt is found before the first
//! step, by numbers that config.json has: before any weight is there.

use firstlight_model::Draw;

use crate::Tokenizer;
use crate::stop_strings::Found;
use crate::{Detokenizer, Error, Finish, Result, Sampler, Sampling, StopRules, StopStrings};

/// What to answer, and how.
#[derive(Debug)]
pub struct GenerationRequest<'a> {
    /// The prompt's tokens.
    pub prompt_ids: &'a [u32],
    /// How to choose each token.
    pub sampling: Sampling,
    /// When to stop.
    pub stop: StopRules,
    /// The most tokens of prompt and answer together.
    pub context_length: usize,
    /// How many tokens the model knows: the length of each row of logits.
    pub vocabulary_size: usize,
}

/// An answer that is being written.
#[derive(Debug)]
pub struct Generation {
    sampler: Sampler,
    detokenizer: Detokenizer,
    stop: StopRules,
    stop_strings: StopStrings,
    vocabulary_size: usize,
    /// How many tokens may follow the prompt within the context.
    room_tokens: usize,
    generated_tokens: usize,
    finish: Option<Finish>,
}

/// What one row of logits led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The token to compute next, unless this was the last.
    pub token: u32,
    /// Text that is now certain; often a word, sometimes nothing.
    pub text: String,
    /// Why the answer ends here, if it does.
    pub finish: Option<Finish>,
}

impl Generation {
    /// Checks the prompt against the model: that it is not empty, leaves room in the context, and
    /// that the model has every one of its ids.
    pub fn new(tokenizer: &Tokenizer, request: GenerationRequest<'_>) -> Result<Self> {
        check_prompt(&request)?;
        Ok(Self {
            sampler: Sampler::new(request.sampling, request.prompt_ids),
            detokenizer: Detokenizer::after(tokenizer, request.prompt_ids)?,
            stop_strings: StopStrings::new(request.stop.strings()),
            stop: request.stop,
            vocabulary_size: request.vocabulary_size,
            room_tokens: request.context_length - request.prompt_ids.len(),
            generated_tokens: 0,
            finish: None,
        })
    }

    /// Chooses the next token by the logits of the last position. An error leaves the answer as it
    /// was.
    ///
    /// # Panics
    /// After a step that finished the answer.
    pub fn step(&mut self, logits: &[f32]) -> Result<Step> {
        assert!(self.finish.is_none(), "no step follows the one that finished");
        let (found, expected) = (logits.len(), self.vocabulary_size);
        if found != expected {
            return Err(Error::LogitsLength { found, expected });
        }
        let token = if self.may_end() {
            self.sampler.sample(logits)?
        } else {
            self.sampler.sample(&self.without_an_end(logits))?
        };
        self.follow(token)
    }

    /// How a device may choose the next token, where it may: either [`accept`](Self::accept) or
    /// [`step`](Self::step) comes next.
    pub fn draw(&mut self) -> Option<Draw> {
        if self.may_end() { self.sampler.draw() } else { None }
    }

    /// Whether the next token may be one that ends the answer.
    fn may_end(&self) -> bool {
        self.generated_tokens >= self.stop.min_tokens() as usize
    }

    /// Logits that rule out all tokens which end an answer.
    fn without_an_end(&self, logits: &[f32]) -> Vec<f32> {
        let mut logits = logits.to_vec();
        for &id in self.stop.ids() {
            if let Some(logit) = logits.get_mut(id as usize) {
                *logit = f32::NEG_INFINITY;
            }
        }
        logits
    }

    /// Goes on with the token that the device has [drawn](Self::draw), as [`step`](Self::step) does
    /// with the one that it chooses.
    ///
    /// # Panics
    /// After a step that finished the answer.
    pub fn accept(&mut self, token: u32) -> Result<Step> {
        assert!(self.finish.is_none(), "no step follows the one that finished");
        self.sampler.accept(token);
        self.follow(token)
    }

    /// What the token leads to.
    fn follow(&mut self, token: u32) -> Result<Step> {
        assert!((token as usize) < self.vocabulary_size, "it is chosen from the logits");
        self.generated_tokens += 1;
        let finish = self.finish_after(token);
        let text = self.decode(token, finish)?;
        let (text, finish) = self.search(&text, finish);
        self.finish = finish;
        Ok(Step { token, text, finish })
    }

    /// How many tokens the answer has so far, the one that ended it included.
    #[must_use]
    pub fn generated_tokens(&self) -> usize {
        self.generated_tokens
    }

    /// Why the answer ended, once it did.
    #[must_use]
    pub fn finish(&self) -> Option<Finish> {
        self.finish
    }

    /// Whether the token, or the number of tokens, ends the answer.
    fn finish_after(&self, token: u32) -> Option<Finish> {
        if self.stop.stops_at(token) {
            Some(Finish::Stop)
        } else if self.generated_tokens >= self.stop.max_tokens() as usize {
            Some(Finish::Length)
        } else if self.generated_tokens >= self.room_tokens {
            Some(Finish::ContextFull)
        } else {
            None
        }
    }

    /// The text that the token adds. The token that says "done" has none, and the last one brings
    /// what was held back.
    fn decode(&mut self, token: u32, finish: Option<Finish>) -> Result<String> {
        let mut text = match finish {
            Some(Finish::Stop) => String::new(),
            _ => self.detokenizer.push(token)?,
        };
        if finish.is_some() {
            text += &self.detokenizer.finish()?;
        }
        Ok(text)
    }

    /// The text up to a stop string, or all that is certain not to be one: what an answer must
    /// have at least is not searched.
    fn search(&mut self, text: &str, finish: Option<Finish>) -> (String, Option<Finish>) {
        if self.generated_tokens <= self.stop.min_tokens() as usize {
            return (text.to_owned(), finish);
        }
        match self.stop_strings.push(text) {
            Found::Stop(before) => (before, Some(Finish::StopString)),
            Found::Nothing(text) if finish.is_some() => {
                (text + &self.stop_strings.finish(), finish)
            }
            Found::Nothing(text) => (text, None),
        }
    }
}

fn check_prompt(request: &GenerationRequest<'_>) -> Result<()> {
    let GenerationRequest { prompt_ids, context_length, vocabulary_size, .. } = *request;
    if prompt_ids.is_empty() {
        return Err(Error::EmptyPrompt);
    }
    if prompt_ids.len() >= context_length {
        return Err(Error::PromptTooLong { prompt_tokens: prompt_ids.len(), context_length });
    }
    check_ids(prompt_ids, vocabulary_size)
}

/// That the model has every one of them.
pub(crate) fn check_ids(ids: &[u32], vocabulary_size: usize) -> Result<()> {
    match ids.iter().position(|&id| id as usize >= vocabulary_size) {
        Some(position) => Err(Error::IdOutOfRange { position, id: ids[position], vocabulary_size }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
