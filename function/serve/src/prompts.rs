//! Prompts and inputs as requests have them: text or tokens, one or several.

use serde_json::Value;

use crate::Refusal;
use crate::fields::{Fields, wrong_type, wrong_value};
use crate::options::token_id;

/// One of them, as it was given.
#[derive(Debug, PartialEq)]
pub(crate) enum Raw {
    Text(String),
    Tokens(Vec<u32>),
}

/// Those of the field `name`, `most` of them at most.
pub(crate) fn read(fields: &Fields<'_>, name: &str, most: usize) -> Result<Vec<Raw>, Refusal> {
    let list = match fields.required(name, EXPECTED)? {
        Value::String(text) => return Ok(vec![Raw::Text(text.clone())]),
        Value::Array(list) => list,
        other => return Err(wrong_type(name, other, EXPECTED)),
    };
    match list.first() {
        None => Err(wrong_value(name, "[]", EXPECTED)),
        Some(Value::Number(_)) => Ok(vec![Raw::Tokens(tokens(list, name)?)]),
        Some(_) if list.len() > most => {
            let found = format!("an array of {}", list.len());
            Err(wrong_value(name, found, format!("an array of {most} at most")))
        }
        Some(_) => {
            let each = |(n, value)| one(value, &format!("{name}[{n}]"));
            list.iter().enumerate().map(each).collect()
        }
    }
}

fn one(value: &Value, param: &str) -> Result<Raw, Refusal> {
    match value {
        Value::String(text) => Ok(Raw::Text(text.clone())),
        Value::Array(ids) => Ok(Raw::Tokens(tokens(ids, param)?)),
        other => Err(wrong_type(param, other, "a string or an array of token ids")),
    }
}

fn tokens(list: &[Value], param: &str) -> Result<Vec<u32>, Refusal> {
    list.iter().enumerate().map(|(n, id)| token_id(id, || format!("{param}[{n}]"))).collect()
}

const EXPECTED: &str = "a string, an array of strings, or an array of token ids or of such arrays";
