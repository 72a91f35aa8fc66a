//! What answers look like on the wire, for chat and for completions, whole and in pieces.

use std::collections::BTreeMap;

use firstlight_generate::Finish;
use serde::Serialize;

use crate::model::{Model, unix_s};
use crate::spelling::{Likely, Told};
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
    /// Whether each token comes with how likely it was.
    pub(crate) has_logprobs: bool,
    /// Whether the pieces of a stream say that the last one will tell what all of it took.
    pub(crate) promises_usage: bool,
}

/// One of the answers to a request, as far as it has come.
#[derive(Debug, Default)]
pub(crate) struct Choice {
    pub(crate) text: String,
    pub(crate) logprobs: Vec<Told>,
    pub(crate) finish: Option<Finish>,
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
    pub(crate) fn new(form: Form, model: &Model) -> Self {
        let prefix = match form {
            Form::Chat => "chatcmpl",
            Form::Completion => "cmpl",
        };
        let id = format!("{prefix}-{:032x}", trace::random_128());
        let (created, model) = (unix_s(), model.clone());
        Self { form, id, created, model, has_logprobs: false, promises_usage: false }
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
                Shown::Chat { content: tokens.iter().map(ChatToken::new).collect(), refusal: () }
            }
            Form::Completion => Shown::Completion(CompletionTokens::new(tokens)),
        })
    }
}

/// Why an answer ended, as the interfaces say it.
pub(crate) fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::StopString => "stop",
        Finish::Length | Finish::ContextFull => "length",
    }
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

impl ChatToken {
    fn new(told: &Told) -> Self {
        let top_logprobs = told.top.iter().map(Token::new).collect();
        Self { token: Token::new(&told.token), top_logprobs }
    }
}

#[derive(Serialize)]
struct Token {
    #[serde(rename = "token")]
    text: String,
    logprob: Option<f32>,
    bytes: Option<Vec<u8>>,
}

impl Token {
    fn new(likely: &Likely) -> Self {
        let Likely { spelling, logprob } = likely;
        let (text, bytes) = (spelling.text.clone(), spelling.bytes.clone());
        Self { text, logprob: logprob.map(finite), bytes }
    }
}

#[derive(Default, Serialize)]
struct CompletionTokens {
    tokens: Vec<String>,
    token_logprobs: Vec<Option<f32>>,
    top_logprobs: Vec<Option<BTreeMap<String, f32>>>,
    text_offset: Vec<usize>,
}

impl CompletionTokens {
    fn new(tokens: &[Told]) -> Self {
        let mut shown = Self::default();
        for Told { token, top, offset } in tokens {
            shown.tokens.push(token.spelling.text.clone());
            shown.token_logprobs.push(token.logprob.map(finite));
            shown.top_logprobs.push(token.logprob.map(|_| by_spelling(token, top)));
            shown.text_offset.push(*offset);
        }
        shown
    }
}

/// The likeliest tokens, and the one that stands there. Of tokens that are spelled alike the likeliest stays.
fn by_spelling(token: &Likely, top: &[Likely]) -> BTreeMap<String, f32> {
    let falling = std::iter::once(token).chain(top.iter().rev());
    falling.filter_map(|it| Some((it.spelling.text.clone(), finite(it.logprob?)))).collect()
}

/// JSON has no infinity; this is what OpenAI writes for what is ruled out.
fn finite(logprob: f32) -> f32 {
    logprob.max(-9999.0)
}

/// Answers of the same fingerprint and seed are the same.
const FINGERPRINT: &str = concat!("firstlight-", env!("CARGO_PKG_VERSION"));
