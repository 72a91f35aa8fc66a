//! What answers look like on the wire, for chat and for completions, whole and in pieces.

use std::collections::BTreeMap;

use firstlight_generate::{Finish, Logprob, Logprobs, Tokenizer};
use serde::Serialize;

use crate::model::{Model, unix_s};
use crate::trace;

/// Which of the two interfaces answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Chat,
    Completion,
}

impl Form {
    /// The field that has the prompt.
    pub(crate) fn prompt_param(self) -> &'static str {
        match self {
            Self::Chat => "messages",
            Self::Completion => "prompt",
        }
    }
}

/// What all pieces of one answer have in common.
pub(crate) struct Letterhead {
    form: Form,
    id: String,
    created: u64,
    model: Model,
    /// What makes text of the tokens beside their probabilities.
    tokenizer: Tokenizer,
    /// Whether each token comes with how likely it was.
    pub(crate) has_logprobs: bool,
    /// Whether the pieces of a stream say that the last one will tell what all of it took.
    pub(crate) promises_usage: bool,
}

/// One of the answers to a request, as far as it has come.
#[derive(Debug, Default)]
pub(crate) struct Choice {
    pub(crate) text: String,
    pub(crate) logprobs: Vec<TokenProbability>,
    pub(crate) finish: Option<Finish>,
}

/// A token and how likely it was; of the first of a prompt nobody knows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TokenProbability {
    pub(crate) id: u32,
    pub(crate) logprobs: Option<Logprobs>,
}

/// What a request took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[expect(clippy::struct_field_names, reason = "as the interface names them")]
pub(crate) struct Usage {
    pub(crate) prompt_tokens: usize,
    pub(crate) completion_tokens: usize,
    pub(crate) total_tokens: usize,
}

impl Usage {
    pub(crate) fn new(prompt_tokens: usize, completion_tokens: usize) -> Self {
        let total_tokens = prompt_tokens + completion_tokens;
        Self { prompt_tokens, completion_tokens, total_tokens }
    }
}

impl Letterhead {
    pub(crate) fn new(form: Form, model: &Model, tokenizer: &Tokenizer) -> Self {
        let prefix = match form {
            Form::Chat => "chatcmpl",
            Form::Completion => "cmpl",
        };
        let id = format!("{prefix}-{:032x}", trace::random_128());
        let (model, tokenizer) = (model.clone(), tokenizer.clone());
        Self {
            form,
            id,
            created: unix_s(),
            model,
            tokenizer,
            has_logprobs: false,
            promises_usage: false,
        }
    }

    /// The whole answer.
    pub(crate) fn whole(&self, choices: &[Choice], usage: Usage) -> Vec<u8> {
        let object = match self.form {
            Form::Chat => "chat.completion",
            Form::Completion => "text_completion",
        };
        let choices = choices.iter().enumerate();
        let choices = choices.map(|(index, choice)| self.choice(index, choice));
        self.json(object, choices.collect(), Some(Bill::Now(usage)))
    }

    /// What stands at the beginning of each choice of a stream, before its first token.
    pub(crate) fn opening(&self, index: usize) -> Option<Vec<u8>> {
        let delta = Delta { role: Some("assistant"), content: Some("") };
        (self.form == Form::Chat).then(|| self.chunk(Piece::delta(index, delta)))
    }

    /// A piece of a stream.
    pub(crate) fn piece(&self, index: usize, choice: &Choice) -> Vec<u8> {
        let finish_reason = choice.finish.map(finish_reason);
        let piece = match self.form {
            Form::Chat => {
                let has_text = !choice.text.is_empty() || choice.finish.is_none();
                let content = has_text.then_some(choice.text.as_str());
                Piece::delta(index, Delta { role: None, content })
            }
            Form::Completion => Piece { text: Some(&choice.text), ..Piece::new(index) },
        };
        self.chunk(Piece { logprobs: self.logprobs(choice), finish_reason, ..piece })
    }

    /// The piece of a stream that tells what all of it took.
    pub(crate) fn last(&self, usage: Usage) -> Vec<u8> {
        self.json(self.chunk_object(), Vec::new(), Some(Bill::Now(usage)))
    }

    fn chunk(&self, piece: Piece<'_>) -> Vec<u8> {
        self.json(self.chunk_object(), vec![piece], self.promises_usage.then_some(Bill::Later(())))
    }

