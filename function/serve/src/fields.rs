//! The fields of a request's object, read one by one: what is wrong is told with its name, and
//! what nobody asks for is ignored, as OpenAI does.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::Refusal;

/// An object of a request, and where in the request it stands.
#[derive(Clone, Debug)]
pub(crate) struct Fields<'a> {
    object: &'a Map<String, Value>,
    /// What stands before the names of its fields, such as `messages[3].`.
    path: String,
}

type Result<T> = std::result::Result<T, Refusal>;

impl<'a> Fields<'a> {
    /// Those of the request's body.
    pub(crate) fn of_body(body: &'a Value) -> Result<Self> {
        let object = body.as_object().ok_or(Refusal::NotAnObject { found: kind(body) })?;
        Ok(Self { object, path: String::new() })
    }

    /// Those of `value`, which stands at `param`.
    pub(crate) fn of(value: &'a Value, param: &str) -> Result<Self> {
        let object = value.as_object().ok_or_else(|| wrong_type(param, value, "an object"))?;
        Ok(Self { object, path: format!("{param}.") })
    }

    /// How a field is called, seen from the body.
    pub(crate) fn param(&self, name: &str) -> String {
        format!("{}{name}", self.path)
    }

    /// A field that is there and is not null.
    pub(crate) fn get(&self, name: &str) -> Option<&'a Value> {
        #[cfg(test)]
        asked::note(self.param(name));
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// A field that must be there.
    pub(crate) fn required(&self, name: &str, expected: &'static str) -> Result<&'a Value> {
        self.get(name).ok_or_else(|| Refusal::Missing { param: self.param(name), expected })
    }

    pub(crate) fn boolean(&self, name: &str) -> Result<Option<bool>> {
        self.typed(name, "a boolean", Value::as_bool)
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<&'a str>> {
        self.typed(name, "a string", Value::as_str)
    }

    pub(crate) fn list(&self, name: &str) -> Result<Option<&'a [Value]>> {
        self.typed(name, "an array", |value| value.as_array().map(Vec::as_slice))
    }

    pub(crate) fn object(&self, name: &str) -> Result<Option<Self>> {
        self.get(name).map(|value| Self::of(value, &self.param(name))).transpose()
    }

    /// The fields' names and values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.object.iter().map(|(name, value)| (name.as_str(), value))
    }

    pub(crate) fn integer(&self, name: &str, allowed: RangeInclusive<i64>) -> Result<Option<i64>> {
        let Some(integer) = self.typed(name, "an integer", integer)? else { return Ok(None) };
        if allowed.contains(&integer) {
            return Ok(Some(integer));
        }
        let allowed = if *allowed.end() == i64::MAX {
            format!("{} or more", allowed.start())
        } else {
            format!("{} to {}", allowed.start(), allowed.end())
        };
        Err(wrong_value(self.param(name), integer.to_string(), allowed))
    }

    /// A number of tokens, or of anything else that 32 bits count.
    pub(crate) fn count(&self, name: &str, least: u32) -> Result<Option<u32>> {
        let count = self.integer(name, least.into()..=i64::MAX)?;
        Ok(count.map(|count| u32::try_from(count).unwrap_or(u32::MAX)))
    }

    pub(crate) fn number(&self, name: &str, allowed: RangeInclusive<f64>) -> Result<Option<f32>> {
        let value = self.typed(name, "a number", Value::as_f64)?;
        value.map(|value| in_range(&self.param(name), value, allowed)).transpose()
    }

    fn typed<T>(
        &self,
        name: &str,
        expected: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| wrong_type(&self.param(name), value, expected))
    }
}

/// A number within a range.
pub(crate) fn in_range(param: &str, value: f64, allowed: RangeInclusive<f64>) -> Result<f32> {
    if allowed.contains(&value) {
        #[expect(clippy::cast_possible_truncation, reason = "the sampler works in 32 bits")]
        return Ok(value as f32);
    }
    let allowed = format!("{} to {}", allowed.start(), allowed.end());
    Err(wrong_value(param, value.to_string(), allowed))
}

