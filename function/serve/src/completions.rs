//! `/v1/completions`: prompts as text or tokens, and what follows them.

use axum::extract::{Request, State};
use axum::response::Response;

use crate::answer::{self, Ask, Echo, Wanted};
use crate::fields::{Fields, wrong_value};
use crate::form::Form;
use crate::options::{self, MAX_CHOICES, Options};
use crate::prompts::{self, Raw};
use crate::speech::{Prompt, Speech};
use crate::{Refusal, Server};

/// Goes on from prompts.
pub(crate) async fn complete(
    State(server): State<Server>,
    request: Request,
) -> Result<Response, Refusal> {
    answer::answer(server, request, CompletionRequest::read).await
}

/// A request that was checked.
struct CompletionRequest {
    prompts: Vec<Raw>,
    options: Options,
    logprobs: Option<u8>,
    echo: Echo,
}

impl CompletionRequest {
    fn read(fields: &Fields<'_>) -> Result<Self, Refusal> {
        options::refuse(fields, NOT_SERVED)?;
        options::refuse_off(fields, ALWAYS_DONE)?;
        let mut options = Options::read(fields, 0)?;
        let echo = echo(fields, *options.flags.max_tokens.get_or_insert(DEFAULT_MAX_TOKENS))?;
        if echo == Echo::Alone {
            options.flags.max_tokens = Some(1);
        }
        let best_of = fields.integer("best_of", 1..=128)?;
        if best_of.is_some_and(|best_of| usize::try_from(best_of) != Ok(options.choices)) {
            let reason =
                "more answers than are returned are not made: leave it out, or equal to `n`";
            return Err(Refusal::not_served("best_of", reason));
        }
        let logprobs = fields.integer("logprobs", 0..=20)?;
        Ok(Self {
            prompts: prompts::read(fields, "prompt", MAX_CHOICES)?,
            options,
            logprobs: logprobs.map(|top| u8::try_from(top).expect("it was checked")),
            echo,
        })
    }
}

impl Ask for CompletionRequest {
    const FORM: Form = Form::Completion;

    fn prompts(&mut self, speech: &Speech) -> Result<Vec<Prompt>, Refusal> {
        let raw = std::mem::take(&mut self.prompts);
        let has_echo = self.echo != Echo::No;
        raw.into_iter().map(|prompt| encoded(prompt, has_echo, speech)).collect()
    }

    fn wanted(self) -> Wanted {
        let Self { options, logprobs, echo, .. } = self;
        Wanted { options, logprobs, echo }
    }
}

/// An answer without tokens is of use where the prompt comes back, with how likely it is.
fn echo(fields: &Fields<'_>, max_tokens: u32) -> Result<Echo, Refusal> {
    match (fields.boolean("echo")?.unwrap_or(false), max_tokens) {
        (true, 0) => Ok(Echo::Alone),
        (true, _) => Ok(Echo::Before),
        (false, 0) => Err(wrong_value("max_tokens", "0", "1 or more, or 0 where `echo` is true")),
        (false, _) => Ok(Echo::No),
    }
}

fn encoded(prompt: Raw, echo: bool, speech: &Speech) -> Result<Prompt, Refusal> {
    let (ids, text) = match prompt {
        Raw::Text(text) => (speech.tokenizer.encode(&text, true)?, text),
        Raw::Tokens(ids) => {
            let text = if echo { speech.tokenizer.decode(&ids)? } else { String::new() };
            (ids, text)
        }
    };
    Ok(Prompt { ids, echo: echo.then_some(text) })
}

/// Beside those that no interface serves.
const NOT_SERVED: &[(&str, &str)] =
    &[("max_completion_tokens", "this is for chat: here it is called `max_tokens`")];

const ALWAYS_DONE: &[(&str, &str)] = &[(
    "add_special_tokens",
    "a text begins as the model expects it: a prompt of token ids is taken as it is",
)];

/// What OpenAI's interface says for this route.
const DEFAULT_MAX_TOKENS: u32 = 16;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(body: &Value) -> Result<CompletionRequest, Refusal> {
        CompletionRequest::read(&Fields::of_body(body).unwrap())
    }

    #[test]
    fn a_prompt_has_four_forms() {
        let prompts = |prompt: Value| read(&json!({"prompt": prompt})).unwrap().prompts;
        let text = |text: &str| Raw::Text(text.to_owned());
        assert_eq!(prompts(json!("a")), [text("a")]);
        assert_eq!(prompts(json!(["a", "b"])), [text("a"), text("b")]);
        assert_eq!(prompts(json!([1, 2])), [Raw::Tokens(vec![1, 2])]);
        assert_eq!(prompts(json!([[1], [2, 3]])), [Raw::Tokens(vec![1]), Raw::Tokens(vec![2, 3])]);
    }

    #[test]
    fn each_wrong_field_is_named() {
        for (body, param) in [
            (json!({}), "prompt"),
            (json!({"prompt": 3}), "prompt"),
            (json!({"prompt": []}), "prompt"),
            (json!({"prompt": [1, "a"]}), "prompt[1]"),
            (json!({"prompt": ["a", 1]}), "prompt[1]"),
            (json!({"prompt": [[1, -2]]}), "prompt[0][1]"),
            (json!({"prompt": [4_294_967_296_u64]}), "prompt[0]"),
            (json!({"prompt": vec!["a"; 129]}), "prompt"),
            (json!({"prompt": "a", "best_of": 2}), "best_of"),
            (json!({"prompt": "a", "suffix": "b"}), "suffix"),
            (json!({"prompt": "a", "logprobs": true}), "logprobs"),
            (json!({"prompt": "a", "logprobs": 21}), "logprobs"),
            (json!({"prompt": "a", "echo": 1}), "echo"),
            (json!({"prompt": "a", "response_format": {"type": "json_object"}}), "response_format"),
            (json!({"prompt": "a", "max_completion_tokens": 9}), "max_completion_tokens"),
            (json!({"prompt": "a", "add_special_tokens": false}), "add_special_tokens"),
            (json!({"prompt": "a", "skip_special_tokens": "no"}), "skip_special_tokens"),
            (json!({"prompt": "a", "max_tokens": 0}), "max_tokens"),
            (json!({"prompt": "a", "max_tokens": -1, "echo": true}), "max_tokens"),
        ] {
            let refusal = read(&body).err().expect("it should be refused");
            let object = serde_json::to_value(refusal.object()).unwrap();
            assert_eq!(object["error"]["param"], param, "{body}: {refusal}");
        }
    }

    #[test]
    fn sixteen_tokens_follow_where_no_number_is_given() {
        let request = read(&json!({
            "prompt": "a", "best_of": 1, "suffix": "", "add_special_tokens": true,
            "response_format": {"type": "text"}, "max_completion_tokens": null,
        }));
        let request = request.unwrap();
        assert_eq!(request.options.flags.max_tokens, Some(16));
    }
}
