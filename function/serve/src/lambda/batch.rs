//! Objects and messages to lines in a bucket.
//!
//! An object's entries are answered like requests, many at once, and all answers become one new
//! object, whose name has the version of the first: where that is there, nothing is computed, and
//! of two that compute the same only one can write. The platform delivers some events more than
//! once; that costs no more than the question whether the result is there.
//!
//! An entry that is refused has the reason in its line, since another delivery would not mend it.
//! One that could not be answered fails the object: it is delivered again.

use std::fmt;
use std::sync::Arc;

use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

use super::entry::{Asked, Entry, Template, entries};
use super::notice::{Source, Work};
use super::objects::{BoxError, Found, Objects};
use super::together::{AT_ONCE, together};
use super::{Error, Lambda};

/// What is done with objects. Clones are the same.
#[derive(Clone)]
pub struct Batch(Arc<Inner>);

struct Inner {
    objects: Arc<dyn Objects>,
    results: Place,
    options: Options,
    /// Entries that may be with the engine at once.
    places: Semaphore,
}

/// How objects are worked with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where objects come from; anywhere, where it is not said.
    pub sources: Option<Place>,
    /// What is asked of the model.
    pub task: Task,
    /// What each text is put into.
    pub template: Option<Template>,
    /// Fields of a request, for whatever an entry does not say.
    pub params: Map<String, Value>,
    /// The longest object that is read.
    pub limit_bytes: u64,
}

/// What is asked of the model where an entry is a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Task {
    /// To answer a user's message.
    #[default]
    Chat,
    /// To go on.
    Completion,
    /// To embed.
    Embedding,
}

/// All objects of a bucket whose keys begin in a certain way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The bucket.
    pub bucket: String,
    /// How the keys begin; a `/` is no more than another character.
    pub prefix: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sources: None,
            task: Task::default(),
            template: None,
            params: Map::new(),
            // A million words of text. Sixteen at once fit into the smallest function that holds a
            // model.
            limit_bytes: 8 << 20,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.prefix)
    }
}

impl Place {
    fn has(&self, bucket: &str, key: &str) -> bool {
        self.bucket == bucket && key.starts_with(&self.prefix)
    }

    fn overlaps(&self, other: &Self) -> bool {
        let (one, two) = (&self.prefix, &other.prefix);
        self.bucket == other.bucket && (one.starts_with(two) || two.starts_with(one))
    }
}

impl Batch {
    /// Results go to `results`; refused, where they would be noticed as new objects.
    pub fn new(objects: Arc<dyn Objects>, results: Place, options: Options) -> Result<Self, Error> {
        if let Some(sources) = options.sources.as_ref().filter(|it| it.overlaps(&results)) {
            let (results, sources) = (results.to_string(), sources.to_string());
            return Err(Error::Loop { results, sources });
        }
        let places = Semaphore::new(AT_ONCE);
        Ok(Self(Arc::new(Inner { objects, results, options, places })))
    }

    pub(crate) async fn renew(&self) -> Result<(), BoxError> {
        self.0.objects.renew().await
    }

    /// All that a message asks for.
    pub(crate) async fn message(
        &self,
        lambda: &Lambda,
        works: Result<Vec<Work>, Error>,
    ) -> Result<(), Error> {
        for work in works? {
            self.work(lambda, work).await?;
        }
        Ok(())
    }

    /// Does it, and says what became of it.
    pub(crate) async fn work(&self, lambda: &Lambda, work: Work) -> Result<Value, Error> {
        match work {
            Work::Object(source) => self.object(lambda, &source).await,
            Work::Request { name, direct } => {
                let entry = Entry { id: Some(name.clone()), asked: Ok(Asked::Request(direct)) };
                let result = self.result(&name)?;
                if self.is_there(&result).await? {
                    return Ok(told(&name, Outcome::Present { result }));
                }
                self.answer(lambda, &name, result, vec![entry]).await
            }
        }
    }

    async fn object(&self, lambda: &Lambda, source: &Source) -> Result<Value, Error> {
        let name = source.to_string();
        let Source { bucket, key, .. } = source;
        if self.0.results.has(bucket, key) {
            tracing::warn!(object = name, "a result was noticed as a new object");
            return Ok(told(&name, Outcome::IsResult));
        }
        if source.is_folder() {
            return Ok(told(&name, Outcome::IsFolder));
        }
        if let Some(place) = self.0.options.sources.as_ref().filter(|it| !it.has(bucket, key)) {
            let reason = format!("it does not lie at `{place}`");
            return Err(Error::Content { object: name, reason });
        }
        let result = self.result(&format!("{bucket}/{key}@{}", version(source)?))?;
        if self.is_there(&result).await? {
            return Ok(told(&name, Outcome::Present { result }));
        }
        match self.entries(source).await? {
            Some(entries) => self.answer(lambda, &name, result, entries).await,
            None => Ok(told(&name, Outcome::Replaced)),
        }
    }

    /// Nothing, where the object is another one by now.
    async fn entries(&self, source: &Source) -> Result<Option<Vec<Entry>>, Error> {
        let limit_bytes = self.0.options.limit_bytes;
        let object = source.to_string();
        if let Some(size) = source.size.filter(|size| *size > limit_bytes) {
            let reason = format!("it has {size} bytes, the limit is {limit_bytes}");
            return Err(Error::Content { object, reason });
        }
        let found = self.0.objects.read(source, limit_bytes).await;
        match found.map_err(|source| Error::Object { object, source })? {
            Found::Content(content) => entries(source, &content).map(Some),
            Found::Replaced => Ok(None),
        }
    }

