//! How to speak to the model: what turns a request into tokens, and who takes them.

use std::sync::Arc;

use firstlight_generate::{ChatTemplate, Engine, Error, GenerationConfig, Tokenizer};

use crate::Refusal;

/// What is there long before the weights are.
pub struct Speech {
    pub(crate) tokenizer: Tokenizer,
    template: Result<ChatTemplate, Arc<Error>>,
    pub(crate) defaults: GenerationConfig,
    pub(crate) engine: Engine,
}

impl Speech {
    /// A model without a chat template serves completions all the same.
    #[must_use]
    pub fn new(
        tokenizer: Tokenizer,
        template: Result<ChatTemplate, Error>,
        defaults: GenerationConfig,
        engine: Engine,
    ) -> Self {
        Self { tokenizer, template: template.map_err(Arc::new), defaults, engine }
    }

    pub(crate) fn template(&self) -> Result<&ChatTemplate, Refusal> {
        self.template.as_ref().map_err(|error| Refusal::from(Arc::clone(error)))
    }
}

/// A prompt, ready for the engine.
#[derive(Clone, Debug)]
pub(crate) struct Prompt {
    pub(crate) ids: Vec<u32>,
    /// Its text, where answers are to begin with it.
    pub(crate) echo: Option<String>,
}