    fn chunk_object(&self) -> &'static str {
        match self.form {
            Form::Chat => "chat.completion.chunk",
            Form::Completion => "text_completion",
        }
    }

    fn choice<'a>(&self, index: usize, choice: &'a Choice) -> Piece<'a> {
        let content = choice.text.as_str();
        let piece = match self.form {
            Form::Chat => {
                let message = Message { role: "assistant", content, refusal: () };
                Piece { message: Some(message), ..Piece::new(index) }
            }
            Form::Completion => Piece { text: Some(content), ..Piece::new(index) },
        };
        let finish_reason = choice.finish.map(finish_reason);
        Piece { logprobs: self.logprobs(choice), finish_reason, ..piece }
    }

    fn json(&self, object: &'static str, choices: Vec<Piece<'_>>, usage: Option<Bill>) -> Vec<u8> {
        let answer = Answer {
            id: &self.id,
            object,
            created: self.created,
            model: self.model.name(),
            system_fingerprint: FINGERPRINT,
            choices,
            usage,
        };
        serde_json::to_vec(&answer).expect("our types have string keys and no map fails")
    }

    fn logprobs(&self, choice: &Choice) -> Option<Shown> {
        let tokens = &choice.logprobs;
        (self.has_logprobs && !tokens.is_empty()).then(|| match self.form {
            Form::Chat => {
                let known = tokens.iter().filter_map(|token| token.logprobs.as_ref());
                Shown::Chat {
                    content: known.map(|logprobs| self.chat_token(logprobs)).collect(),
                    refusal: (),
                }
            }
            Form::Completion => self.completion_tokens(tokens),
        })
    }

    fn chat_token(&self, logprobs: &Logprobs) -> ChatToken {
        let top = logprobs.top.iter().map(|token| self.token(*token)).collect();
        ChatToken { token: self.token(logprobs.chosen), top_logprobs: top }
    }

    fn token(&self, Logprob { id, logprob }: Logprob) -> Token {
        let spelling = self.spelling(id);
        // A part of a character has bytes, but which is known to the tokenizer alone.
        let is_whole = !spelling.contains(char::REPLACEMENT_CHARACTER);
        let bytes = is_whole.then(|| spelling.as_bytes().to_vec());
        Token { spelling, logprob: finite(logprob), bytes }
    }

    fn completion_tokens(&self, tokens: &[TokenProbability]) -> Shown {
        let mut offset = 0;
        let mut shown = CompletionTokens::default();
        for TokenProbability { id, logprobs } in tokens {
            let token = self.spelling(*id);
            shown.text_offset.push(offset);
            // Special tokens are no part of a text.
            offset += if self.tokenizer.is_special(*id) { 0 } else { token.chars().count() };
            shown.tokens.push(token);
            shown.token_logprobs.push(logprobs.as_ref().map(|it| finite(it.chosen.logprob)));
            shown.top_logprobs.push(logprobs.as_ref().map(|it| self.by_spelling(&it.top)));
        }
        Shown::Completion(shown)
    }

    /// Of tokens that are spelled alike the likeliest stays.
    fn by_spelling(&self, tokens: &[Logprob]) -> BTreeMap<String, f32> {
        let falling = tokens.iter().rev();
        falling.map(|token| (self.spelling(token.id), finite(token.logprob))).collect()
    }

    /// The text of a token alone; special ones, which have none in an answer, by their name.
    fn spelling(&self, id: u32) -> String {
        let name = || self.tokenizer.token(id).unwrap_or_default();
        if self.tokenizer.is_special(id) {
            return name();
        }
        self.tokenizer.decode(&[id]).unwrap_or_else(|_| name())
    }
}

/// Why an answer ended, as the interfaces say it.
pub(crate) fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::StopString => "stop",
        Finish::Length | Finish::ContextFull => "length",
    }
}

/// JSON has no infinity; this is what OpenAI writes for what is ruled out.
fn finite(logprob: f32) -> f32 {
    logprob.max(-9999.0)
}

#[derive(Serialize)]
struct Answer<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'static str,
    choices: Vec<Piece<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Bill>,
}

/// What an answer took; null until that is known.
#[derive(Serialize)]
#[serde(untagged)]
enum Bill {
    Later(()),
    Now(Usage),
}

/// A choice or a piece of one, of either interface.
#[derive(Serialize)]
struct Piece<'a> {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Message<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<Delta<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    logprobs: Option<Shown>,
    finish_reason: Option<&'static str>,
}

impl<'a> Piece<'a> {
    fn new(index: usize) -> Self {
        Self { index, message: None, delta: None, text: None, logprobs: None, finish_reason: None }
    }

    fn delta(index: usize, delta: Delta<'a>) -> Self {
        Self { delta: Some(delta), ..Self::new(index) }
    }
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: &'a str,
    refusal: (),
}

#[derive(Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Shown {
    Chat { content: Vec<ChatToken>, refusal: () },
    Completion(CompletionTokens),
}

#[derive(Serialize)]
struct ChatToken {
    #[serde(flatten)]
    token: Token,
    top_logprobs: Vec<Token>,
}

#[derive(Serialize)]
struct Token {
    #[serde(rename = "token")]
    spelling: String,
    logprob: f32,
    bytes: Option<Vec<u8>>,
}

#[derive(Default, Serialize)]
struct CompletionTokens {
    tokens: Vec<String>,
    token_logprobs: Vec<Option<f32>>,
    top_logprobs: Vec<Option<BTreeMap<String, f32>>>,
    text_offset: Vec<usize>,
}

/// Answers of the same fingerprint and seed are the same.
const FINGERPRINT: &str = concat!("firstlight-", env!("CARGO_PKG_VERSION"));
