//! What there is to do in an object: one text, or entries in JSON, each of which is a text or the
//! body of a request.

use serde_json::{Map, Value, json};

use super::Error;
use super::batch::Task;
use super::direct::Direct;
use super::notice::Source;
use super::objects::Content;

/// Something to answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// What its writer calls it.
    pub(crate) id: Option<String>,
    /// What is asked, or why that cannot be known.
    pub(crate) asked: Result<Asked, String>,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Asked {
    /// A text, to be worked with as was configured.
    Text(String),
    /// A request of its own.
    Request(Direct),
}

/// What a text is put into.
#[derive(Clone, Debug)]
pub struct Template(String);

impl Template {
    /// A text in which `{text}` stands for that of an entry.
    pub fn new(template: impl Into<String>) -> Result<Self, Error> {
        let template = template.into();
        if template.contains(PLACE) {
            Ok(Self(template))
        } else {
            Err(Error::Template { template })
        }
    }

    fn fill(&self, text: &str) -> String {
        self.0.replace(PLACE, text)
    }
}

impl Asked {
    /// As a request.
    pub(crate) fn direct(self, task: Task, template: Option<&Template>) -> Direct {
        let text = match self {
            Self::Request(direct) => return direct,
            Self::Text(text) => text,
        };
        let text = template.map_or(text.clone(), |template| template.fill(&text));
        let body = match task {
            Task::Chat => json!({"messages": [{"role": "user", "content": text}]}),
            Task::Completion => json!({"prompt": text}),
            Task::Embedding => json!({"input": text}),
        };
        let Value::Object(body) = body else { unreachable!("it is written as one above") };
        Direct::new(body).expect("each has the field of its interface")
    }
}

/// The entries of an object, in their order.
pub(crate) fn entries(source: &Source, content: &Content) -> Result<Vec<Entry>, Error> {
    let wrong = |reason: String| Error::Content { object: source.to_string(), reason };
    let kind = Kind::of(&source.key, content.kind.as_deref()).map_err(wrong)?;
    let text = std::str::from_utf8(&content.bytes).map_err(|error| wrong(error.to_string()))?;
    // Some editors begin a file with it.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let entries: Vec<Entry> = match kind {
        Kind::Text => vec![Entry { id: None, asked: Ok(Asked::Text(text.to_owned())) }],
        Kind::Lines => lines(text).take(MAX_ENTRIES + 1).collect(),
        Kind::Json => {
            let json = serde_json::from_str(text);
            match json.map_err(|error| wrong(format!("it is not JSON: {error}")))? {
                Value::Array(values) => {
                    values.into_iter().take(MAX_ENTRIES + 1).map(Entry::read).collect()
                }
                value => vec![Entry::read(value)],
            }
        }
    };
    if entries.len() > MAX_ENTRIES {
        return Err(wrong(format!("it has more than {MAX_ENTRIES} entries, which is the limit")));
    }
    Ok(entries)
}

fn lines(text: &str) -> impl Iterator<Item = Entry> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| match serde_json::from_str(line) {
        Ok(value) => Entry::read(value),
        Err(error) => Entry { id: None, asked: Err(format!("the line is not JSON: {error}")) },
    })
}

impl Entry {
    /// A text, an object with a `text`, a request's body, or one line of a batch of OpenAI's, which
    /// has that in its `body`.
    fn read(value: Value) -> Self {
        let mut fields = match value {
            Value::String(text) => return Self { id: None, asked: Ok(Asked::Text(text)) },
            Value::Object(fields) => fields,
            _ => return Self { id: None, asked: Err(EXPECTED.to_owned()) },
        };
        let id = ["custom_id", "id"].into_iter().find_map(|name| fields.get(name)).map(spelled);
        // Neither is a field of a request.
        fields.remove("custom_id");
        if let Some(Value::Object(body)) = fields.get_mut("body") {
            fields = std::mem::take(body);
        }
        Self { id, asked: Self::asked(fields) }
    }

    fn asked(mut fields: Map<String, Value>) -> Result<Asked, String> {
        if let Some(Value::String(text)) = fields.get_mut("text") {
            return Ok(Asked::Text(std::mem::take(text)));
        }
        fields.remove("id");
        Direct::new(fields).map(Asked::Request).map_err(|_| EXPECTED.to_owned())
    }
}

/// An id as text: numbers are ids as well.
fn spelled(id: &Value) -> String {
    id.as_str().map_or_else(|| id.to_string(), str::to_owned)
}

/// How the content of an object is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Json,
    Lines,
}

impl Kind {
    /// Told by the name; where that tells nothing, by what its writer said.
    fn of(key: &str, said: Option<&str>) -> Result<Self, String> {
        let name = key.rsplit('/').next().unwrap_or_default();
        let suffix = name.rsplit_once('.').map(|(_, suffix)| suffix.to_ascii_lowercase());
        let essence = said.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        match (suffix.as_deref(), essence) {
            (Some("txt" | "text" | "md"), _) => Ok(Self::Text),
            (Some("jsonl" | "ndjson"), _) => Ok(Self::Lines),
            (Some("json"), _) | (_, "application/json") => Ok(Self::Json),
            (_, "application/jsonl" | "application/x-ndjson" | "application/x-jsonlines") => {
                Ok(Self::Lines)
            }
            (_, essence) if essence.starts_with("text/") => Ok(Self::Text),
            (_, essence) => Err(format!(
                "neither its name ends in `.txt`, `.md`, `.json` or `.jsonl`, nor does its type \
                 `{essence}` tell that it is one of these"
            )),
        }
    }
}