/// A number without a fraction: some clients write 1 as 1.0.
pub(crate) fn integer(value: &Value) -> Option<i64> {
    let is_whole = |number: &f64| number.fract() == 0.0 && number.abs() < EXACT;
    #[expect(clippy::cast_possible_truncation, reason = "it is whole, and 64 bits hold it")]
    let whole = |number: f64| number as i64;
    value.as_i64().or_else(|| value.as_f64().filter(is_whole).map(whole))
}

pub(crate) fn wrong_type(param: &str, found: &Value, expected: &'static str) -> Refusal {
    Refusal::Type { param: param.to_owned(), found: kind(found), expected }
}

pub(crate) fn wrong_value(
    param: impl Into<String>,
    value: impl Into<String>,
    allowed: impl Into<String>,
) -> Refusal {
    let mut value = value.into();
    if let Some((end, _)) = value.char_indices().nth(SHOWN_CHARACTERS) {
        value.truncate(end);
        value.push('…');
    }
    Refusal::Value { param: param.into(), value, allowed: allowed.into() }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// From 2^53 on a float is no longer next to its neighbours.
const EXACT: f64 = 9e15;

/// Enough to recognise a value by.
const SHOWN_CHARACTERS: usize = 60;

/// The fields that this thread has asked for: a test holds the interface's document against them.
#[cfg(test)]
pub(crate) mod asked {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    thread_local! {
        static PARAMS: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
    }

    pub(super) fn note(param: String) {
        PARAMS.with_borrow_mut(|params| params.insert(param));
    }

    /// Those since the last time, as they are called seen from the body.
    pub(crate) fn take() -> BTreeSet<String> {
        PARAMS.take()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused<T: std::fmt::Debug>(
        body: &Value,
        read: impl FnOnce(&Fields<'_>) -> Result<T>,
    ) -> String {
        read(&Fields::of_body(body).unwrap()).unwrap_err().to_string()
    }

    #[test]
    fn null_is_the_same_as_nothing() {
        let body = json!({"a": null});
        let fields = Fields::of_body(&body).unwrap();
        assert_eq!(fields.boolean("a").unwrap(), None);
        assert_eq!(fields.integer("b", 0..=9).unwrap(), None);
        assert!(fields.required("a", "a string").is_err());
    }

    #[test]
    fn what_is_wrong_is_named_with_what_was_expected() {
        let body = json!({"a": "x", "n": 1.5, "inner": {"list": 3}});
        assert_eq!(refused(&body, |f| f.boolean("a")), "`a` is a string, expected is a boolean");
        assert_eq!(
            refused(&body, |f| f.integer("n", 0..=9)),
            "`n` is a number, expected is an integer"
        );
        assert_eq!(
            refused(&body, |f| f.object("inner")?.unwrap().list("list").map(drop)),
            "`inner.list` is a number, expected is an array"
        );
        assert_eq!(refused(&body, |f| f.number("n", 0.0..=1.0)), "`n` is `1.5`, allowed is 0 to 1");
    }

    #[test]
    fn integers_may_be_written_as_floats_but_not_as_fractions() {
        let body = json!({"a": 2.0, "b": 1e300, "c": -1, "d": u64::MAX});
        let fields = Fields::of_body(&body).unwrap();
        assert_eq!(fields.integer("a", 0..=9).unwrap(), Some(2));
        assert!(fields.integer("b", 0..=i64::MAX).is_err());
        assert_eq!(refused(&body, |f| f.count("c", 1)), "`c` is `-1`, allowed is 1 or more");
        assert!(fields.count("d", 1).is_err());
    }

    #[test]
    fn a_long_value_is_cut() {
        let Refusal::Value { value, .. } = wrong_value("p", "é".repeat(1000), "x") else {
            panic!("another refusal")
        };
        assert_eq!(value.chars().count(), SHOWN_CHARACTERS + 1);
    }
}
