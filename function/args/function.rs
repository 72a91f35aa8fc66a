//! What a function of AWS Lambda makes of its events.

use std::num::NonZero;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use firstlight_serve::lambda::Template;

use crate::size::Size;

#[derive(Debug, Args)]
#[command(next_help_heading = "AWS Lambda (where AWS_LAMBDA_RUNTIME_API is set)")]
pub(crate) struct FunctionArgs {
    /// Set by Lambda: then events are answered instead of connections
    #[arg(long, hide = true, env = "AWS_LAMBDA_RUNTIME_API")]
    pub(crate) runtime_api: Option<String>,
    /// Set by Lambda
    #[arg(long, hide = true, env = "AWS_LAMBDA_FUNCTION_NAME")]
    pub(crate) function_name: Option<String>,
    /// Set by Lambda
    #[arg(long, hide = true, env = "AWS_LAMBDA_FUNCTION_VERSION")]
    pub(crate) function_version: Option<String>,
    /// Set by Lambda, in MiB
    #[arg(long, hide = true, env = "AWS_LAMBDA_FUNCTION_MEMORY_SIZE")]
    pub(crate) function_memory: Option<NonZero<u32>>,
    /// How a function URL or a REST API invokes the function
    #[arg(long, value_enum, ignore_case = true, default_value_t = InvokeMode::Buffered,
          env = "FIRSTLIGHT_INVOKE_MODE")]
    pub(crate) invoke_mode: InvokeMode,
    /// Where answers to the entries of new objects are written
    #[arg(long, value_name = "BUCKET", env = "RESULT_BUCKET")]
    pub(crate) result_bucket: Option<String>,
    /// How the keys of results begin
    #[arg(
        long,
        value_name = "PREFIX",
        default_value = "firstlight-results/",
        env = "RESULT_PREFIX"
    )]
    pub(crate) result_prefix: String,
    /// Where new objects come from, as s3://bucket/prefix: others are refused, and results may not lie there
    #[arg(long, value_name = "PLACE", env = "FIRSTLIGHT_S3_SOURCE")]
    pub(crate) s3_source: Option<S3Place>,
    /// What is asked of the model where an entry is a text
    #[arg(long, value_enum, default_value_t = S3Task::Chat, env = "FIRSTLIGHT_S3_TASK")]
    pub(crate) s3_task: S3Task,
    /// What each text is put into, for {text}
    #[arg(long, value_name = "TEMPLATE", env = "FIRSTLIGHT_S3_TEMPLATE",
          value_parser = |text: &str| Template::new(text))]
    pub(crate) s3_template: Option<Template>,
    /// Fields of each request, such as {"max_tokens": 64}, where an entry does not say otherwise
    #[arg(long, value_name = "JSON", default_value = "{}", env = "FIRSTLIGHT_S3_PARAMS")]
    pub(crate) s3_params: Params,
    /// The longest object that is read
    #[arg(long, value_name = "SIZE", default_value = "8MiB", env = "FIRSTLIGHT_S3_LIMIT")]
    pub(crate) s3_limit: Size,
}

/// As Lambda calls them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum InvokeMode {
    /// Answers are taken whole
    Buffered,
    /// Answers are streamed
    ResponseStream,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum S3Task {
    /// To answer a user's message
    Chat,
    /// To go on
    Completion,
    /// To embed
    Embedding,
}

/// `s3://bucket/prefix`; of the prefix each character counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct S3Place {
    pub(crate) bucket: String,
    pub(crate) prefix: String,
}

impl FromStr for S3Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let place = text.strip_prefix("s3://").unwrap_or_default();
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        if bucket.is_empty() {
            return Err("it is not of the form `s3://bucket/prefix`".to_owned());
        }
        Ok(Self { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

/// The fields of an object of JSON.
#[derive(Clone, Debug)]
pub(crate) struct Params(pub(crate) serde_json::Map<String, serde_json::Value>);

impl FromStr for Params {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fields: serde_json::Map<_, _> =
            serde_json::from_str(text).map_err(|error| format!("it is no JSON object: {error}"))?;
        let known = firstlight_serve::request_fields();
        let unknown = fields.keys().find(|&name| !known.contains(name));
        match unknown {
            None => Ok(Self(fields)),
            Some(name) => {
                let near = firstlight_plan::nearest(name, known.iter().map(String::as_str));
                Err(format!("no request has a field `{name}`; did you mean `{}`?", near[0]))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_each_request_are_those_that_some_request_has() {
        let fields: Params = r#"{"max_tokens": 64, "temperature": 0}"#.parse().unwrap();
        assert_eq!(fields.0.len(), 2);
        let refused = |text: &str| text.parse::<Params>().unwrap_err();
        let near = "no request has a field `max_token`; did you mean `max_tokens`?";
        assert_eq!(refused(r#"{"max_token": 3}"#), near);
        assert!(refused("[]").starts_with("it is no JSON object"));
    }
}