const PLACE: &str = "{text}";

/// As many as OpenAI's batches have. Of an object of two bytes a line the reasons why each of them is none would fill
/// the memory.
const MAX_ENTRIES: usize = 50_000;

const EXPECTED: &str = "expected is a text, an object with `text`, or the body of a request, with \
                        `messages`, `prompt` or `input`";

#[cfg(test)]
mod tests {
    use super::*;

    fn source(key: &str) -> Source {
        let bucket = "b".to_owned();
        Source { bucket, key: key.to_owned(), version_id: None, etag: None, size: None }
    }

    fn read(key: &str, text: &str) -> Result<Vec<Entry>, Error> {
        let bytes = text.as_bytes().to_vec().into();
        entries(&source(key), &Content { bytes, kind: None })
    }

    fn text(text: &str) -> Asked {
        Asked::Text(text.to_owned())
    }

    #[test]
    fn the_name_tells_what_an_object_is_and_else_its_type() {
        for (key, said, kind) in [
            ("a/b.txt", None, Kind::Text),
            ("b.MD", Some("application/json"), Kind::Text),
            ("b.json", Some("text/plain"), Kind::Json),
            ("b.jsonl", None, Kind::Lines),
            ("b", Some("application/json; charset=utf-8"), Kind::Json),
            ("a.txt/b", Some("application/x-ndjson"), Kind::Lines),
            ("b.log", Some("text/plain"), Kind::Text),
        ] {
            assert_eq!(Kind::of(key, said), Ok(kind), "{key} {said:?}");
        }
        for (key, said) in [("b.jpg", Some("image/jpeg")), ("b", None), ("a.txt/", None)] {
            assert!(Kind::of(key, said).is_err(), "{key} {said:?}");
        }
    }

    #[test]
    fn a_text_is_one_entry_and_lines_are_one_each() {
        assert_eq!(read("a.txt", "a\nb").unwrap()[0].asked, Ok(text("a\nb")));
        let entries =
            read("a.jsonl", "\u{feff}\"a\"\r\n\n{\"id\": 7, \"text\": \"b\"}\nc\n3").unwrap();
        assert_eq!(entries.len(), 4);
        assert_eq!((&entries[0].id, &entries[0].asked), (&None, &Ok(text("a"))));
        assert_eq!((&entries[1].id, &entries[1].asked), (&Some("7".to_owned()), &Ok(text("b"))));
        assert!(entries[2].asked.as_ref().is_err_and(|reason| reason.contains("not JSON")));
        assert!(entries[3].asked.as_ref().is_err_and(|reason| reason.contains("`messages`")));
    }

    #[test]
    fn json_is_one_entry_or_an_array_of_them() {
        assert_eq!(read("a.json", "[\"a\", {\"text\": \"b\"}]").unwrap().len(), 2);
        assert_eq!(read("a.json", "\"a\"").unwrap()[0].asked, Ok(text("a")));
        assert!(read("a.json", "{").unwrap_err().to_string().contains("not JSON"));
        let not_utf8 = Content { bytes: vec![0xff].into(), kind: None };
        assert!(entries(&source("a.txt"), &not_utf8).unwrap_err().to_string().contains("utf-8"));
    }

    #[test]
    fn an_object_has_a_limit_of_entries() {
        let of = |count: usize| {
            (vec!["1"; count].join("\n"), format!("[{}]", vec!["1"; count].join(",")))
        };
        let (lines, array) = of(MAX_ENTRIES);
        assert_eq!(read("a.jsonl", &lines).unwrap().len(), MAX_ENTRIES);
        assert_eq!(read("a.json", &array).unwrap().len(), MAX_ENTRIES);
        let (lines, array) = of(MAX_ENTRIES + 1);
        for (key, text) in [("a.jsonl", lines), ("a.json", array)] {
            assert!(read(key, &text).unwrap_err().to_string().contains("more than 50000 entries"));
        }
        let deep = "[".repeat(100_000);
        assert!(read("a.json", &deep).unwrap_err().to_string().contains("recursion limit"));
    }

    #[test]
    fn lines_of_openais_batches_are_requests() {
        let line = r#"{"custom_id": "x", "method": "POST", "url": "/v1/completions",
                       "body": {"prompt": "a", "max_tokens": 3}}"#;
        let entry = &read("a.json", line).unwrap()[0];
        assert_eq!(entry.id.as_deref(), Some("x"));
        let body = json!({"prompt": "a", "max_tokens": 3}).as_object().unwrap().clone();
        assert_eq!(entry.asked, Ok(Asked::Request(Direct::new(body).unwrap())));
    }

    #[test]
    fn texts_become_requests_of_the_task() {
        let template = Template::new("Say: {text}!").unwrap();
        for (task, body) in [
            (Task::Chat, json!({"messages": [{"role": "user", "content": "Say: a!"}]})),
            (Task::Completion, json!({"prompt": "Say: a!"})),
            (Task::Embedding, json!({"input": "Say: a!"})),
        ] {
            let direct = Asked::Text("a".to_owned()).direct(task, Some(&template));
            assert_eq!(direct, Direct::new(body.as_object().unwrap().clone()).unwrap());
        }
        assert!(Template::new("no place").is_err());
    }
}
