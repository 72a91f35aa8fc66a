//! Messages to a prompt, by the template that the model was trained with.
//!
//! The template is a Jinja program that came with the weights. It is run as transformers runs it:
//! the same whitespace rules, variables, functions and filters, and Python's methods on strings and
//! dictionaries (`python.rs`). Since it is a program of somebody else, it gets no files, no other
//! templates, and a bound on its size, its steps, its recursion and its output.

mod bounded;
mod date;
mod generation_tag;
mod python;

use std::collections::BTreeMap;
use std::error::Error as _;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, ErrorKind, Value};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};
use bounded::Bounded;

/// One turn of a conversation. [`ChatTemplate::render`] takes anything that serializes; this is the
/// usual form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks: `system`, `user` or `assistant` in most templates.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A message of the user.
    pub fn user(content: impl Into<String>) -> Self {
        Self { role: "user".to_owned(), content: content.into() }
    }

    /// A message of the system: how the model should behave.
    pub fn system(content: impl Into<String>) -> Self {
        Self { role: "system".to_owned(), content: content.into() }
    }
}

/// The chat template of one model.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    /// `bos_token` and the like, as far as the tokenizer has them.
    special_tokens: BTreeMap<&'static str, String>,
}

impl ChatTemplate {
    /// Takes the template of `chat_template.jinja` where the model has that file, else the one in
    /// `tokenizer_config.json`: a string, or a list of named templates of which `default` counts.
    pub fn parse(
        tokenizer_config_json: Option<&[u8]>,
        chat_template_jinja: Option<&[u8]>,
    ) -> Result<Self> {
        let config = tokenizer_config_json.map_or(Ok(TokenizerConfig::default()), |json| {
            let file = "tokenizer_config.json";
            serde_json::from_slice(json).map_err(|source| Error::Json { file, source })
        })?;
        let source = match chat_template_jinja {
            Some(bytes) => std::str::from_utf8(bytes)
                .map_err(|source| Error::TemplateNotUtf8 { source })?
                .to_owned(),
            None => config.chat_template.as_ref().ok_or(Error::NoChatTemplate)?.default_source()?,
        };
        Ok(Self { environment: compile(&source)?, special_tokens: config.special_tokens() })
    }

    /// The prompt for `messages`, to be encoded *without* special tokens: the template wrote them.
    /// With `add_generation_prompt` it ends where the model's answer begins.
    pub fn render<M: Serialize>(
        &self,
        messages: &[M],
        add_generation_prompt: bool,
    ) -> Result<String> {
        let mut variables: BTreeMap<&str, Value> =
            self.special_tokens.iter().map(|(&name, token)| (name, token.into())).collect();
        variables.insert("messages", Value::from(Serde(messages)));
        variables.insert("add_generation_prompt", add_generation_prompt.into());
        // Templates ask `is not none` of these before they ask whether they are there.
        variables.insert("tools", ().into());
        variables.insert("documents", ().into());
        let mut prompt = Bounded::default();
        let template = self.environment.get_template(NAME);
        let rendered = template.and_then(|template| {
            template.render_captured_to(Value::from(variables), &mut prompt).map(|_| ())
        });
        rendered.map_err(|source| explain(source, prompt.is_full))?;
        Ok(String::from_utf8(prompt.bytes).expect("the engine writes strings"))
    }
}

fn compile(source: &str) -> Result<Environment<'static>> {
    if source.len() > MAX_TEMPLATE_BYTES {
        let (bytes, limit_bytes) = (source.len(), MAX_TEMPLATE_BYTES);
        return Err(Error::TemplateTooLong { bytes, limit_bytes });
    }
    let mut environment = Environment::new();
    let mut syntax = SyntaxConfig::builder();
    let syntax = syntax.trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the delimiters are Jinja's own"));
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(MAX_STEPS));
    environment.set_recursion_limit(MAX_RECURSION);
    python::install(&mut environment);
    // Jinja reads a template's lines as text, however they end.
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let source = generation_tag::replace(&source);
    environment
        .add_template_owned(NAME, source)
        .map_err(|source| Error::TemplateSyntax { source })?;
    Ok(environment)
}

/// Which of the ways to fail it was.
fn explain(source: minijinja::Error, is_full: bool) -> Error {
    if is_full {
        return Error::TemplateOutput { limit_bytes: MAX_PROMPT_BYTES };
    }
    if source.kind() == ErrorKind::OutOfFuel {
        return Error::TemplateEndless { steps: MAX_STEPS };
    }
    let mut cause = source.source();
    while let Some(other) = cause.filter(|cause| !cause.is::<python::Refused>()) {
        cause = other.source();
    }
    match cause.and_then(|cause| cause.downcast_ref::<python::Refused>()) {
        Some(python::Refused(reason)) => Error::TemplateRefuses { reason: reason.clone() },
        None => Error::TemplateFails { source },
    }
}

/// What matters of `tokenizer_config.json`.
#[derive(Debug, Default, Deserialize)]
struct TokenizerConfig {
    chat_template: Option<Templates>,
    bos_token: Option<SpecialToken>,
    eos_token: Option<SpecialToken>,
    unk_token: Option<SpecialToken>,
    pad_token: Option<SpecialToken>,
    sep_token: Option<SpecialToken>,
    cls_token: Option<SpecialToken>,
    mask_token: Option<SpecialToken>,
}

impl TokenizerConfig {
    fn special_tokens(self) -> BTreeMap<&'static str, String> {
        let tokens = [
            ("bos_token", self.bos_token),
            ("eos_token", self.eos_token),
            ("unk_token", self.unk_token),
            ("pad_token", self.pad_token),
            ("sep_token", self.sep_token),
            ("cls_token", self.cls_token),
            ("mask_token", self.mask_token),
        ];
        let set = tokens.into_iter().filter_map(|(name, token)| Some((name, token?)));
        set.map(|(name, token)| (name, token.content())).collect()
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a template or a list of named templates")]
enum Templates {
    One(String),
    Named(Vec<NamedTemplate>),
}

#[derive(Debug, Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

impl Templates {
    fn default_source(&self) -> Result<String> {
        match self {
            Self::One(template) => Ok(template.clone()),
            Self::Named(list) => {
                let default = list.iter().find(|named| named.name == "default");
                let names = || list.iter().map(|named| named.name.clone()).collect();
                default
                    .map(|named| named.template.clone())
                    .ok_or_else(|| Error::NoDefaultTemplate { names: names() })
            }
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a token or an object with its `content`")]
enum SpecialToken {
    Plain(String),
    Described { content: String },
}

impl SpecialToken {
    fn content(self) -> String {
        match self {
            Self::Plain(content) | Self::Described { content } => content,
        }
    }
}

/// The template's name in the engine's messages.
const NAME: &str = "chat template";

/// The longest published templates, with tools and thinking, have about 20 KiB.
const MAX_TEMPLATE_BYTES: usize = 1 << 20;

/// A step is an instruction or 64 bytes of text. A message costs some 50 and its text, so that this
/// is enough for thousands of messages, and over in a second or two. The engine counts the text of
/// a list only once it is joined: a template that joins one long text thousands of times takes
/// longer.
const MAX_STEPS: u64 = 4_000_000;

/// Templates call macros two or three deep; a macro counts as four. A thread's stack of 2 MiB holds
/// this easily, in a debug build too.
const MAX_RECURSION: usize = 100;

/// As much as the tokenizer takes.
const MAX_PROMPT_BYTES: usize = crate::tokenizer::MAX_TEXT_BYTES;

#[cfg(test)]
mod tests;
