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

#[cfg(test)]
pub(crate) mod tests {
    use firstlight_generate::engine::{Limits, Worker};

    use super::*;

    pub(crate) const TOKENIZER: &[u8] =
        include_bytes!("../../../tests/fixtures/demo-model/tokenizer.json");

    /// A small model with a chat template, and who would compute for it, one answer at a time.
    pub(crate) fn speech() -> (Speech, Worker) {
        let limits = Limits {
            context_length: 64,
            vocabulary_size: 2048,
            kv_blocks: 4,
            block_positions: 64,
            max_running: 1,
            max_waiting: 1,
            step_rows: 64,
        };
        let tokenizer = Tokenizer::parse(TOKENIZER).unwrap();
        let (engine, worker) = Engine::new(tokenizer.clone(), limits);
        let template = ChatTemplate::parse(None, Some(b"{{ messages[0].content }}"));
        (Speech::new(tokenizer, template, GenerationConfig::default(), engine), worker)
    }
}
