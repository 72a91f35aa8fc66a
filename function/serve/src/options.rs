//! The options that chat and completions share.

use firstlight_generate::Flags;
use serde_json::Value;

use crate::Refusal;
use crate::fields::{Fields, in_range, wrong_type, wrong_value};

/// How to answer, as a request asks for it.
#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(crate) flags: Flags,
    /// How many tokens were asked for, by field.
    pub(crate) asked_tokens: Vec<(&'static str, u32)>,
    /// Tokens, and what is added to their logits.
    pub(crate) bias: Vec<(u32, f32)>,
    /// Answers to each prompt.
    pub(crate) choices: usize,
    /// As server-sent events; without it the answer comes whole.
    pub(crate) stream: Option<Stream>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stream {
    /// Whether an event before the last one tells what the answer took.
    pub(crate) include_usage: bool,
}

impl Options {
    /// Where an answer has `least_tokens` at least.
    pub(crate) fn read(fields: &Fields<'_>, least_tokens: u32) -> Result<Self, Refusal> {
        refuse(fields, NOT_SERVED)?;
        refuse_off(fields, ALWAYS_DONE)?;
        refuse_forms(fields)?;
        let choices = fields.integer("n", 1..=MAX_CHOICES.cast_signed() as i64)?.unwrap_or(1);
        let flags = flags(fields, least_tokens)?;
        Ok(Self {
            asked_tokens: flags
                .max_tokens
                .map(|tokens| ("max_tokens", tokens))
                .into_iter()
                .collect(),
            flags,
            bias: bias(fields)?,
            choices: usize::try_from(choices).expect("it was checked"),
            stream: stream(fields)?,
        })
    }
}

fn flags(fields: &Fields<'_>, least_tokens: u32) -> Result<Flags, Refusal> {
    Ok(Flags {
        temperature: fields.number("temperature", 0.0..=2.0)?,
        // 0 leaves the likeliest token, as every number does that is small enough.
        top_p: fields.number("top_p", 0.0..=1.0)?.map(|p| p.max(f32::MIN_POSITIVE)),
        top_k: top_k(fields)?,
        min_p: fields.number("min_p", 0.0..=1.0)?,
        repetition_penalty: fields.number("repetition_penalty", 0.01..=100.0)?,
        presence_penalty: fields.number("presence_penalty", -2.0..=2.0)?,
        frequency_penalty: fields.number("frequency_penalty", -2.0..=2.0)?,
        seed: fields.integer("seed", i64::MIN..=i64::MAX)?.map(i64::cast_unsigned),
        max_tokens: fields.count("max_tokens", least_tokens)?,
        min_tokens: fields.count("min_tokens", 0)?,
        stop_strings: stop_strings(fields)?,
        stop_ids: token_ids(fields, "stop_token_ids")?,
    })
}

/// -1 is off for vLLM's clients, as 0 is for us.
fn top_k(fields: &Fields<'_>) -> Result<Option<u32>, Refusal> {
    let top_k = fields.integer("top_k", -1..=i64::from(u32::MAX))?;
    Ok(top_k.map(|k| u32::try_from(k).unwrap_or(0)))
}

fn stop_strings(fields: &Fields<'_>) -> Result<Vec<String>, Refusal> {
    match fields.get("stop") {
        None => Ok(Vec::new()),
        Some(Value::String(stop)) => Ok(vec![stop.clone()]),
        Some(Value::Array(stops)) => {
            let text = |(place, stop): (usize, &Value)| {
                let wrong = || wrong_type(&format!("stop[{place}]"), stop, "a string");
                stop.as_str().map(str::to_owned).ok_or_else(wrong)
            };
            stops.iter().enumerate().map(text).collect()
        }
        Some(other) => Err(wrong_type("stop", other, "a string or an array of strings")),
    }
}

fn token_ids(fields: &Fields<'_>, name: &str) -> Result<Vec<u32>, Refusal> {
    let ids = fields.list(name)?.unwrap_or_default();
    let ids = ids.iter().enumerate();
    ids.map(|(place, id)| token_id(id, || format!("{name}[{place}]"))).collect()
}

/// A token's id, which stands at `param`.
pub(crate) fn token_id(value: &Value, param: impl Fn() -> String) -> Result<u32, Refusal> {
    let id = value.as_u64().ok_or_else(|| wrong_type(&param(), value, "a token's id"))?;
    u32::try_from(id).map_err(|_| wrong_value(param(), id.to_string(), "a token's id"))
}

fn bias(fields: &Fields<'_>) -> Result<Vec<(u32, f32)>, Refusal> {
    let Some(biases) = fields.object("logit_bias")? else { return Ok(Vec::new()) };
    let bias = |(name, value): (&str, &Value)| {
        let param = biases.param(name);
        let id = name.parse();
        let id = id.map_err(|_| wrong_value("logit_bias", name, "a token's id as the name"))?;
        let value = value.as_f64().ok_or_else(|| wrong_type(&param, value, "a number"))?;
        Ok((id, in_range(&param, value, -100.0..=100.0)?))
    };
    biases.iter().map(bias).collect()
}

fn stream(fields: &Fields<'_>) -> Result<Option<Stream>, Refusal> {
    let is_streamed = fields.boolean("stream")?.unwrap_or(false);
    let Some(options) = fields.object("stream_options")? else {
        return Ok(is_streamed.then_some(Stream { include_usage: false }));
    };
    if !is_streamed {
        let reason = "it is allowed only where `stream` is true";
        return Err(Refusal::not_served("stream_options", reason));
    }
    Ok(Some(Stream { include_usage: options.boolean("include_usage")?.unwrap_or(false) }))
}

/// Refuses fields that would be missed if they were ignored: they change what is asked, or what an
/// answer looks like.
pub(crate) fn refuse(
    fields: &Fields<'_>,
    not_served: &[(&'static str, &'static str)],
) -> Result<(), Refusal> {
    let asked = not_served.iter().find(|(name, _)| fields.get(name).is_some_and(asks));
    match asked {
        Some((name, reason)) => Err(Refusal::not_served(fields.param(name), reason)),
        None => Ok(()),
    }
}

/// Refuses that something is left out which is always done.
pub(crate) fn refuse_off(
    fields: &Fields<'_>,
    always_done: &[(&'static str, &'static str)],
) -> Result<(), Refusal> {
    for (name, reason) in always_done {
        if fields.boolean(name)? == Some(false) {
            return Err(Refusal::not_served(fields.param(name), reason));
        }
    }
    Ok(())
}

fn refuse_forms(fields: &Fields<'_>) -> Result<(), Refusal> {
    let Some(format) = fields.object("response_format")? else { return Ok(()) };
    if format.required("type", "a string")? == "text" {
        return Ok(());
    }
    let reason = "answers are text and are not held to a form yet: leave it out, or ask for the \
                  form in the prompt";
    Err(Refusal::not_served("response_format", reason))
}

/// Whether a value asks for anything: clients send `[]`, `{}`, `""` and `false` where nothing is
/// wanted.
fn asks(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(on) => *on,
        Value::Number(_) => true,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(object) => !object.is_empty(),
    }
}

