//! `/v1/chat/completions`: messages, as the request has them, to what the chat template takes.

use axum::extract::{Request, State};
use axum::response::Response;
use firstlight_generate::Message;
use serde_json::Value;

use crate::answer::{self, Ask, Echo, Wanted};
use crate::fields::{Fields, wrong_type, wrong_value};
use crate::form::Form;
use crate::options::{self, Options};
use crate::speech::{Prompt, Speech};
use crate::{Refusal, Server};

/// Answers a conversation.
pub(crate) async fn complete(
    State(server): State<Server>,
    request: Request,
) -> Result<Response, Refusal> {
    answer::answer(server, request, ChatRequest::read).await
}

/// A request that was checked.
struct ChatRequest {
    messages: Vec<Message>,
    options: Options,
    /// With how many of the likeliest tokens beside it each token comes.
    logprobs: Option<u8>,
}

impl ChatRequest {
    fn read(fields: &Fields<'_>) -> Result<Self, Refusal> {
        refuse_what_is_not_served(fields)?;
        let mut options = Options::read(fields, 1)?;
        let newer = fields.count("max_completion_tokens", 1)?;
        options.asked_tokens.extend(newer.map(|tokens| ("max_completion_tokens", tokens)));
        options.flags.max_tokens = newer.or(options.flags.max_tokens);
        Ok(Self { messages: messages(fields)?, options, logprobs: logprobs(fields)? })
    }
}

impl Ask for ChatRequest {
    const FORM: Form = Form::Chat;

    fn prompts(&mut self, speech: &Speech) -> Result<Vec<Prompt>, Refusal> {
        let text = speech.template()?.render(&self.messages, true)?;
        // The template wrote the special tokens.
        let ids = speech.tokenizer.encode(&text, false)?;
        Ok(vec![Prompt { ids, echo: None }])
    }

    fn wanted(self) -> Wanted {
        let Self { options, logprobs, .. } = self;
        Wanted { options, logprobs, echo: Echo::No }
    }
}

fn refuse_what_is_not_served(fields: &Fields<'_>) -> Result<(), Refusal> {
    options::refuse(fields, NOT_SERVED)?;
    options::refuse_off(fields, ALWAYS_DONE)?;
    for name in ["tool_choice", "function_call"] {
        if fields.get(name).is_some_and(|choice| choice != "none" && choice != "auto") {
            return Err(Refusal::not_served(name, "tools are not served yet"));
        }
    }
    let modalities = fields.list("modalities")?.unwrap_or_default();
    if modalities.iter().any(|modality| modality != "text") {
        return Err(Refusal::not_served("modalities", "answers are text"));
    }
    Ok(())
}

fn logprobs(fields: &Fields<'_>) -> Result<Option<u8>, Refusal> {
    let is_on = fields.boolean("logprobs")?.unwrap_or(false);
    let top = fields.integer("top_logprobs", 0..=20)?;
    if top.is_some_and(|top| top > 0) && !is_on {
        let reason = "it is allowed only where `logprobs` is true";
        return Err(Refusal::not_served("top_logprobs", reason));
    }
    Ok(is_on.then(|| u8::try_from(top.unwrap_or(0)).expect("it was checked")))
}

fn messages(fields: &Fields<'_>) -> Result<Vec<Message>, Refusal> {
    let list = fields.required("messages", "an array of messages")?;
    let list = list.as_array().ok_or_else(|| wrong_type("messages", list, "an array"))?;
    if list.is_empty() {
        return Err(wrong_value("messages", "[]", "one message or more"));
    }
    list.iter().enumerate().map(|(n, item)| message(item, &format!("messages[{n}]"))).collect()
}

fn message(value: &Value, param: &str) -> Result<Message, Refusal> {
    let fields = Fields::of(value, param)?;
    for name in ["tool_calls", "function_call", "tool_call_id"] {
        let is_empty = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
        if fields.get(name).is_some_and(|value| !is_empty(value)) {
            return Err(Refusal::not_served(fields.param(name), "tools are not served yet"));
        }
    }
    let role = role(&fields)?;
    let content = fields.get("content");
    let content = match content {
        // An assistant that called a tool, or refused, said nothing.
        None if role == "assistant" => String::new(),
        None => fields.required("content", CONTENT)?.to_string(),
        Some(content) => text(content, &fields.param("content"))?,
    };
    Ok(Message { role: role.to_owned(), content })
}

