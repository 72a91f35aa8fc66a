//! As much of JSON Schema (draft 2020-12) as the document uses.

use serde_json::{Map, Value};

/// A schema of the document.
#[derive(Clone, Copy)]
pub(super) struct Schema<'a> {
    document: &'a Value,
    schema: &'a Map<String, Value>,
}

impl<'a> Schema<'a> {
    /// The schema at `pointer`.
    pub(super) fn at(document: &'a Value, pointer: &str) -> Self {
        let schema = document.pointer(pointer).and_then(Value::as_object);
        Self { document, schema: schema.unwrap_or_else(|| panic!("no schema at `{pointer}`")) }
    }

    /// The component `name`.
    pub(super) fn component(document: &'a Value, name: &str) -> Self {
        Self::at(document, &format!("/components/schemas/{name}"))
    }

    fn of(self, schema: &'a Value) -> Self {
        Self { schema: schema.as_object().expect("a schema"), ..self }
    }

    fn keyword(self, name: &str) -> Option<&'a Value> {
        let value = self.schema.get(name);
        assert!(KEYWORDS.contains(&name), "`{name}` is not read");
        value
    }

    /// The schemas that are this one too: what it refers to, and those of its `allOf`.
    fn parts(self) -> Vec<Self> {
        let referred = self.keyword("$ref").and_then(Value::as_str);
        let referred = referred.map(|it| Self::at(self.document, it.trim_start_matches('#')));
        let all = self.keyword("allOf").and_then(Value::as_array).into_iter().flatten();
        referred.into_iter().chain(all.map(|it| self.of(it))).collect()
    }

    fn alternatives(self) -> Vec<Self> {
        let any = self.keyword("anyOf").and_then(Value::as_array).into_iter().flatten();
        any.map(|it| self.of(it)).collect()
    }

    /// Its properties, with those of its parts.
    pub(super) fn properties(self) -> Vec<(&'a str, Self)> {
        let own = self.keyword("properties").and_then(Value::as_object).into_iter().flatten();
        let own = own.map(|(name, schema)| (name.as_str(), self.of(schema)));
        let inner = self.parts().into_iter().flat_map(Self::properties);
        own.chain(inner).collect()
    }

    /// The names of all fields below it, as errors call them; `[0]` stands for all places.
    pub(super) fn params(self, path: &str, found: &mut Vec<String>) {
        for schema in self.parts().into_iter().chain(self.alternatives()) {
            schema.params(path, found);
        }
        if let Some(items) = self.keyword("items") {
            self.of(items).params(&format!("{path}[0]"), found);
        }
        let own = self.keyword("properties").and_then(Value::as_object).into_iter().flatten();
        for (name, schema) in own {
            let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            self.of(schema).params(&path, found);
            found.push(path);
        }
    }

    /// The bounds that it sets itself, or one of its parts.
    pub(super) fn bounds(self) -> Vec<&'a Value> {
        let own = ["minimum", "maximum"].into_iter().filter_map(|name| self.keyword(name));
        let inner = self.parts().into_iter().chain(self.alternatives());
        own.chain(inner.flat_map(Self::bounds)).collect()
    }

    /// Whether it allows a value.
    pub(super) fn allows(self, value: &Value) -> bool {
        for keyword in self.schema.keys() {
            assert!(KEYWORDS.contains(&keyword.as_str()), "`{keyword}` is not read");
        }
        self.parts().into_iter().all(|schema| schema.allows(value))
            && self.is_one_of_its_values(value)
            && self.has_its_type(value)
            && self.is_within(value)
            && self.items_are_allowed(value)
            && self.fields_are_allowed(value)
            && (self.keyword("anyOf").is_none()
                || self.alternatives().into_iter().any(|schema| schema.allows(value)))
    }

    fn is_one_of_its_values(self, value: &Value) -> bool {
        let values = self.keyword("enum").and_then(Value::as_array);
        values.is_none_or(|values| values.contains(value))
            && self.keyword("const").is_none_or(|only| only == value)
    }

    fn has_its_type(self, value: &Value) -> bool {
        let is = |name: &Value| match name.as_str().expect("a type's name") {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "string" => value.is_string(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            "number" => value.is_number(),
            "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
            other => panic!("a type `{other}`"),
        };
        match self.keyword("type") {
            None => true,
            Some(Value::Array(types)) => types.iter().any(is),
            Some(one) => is(one),
        }
    }

    fn is_within(self, value: &Value) -> bool {
        let (least, most, size) = match value {
            Value::Number(number) => ("minimum", "maximum", number.as_f64().expect("64 bits")),
            Value::String(text) => ("minLength", "maxLength", text.chars().count() as f64),
            Value::Array(list) => ("minItems", "maxItems", list.len() as f64),
            _ => return true,
        };
        let bound = |name| self.keyword(name).and_then(Value::as_f64);
        bound(least).is_none_or(|least| size >= least)
            && bound(most).is_none_or(|most| size <= most)
    }

    fn items_are_allowed(self, value: &Value) -> bool {
        let (Some(items), Some(list)) = (self.keyword("items"), value.as_array()) else {
            return true;
        };
        list.iter().all(|item| self.of(items).allows(item))
    }

    fn fields_are_allowed(self, value: &Value) -> bool {
        let Some(object) = value.as_object() else { return true };
        let required = self.keyword("required").and_then(Value::as_array).into_iter().flatten();
        let has = |name: &Value| object.contains_key(name.as_str().expect("a name"));
        let own = self.keyword("properties").and_then(Value::as_object);
        let is_allowed = |(name, value): (&String, &Value)| {
            let own = own.and_then(|own| own.get(name));
            own.or(self.keyword("additionalProperties")).is_none_or(|it| self.of(it).allows(value))
        };
        required.into_iter().all(has)
            && object.iter().all(is_allowed)
            && (self.keyword("propertyNames").is_none() || object.keys().all(|name| is_id(name)))
    }
}

/// The only pattern of names that there is.
fn is_id(name: &str) -> bool {
    (1..=9).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_digit())
}

/// What is understood.
const KEYWORDS: &[&str] = &[
    "$ref",
    "allOf",
    "anyOf",
    "type",
    "enum",
    "const",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "items",
    "required",
    "properties",
    "additionalProperties",
    "propertyNames",
    "description",
];