const TOOLS: &str = "tools are not served yet";
const FORM: &str = "answers are not held to a form yet";
const NOT_SERVED: &[(&str, &str)] = &[
    ("tools", TOOLS),
    ("functions", TOOLS),
    ("audio", "answers are text"),
    ("web_search_options", "there is no search here"),
    ("prediction", "predicted outputs are not served yet"),
    ("reasoning_effort", "how long a model thinks is not set here"),
    ("verbosity", "how much a model says is not set here"),
    ("store", "answers are not stored"),
    ("suffix", "text between a prompt and a suffix is not served yet"),
    ("chat_template", "the model's own chat template is used"),
    ("chat_template_kwargs", "the chat template takes no arguments of a request"),
    ("structured_outputs", FORM),
    ("guided_json", FORM),
    ("guided_regex", FORM),
    ("guided_choice", FORM),
    ("guided_grammar", FORM),
    ("grammar", FORM),
    ("json_schema", FORM),
    ("use_beam_search", "beam search is not served"),
    ("ignore_eos", "an answer ends where the model ends it"),
    ("include_stop_str_in_output", "what ends an answer is no part of it"),
    ("bad_words", "words are not ruled out here: `logit_bias` does so with tokens"),
    ("allowed_token_ids", "tokens are not ruled out by those that are left: use `logit_bias`"),
    ("prompt_logprobs", "the prompt's tokens are scored by `echo` and `logprobs` of completions"),
    ("truncate_prompt_tokens", "prompts are not cut"),
];

/// What vLLM's clients can switch off.
const ALWAYS_DONE: &[(&str, &str)] =
    &[("skip_special_tokens", "special tokens are no part of an answer's text")];

/// Answers of one request, all prompts together; OpenAI allows as many for one prompt.
pub(crate) const MAX_CHOICES: usize = 128;