/// The role as templates know it.
fn role<'a>(fields: &Fields<'a>) -> Result<&'a str, Refusal> {
    let role = fields.required("role", "a string")?;
    match role.as_str() {
        Some(role @ ("system" | "user" | "assistant")) => Ok(role),
        // OpenAI's newer word for it.
        Some("developer") => Ok("system"),
        Some("tool" | "function") => {
            Err(Refusal::not_served(fields.param("role"), "tools are not served yet"))
        }
        Some(other) => {
            let allowed = "system, developer, user or assistant";
            Err(wrong_value(fields.param("role"), other, allowed))
        }
        None => Err(wrong_type(&fields.param("role"), role, "a string")),
    }
}

/// The text of a message: a string, or parts of it.
fn text(content: &Value, param: &str) -> Result<String, Refusal> {
    match content {
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) => {
            let part = |(n, value)| part(value, &format!("{param}[{n}]"));
            parts.iter().enumerate().map(part).collect()
        }
        other => Err(wrong_type(param, other, CONTENT)),
    }
}

fn part<'a>(value: &'a Value, param: &str) -> Result<&'a str, Refusal> {
    let fields = Fields::of(value, param)?;
    match fields.required("type", "a string")?.as_str() {
        Some("text") => {
            let text = fields.required("text", "a string")?;
            text.as_str().ok_or_else(|| wrong_type(&fields.param("text"), text, "a string"))
        }
        Some("image_url" | "input_audio" | "file" | "refusal") => {
            Err(Refusal::not_served(param, "the model reads text: parts of type `text`"))
        }
        other => Err(wrong_value(fields.param("type"), other.unwrap_or("not a string"), "text")),
    }
}

/// Beside those that no interface serves.
const NOT_SERVED: &[(&str, &str)] = &[
    ("continue_final_message", "a message is answered, and not gone on with: `/v1/completions` is"),
    ("add_special_tokens", "the chat template writes the special tokens"),
    ("echo", "an answer has no part of its conversation"),
    ("documents", "the chat template is given no documents"),
];

const ALWAYS_DONE: &[(&str, &str)] =
    &[("add_generation_prompt", "the answer is always a new message")];