    async fn answer(
        &self,
        lambda: &Lambda,
        name: &str,
        result: Place,
        entries: Vec<Entry>,
    ) -> Result<Value, Error> {
        let lines = together(entries.into_iter().enumerate().map(|(n, entry)| {
            let (batch, lambda, name) = (self.clone(), lambda.clone(), name.to_owned());
            async move { batch.line(&lambda, &name, n, entry).await }
        }));
        let lines = lines.await.into_iter().collect::<Result<Vec<_>, _>>()?;
        let (entries, refused) = (lines.len(), lines.iter().filter(|it| it.is_refusal).count());
        let content: Vec<u8> = lines.into_iter().flat_map(|line| line.json).collect();
        let Place { bucket, prefix: key } = &result;
        let created = self.0.objects.create(bucket, key, content.into()).await;
        let is_new =
            created.map_err(|source| Error::Object { object: result.to_string(), source })?;
        let outcome = if is_new {
            Outcome::Written { result, entries, refused }
        } else {
            Outcome::Present { result }
        };
        Ok(told(name, outcome))
    }

    /// One entry's line.
    async fn line(
        &self,
        lambda: &Lambda,
        name: &str,
        n: usize,
        entry: Entry,
    ) -> Result<Line, Error> {
        let Options { task, template, params, .. } = &self.0.options;
        let id = entry.id.unwrap_or_else(|| format!("{name}#{n}"));
        let asked = match entry.asked {
            Ok(asked) => asked,
            Err(reason) => return Ok(Line::unread(&id, &reason)),
        };
        let direct = asked.direct(*task, template.as_ref()).over(params);
        let place = self.0.places.acquire().await.expect("nobody closes it");
        let (status, body) = lambda.ask(direct).await?;
        drop(place);
        if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
            let message = body["error"]["message"].as_str().unwrap_or_default().to_owned();
            return Err(Error::Unanswered { name: name.to_owned(), entry: n, status, message });
        }
        Ok(Line::answered(&id, status, &body))
    }

    /// Where the result of what is called `name` goes. Of names that are much too long S3's client makes no request, but
    /// panics: each is a part of this key, or shorter.
    fn result(&self, name: &str) -> Result<Place, Error> {
        let Place { bucket, prefix } = &self.0.results;
        let key = format!("{prefix}{name}.jsonl");
        if key.len() > KEY_LIMIT_BYTES {
            let object = name.chars().take(SHOWN_CHARACTERS).chain(['…']).collect();
            let bytes = key.len();
            let reason =
                format!("its result would have a key of {bytes} bytes, S3 takes {KEY_LIMIT_BYTES}");
            return Err(Error::Content { object, reason });
        }
        Ok(Place { bucket: bucket.clone(), prefix: key })
    }

    async fn is_there(&self, result: &Place) -> Result<bool, Error> {
        let Place { bucket, prefix: key } = result;
        let is_there = self.0.objects.exists(bucket, key).await;
        is_there.map_err(|source| Error::Object { object: result.to_string(), source })
    }
}

/// Which version of an object it is, so that each has a result of its own.
fn version(source: &Source) -> Result<&str, Error> {
    let version = source.version_id.as_deref().or(source.etag.as_deref());
    version.ok_or_else(|| Error::MalformedEvent {
        kind: "S3's notice of an object",
        reason: "it has neither a version nor an `ETag`".to_owned(),
    })
}

/// A line of a result, as those of OpenAI's batches are.
struct Line {
    json: Vec<u8>,
    is_refusal: bool,
}

impl Line {
    fn answered(id: &str, status: StatusCode, body: &Value) -> Self {
        let response = json!({"status_code": status.as_u16(), "body": body});
        Self::new(id, &response, &Value::Null, !status.is_success())
    }

    fn unread(id: &str, reason: &str) -> Self {
        let error = json!({"code": "invalid_entry", "message": reason});
        Self::new(id, &Value::Null, &error, true)
    }

    fn new(id: &str, response: &Value, error: &Value, is_refusal: bool) -> Self {
        let line = json!({"custom_id": id, "response": response, "error": error});
        Self { json: format!("{line}\n").into_bytes(), is_refusal }
    }
}

/// What became of an object or a message.
enum Outcome {
    /// Its result was written.
    Written { result: Place, entries: usize, refused: usize },
    /// Its result was there.
    Present { result: Place },
    /// Another version is there, of which another event tells.
    Replaced,
    /// It is a result itself.
    IsResult,
    /// It is there for its name alone.
    IsFolder,
}

fn told(name: &str, outcome: Outcome) -> Value {
    match outcome {
        Outcome::Written { result, entries, refused } => json!({
            "source": name, "outcome": "written", "result": result.to_string(),
            "entries": entries, "refused": refused,
        }),
        Outcome::Present { result } => {
            json!({"source": name, "outcome": "present", "result": result.to_string()})
        }
        Outcome::Replaced => json!({"source": name, "outcome": "replaced"}),
        Outcome::IsResult => json!({"source": name, "outcome": "is_result"}),
        Outcome::IsFolder => json!({"source": name, "outcome": "is_folder"}),
    }
}

/// Of S3 (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>).
const KEY_LIMIT_BYTES: usize = 1024;

/// Enough to recognise a name by.
const SHOWN_CHARACTERS: usize = 100;
