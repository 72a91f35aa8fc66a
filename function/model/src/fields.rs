//! config.json and its like, field by field.
//!
//! The file is a flat JSON object to which every family adds its own fields, so it is not one
//! struct: each reader asks for what it needs, and what is wrong is named with its path. `null`
//! counts as absent, except where a family gives absence a meaning of its own
//! ([`Fields::mentions`]).

use serde_json::{Map, Value};

use crate::{Error, spec::MAX_CONFIG_BYTES};

/// A JSON object and where it was found.
pub(crate) struct Fields {
    file: &'static str,
    /// Before the name of a field in an error: empty, or `rope_scaling.`.
    prefix: String,
    map: Map<String, Value>,
}

impl Fields {
    /// Of config.json.
    pub(crate) fn parse(config: &[u8]) -> Result<Self, Error> {
        Self::of("config.json", config)
    }

    pub(crate) fn of(file: &'static str, bytes: &[u8]) -> Result<Self, Error> {
        match parse(file, bytes)? {
            Value::Object(map) => Ok(Self { file, prefix: String::new(), map }),
            _ => Err(Error::NotAnObject { file }),
        }
    }

    /// Is the field there, even if it is `null`?
    pub(crate) fn mentions(&self, field: &str) -> bool {
        self.map.contains_key(field)
    }

    /// A size that must be there: at least 1, at most `limit`.
    pub(crate) fn size(&self, field: &str, limit: usize) -> Result<usize, Error> {
        self.optional_size(field, limit)?.ok_or_else(|| self.missing(field))
    }

    pub(crate) fn optional_size(&self, field: &str, limit: usize) -> Result<Option<usize>, Error> {
        let Some(value) = self.value(field) else { return Ok(None) };
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        match size {
            Some(size) if (1..=limit).contains(&size) => Ok(Some(size)),
            _ => Err(self.wrong(field, format!("a whole number from 1 to {limit}"))),
        }
    }

    /// A whole number from 0, or nothing.
    pub(crate) fn count(&self, field: &str) -> Result<Option<usize>, Error> {
        let Some(value) = self.value(field) else { return Ok(None) };
        let count = value.as_u64().and_then(|count| usize::try_from(count).ok());
        count.map(Some).ok_or_else(|| self.wrong(field, "a whole number"))
    }

    /// A flag; absent is `false`, which is the default of every flag that is read.
    pub(crate) fn flag(&self, field: &str) -> Result<bool, Error> {
        let Some(value) = self.value(field) else { return Ok(false) };
        value.as_bool().ok_or_else(|| self.wrong(field, "`true` or `false`"))
    }

    /// A number from `least` on, rounded to f32, in which all arithmetic is done.
    pub(crate) fn optional_number(&self, field: &str, least: f32) -> Result<Option<f32>, Error> {
        let Some(value) = self.value(field) else { return Ok(None) };
        #[expect(clippy::cast_possible_truncation, reason = "rounded; too large becomes infinite")]
        let number = value.as_f64().map(|number| number as f32);
        match number {
            Some(number) if number >= least && number.is_finite() => Ok(Some(number)),
            _ => Err(self.wrong(field, format!("a number from {least} on"))),
        }
    }

    pub(crate) fn number(&self, field: &str, least: f32) -> Result<f32, Error> {
        self.optional_number(field, least)?.ok_or_else(|| self.missing(field))
    }

    pub(crate) fn text(&self, field: &str) -> Result<Option<&str>, Error> {
        let Some(value) = self.value(field) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.wrong(field, "a string"))
    }

    pub(crate) fn texts(&self, field: &str) -> Result<Option<Vec<&str>>, Error> {
        let Some(value) = self.value(field) else { return Ok(None) };
        let texts = value.as_array().and_then(|all| all.iter().map(Value::as_str).collect());
        texts.map(Some).ok_or_else(|| self.wrong(field, "a list of strings"))
    }

    /// One token id, a list of them, or none.
    pub(crate) fn ids(&self, field: &str) -> Result<Vec<u32>, Error> {
        let Some(value) = self.value(field) else { return Ok(Vec::new()) };
        let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        let id = |value: &Value| u32::try_from(value.as_u64()?).ok();
        let ids: Option<Vec<u32>> = values.iter().map(id).collect();
        ids.ok_or_else(|| self.wrong(field, "a token id or a list of token ids"))
    }

    pub(crate) fn object(&self, field: &str) -> Result<Option<Self>, Error> {
        match self.value(field) {
            None => Ok(None),
            Some(Value::Object(map)) => {
                let prefix = format!("{}.", self.path(field));
                Ok(Some(Self { file: self.file, prefix, map: map.clone() }))
            }
            Some(_) => Err(self.wrong(field, "a JSON object")),
        }
    }

    /// The value of a field as an error shows it.
    pub(crate) fn shown(&self, field: &str) -> String {
        self.map.get(field).map_or_else(|| "absent".to_owned(), shortened)
    }

    /// The error of a field whose value is not what it should be.
    pub(crate) fn wrong(&self, field: &str, expected: impl Into<String>) -> Error {
        let (field, found) = (self.path(field), self.shown(field));
        Error::Field { file: self.file, field, found, expected: expected.into() }
    }

    pub(crate) fn path(&self, field: &str) -> String {
        format!("{}{field}", self.prefix)
    }

    pub(crate) fn missing(&self, field: &str) -> Error {
        Error::Missing { file: self.file, field: self.path(field) }
    }

    fn value(&self, field: &str) -> Option<&Value> {
        self.map.get(field).filter(|value| !value.is_null())
    }
}

/// A file of settings, of a size that is one.
pub(crate) fn parse(file: &'static str, bytes: &[u8]) -> Result<Value, Error> {
    if bytes.len() > MAX_CONFIG_BYTES {
        return Err(Error::Size { file, bytes: bytes.len() });
    }
    serde_json::from_slice(bytes).map_err(|source| Error::Json { file, source })
}

fn shortened(value: &Value) -> String {
    value.as_str().map_or_else(|| shorten(&value.to_string()), shorten)
}

/// Text from outside as it may stand in a message: without control characters, and cut where it
/// is long.
pub(crate) fn shorten(text: &str) -> String {
    let tame = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    let mut shown: String = text.chars().take(MAX_SHOWN_CHARS).map(tame).collect();
    if text.chars().nth(MAX_SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

/// Most of a line: enough to recognise a value by.
const MAX_SHOWN_CHARS: usize = 60;