const CONTENT: &str = "a string or an array of parts";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: &Value) -> Result<ChatRequest, Refusal> {
        ChatRequest::read(&Fields::of_body(body).unwrap())
    }

    fn refused(mut body: Value) -> (String, String) {
        let messages = json!([{"role": "user", "content": "hi"}]);
        body.as_object_mut().unwrap().entry("messages").or_insert(messages);
        let refusal = read(&body).err().expect("it should be refused");
        let object = serde_json::to_value(refusal.object()).unwrap();
        let text = |key: &str| object["error"][key].as_str().unwrap_or("").to_owned();
        (text("param"), text("message"))
    }

    #[test]
    fn text_parts_are_joined_and_developer_is_system() {
        let parts = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
        let request = read(&json!({"messages": [
            {"role": "developer", "content": "s", "name": "x", "unknown": 1},
            {"role": "user", "content": parts}, {"role": "assistant", "content": null},
        ]}));
        let messages = request.unwrap().messages;
        let said: Vec<_> = messages.iter().map(|m| (m.role.as_str(), m.content.as_str())).collect();
        assert_eq!(said, [("system", "s"), ("user", "ab"), ("assistant", "")]);
    }

    #[test]
    fn each_wrong_field_is_named() {
        let image = json!([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]);
        for (body, param) in [
            (json!({"messages": null}), "messages"),
            (json!({"messages": []}), "messages"),
            (json!({"messages": "hi"}), "messages"),
            (json!({"messages": [3]}), "messages[0]"),
            (json!({"messages": [{"content": "x"}]}), "messages[0].role"),
            (json!({"messages": [{"role": "king", "content": "x"}]}), "messages[0].role"),
            (json!({"messages": [{"role": "user"}]}), "messages[0].content"),
            (json!({"messages": [{"role": "user", "content": 3}]}), "messages[0].content"),
            (json!({"messages": [{"role": "tool", "content": "x"}]}), "messages[0].role"),
            (json!({"messages": image}), "messages[0].content[0]"),
            (json!({"temperature": "hot"}), "temperature"),
            (json!({"temperature": 2.5}), "temperature"),
            (json!({"top_p": -0.1}), "top_p"),
            (json!({"n": 0}), "n"),
            (json!({"n": 129}), "n"),
            (json!({"max_tokens": 0}), "max_tokens"),
            (json!({"max_completion_tokens": -1}), "max_completion_tokens"),
            (json!({"stop": [1]}), "stop[0]"),
            (json!({"stop": {}}), "stop"),
            (json!({"logit_bias": {"5": 101}}), "logit_bias.5"),
            (json!({"logit_bias": {"five": 1}}), "logit_bias"),
            (json!({"logit_bias": [5]}), "logit_bias"),
            (json!({"logprobs": 3}), "logprobs"),
            (json!({"logprobs": true, "top_logprobs": 21}), "top_logprobs"),
            (json!({"top_logprobs": 2}), "top_logprobs"),
            (json!({"stream": "yes"}), "stream"),
            (json!({"stream_options": {"include_usage": true}}), "stream_options"),
            (
                json!({"stream": true, "stream_options": {"include_usage": 1}}),
                "stream_options.include_usage",
            ),
            (json!({"tools": [{"type": "function"}]}), "tools"),
            (json!({"tool_choice": "required"}), "tool_choice"),
            (json!({"response_format": {"type": "json_object"}}), "response_format"),
            (json!({"response_format": {}}), "response_format.type"),
            (json!({"modalities": ["text", "audio"]}), "modalities"),
            (json!({"seed": 1.5}), "seed"),
            (json!({"min_tokens": -1}), "min_tokens"),
            (json!({"skip_special_tokens": false}), "skip_special_tokens"),
            (json!({"add_generation_prompt": false}), "add_generation_prompt"),
            (json!({"continue_final_message": true}), "continue_final_message"),
            (json!({"add_special_tokens": true}), "add_special_tokens"),
            (json!({"bad_words": ["x"]}), "bad_words"),
            (json!({"allowed_token_ids": [1]}), "allowed_token_ids"),
            (json!({"include_stop_str_in_output": true}), "include_stop_str_in_output"),
            (json!({"grammar": "root ::= x"}), "grammar"),
            (json!({"json_schema": {"type": "object"}}), "json_schema"),
            (json!({"verbosity": "low"}), "verbosity"),
            (json!({"prompt_logprobs": 0}), "prompt_logprobs"),
            (json!({"truncate_prompt_tokens": 5}), "truncate_prompt_tokens"),
        ] {
            let (named, message) = refused(body.clone());
            assert_eq!(named, param, "{body}: {message}");
            assert!(!message.is_empty());
        }
    }

    #[test]
    fn what_says_nothing_and_what_nobody_knows_is_ignored() {
        let request = read(&json!({
            "messages": [{"role": "user", "content": "hi"}], "tools": [], "tool_choice": "auto",
            "response_format": {"type": "text"}, "modalities": ["text"], "store": false,
            "user": "me", "metadata": {"a": "b"}, "service_tier": "auto", "whatever": [1, {}],
            "max_tokens": 5, "max_completion_tokens": 7, "stream_options": null, "top_logprobs": 0,
            "skip_special_tokens": true, "add_generation_prompt": true, "bad_words": [],
            "continue_final_message": false, "add_special_tokens": false, "json_schema": {},
            "include_stop_str_in_output": false, "grammar": "", "min_tokens": 0,
        }));
        let options = request.unwrap().options;
        assert_eq!((options.flags.max_tokens, options.choices, options.stream), (Some(7), 1, None));
    }
}
