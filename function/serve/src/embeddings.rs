//! `/v1/embeddings`: texts, or tokens, to vectors.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use firstlight_generate::embed::{Embeddings, Job};
use firstlight_generate::engine::Cancelled;
use firstlight_generate::{Embedder, Error};
use serde::Serialize;
use tokio::sync::oneshot;

use crate::fields::{Fields, wrong_value};
use crate::metrics::Arrival;
use crate::prompts::{self, Raw};
use crate::{Refusal, Server, json};

/// Embeds texts.
pub(crate) async fn embed(
    State(server): State<Server>,
    request: Request,
) -> Result<Response, Refusal> {
    let arrival = Arrival { at: Instant::now(), is_cold: server.is_cold() };
    let asked = json::read(&server, request, EmbeddingRequest::read).await?;
    let EmbeddingRequest { input, most, format, dimensions } = asked;
    let embedder = server.model().embedder().await?;
    let submitted = server.work(usize::MAX, move || Waiting::submit(&embedder, input, most));
    let embeddings = submitted.await?.embeddings().await?;
    server.recorder().embedded(arrival, embeddings.began);
    let tokens = embeddings.tokens;
    let vectors = embeddings.vectors.into_iter().map(|vector| shortened(vector, dimensions));
    let vectors = vectors.collect::<Result<Vec<_>, _>>()?;
    let data = vectors.into_iter().enumerate().map(|(index, vector)| Embedding {
        object: "embedding",
        index,
        vector: format.written(vector),
    });
    let list = List {
        object: "list",
        data: data.collect(),
        model: server.model().name(),
        usage: Usage { prompt_tokens: tokens, total_tokens: tokens },
    };
    Ok(json::response(StatusCode::OK, &list))
}

/// A request that was checked.
struct EmbeddingRequest {
    input: Vec<Raw>,
    /// Tokens that a text is cut to; without it, one that is too long is an error.
    most: Option<usize>,
    format: Format,
    dimensions: Option<usize>,
}

/// How vectors are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Float,
    Base64,
}

impl EmbeddingRequest {
    fn read(fields: &Fields<'_>) -> Result<Self, Refusal> {
        let dimensions = fields.count("dimensions", 1)?;
        Ok(Self {
            input: prompts::read(fields, "input", MAX_TEXTS)?,
            most: most(fields)?,
            format: Format::read(fields)?,
            dimensions: dimensions.map(|count| count as usize),
        })
    }
}

/// As vLLM's clients ask for it, and as those of text-embeddings-inference do.
fn most(fields: &Fields<'_>) -> Result<Option<usize>, Refusal> {
    let is_cut = fields.boolean("truncate")?.unwrap_or(false);
    let name = "truncate_prompt_tokens";
    match fields.integer(name, i64::MIN..=i64::MAX)? {
        None => Ok(is_cut.then_some(usize::MAX)),
        Some(-1) => Ok(Some(usize::MAX)),
        Some(most @ 1..) => Ok(Some(usize::try_from(most).unwrap_or(usize::MAX))),
        Some(other) => {
            let allowed = "1 or more, or -1 for as many as the model takes";
            Err(wrong_value(name, other.to_string(), allowed))
        }
    }
}

impl Format {
    fn read(fields: &Fields<'_>) -> Result<Self, Refusal> {
        match fields.text("encoding_format")? {
            None | Some("float") => Ok(Self::Float),
            Some("base64") => Ok(Self::Base64),
            Some(other) => Err(wrong_value("encoding_format", other, "float or base64")),
        }
    }

    fn written(self, vector: Vec<f32>) -> Written {
        match self {
            Self::Float => Written::Float(vector),
            Self::Base64 => {
                let bytes: Vec<u8> = vector.into_iter().flat_map(f32::to_le_bytes).collect();
                Written::Base64(BASE64_STANDARD.encode(bytes))
            }
        }
    }
}

/// The first numbers of a vector, scaled to the length of one where that leaves any out.
fn shortened(mut vector: Vec<f32>, dimensions: Option<usize>) -> Result<Vec<f32>, Refusal> {
    let size = vector.len();
    match dimensions {
        Some(count) if count > size => {
            let allowed = format!("1 to {size}, which the model has");
            Err(wrong_value("dimensions", count.to_string(), allowed))
        }
        Some(count) if count < size => {
            vector.truncate(count);
            let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            if norm > 0.0 {
                for x in &mut vector {
                    *x /= norm;
                }
            }
            Ok(vector)
        }
        _ => Ok(vector),
    }
}

/// Embeddings that are being computed. Whoever drops this cancels them.
struct Waiting {
    embeddings: oneshot::Receiver<Result<Embeddings, Arc<Error>>>,
    cancelled: Cancelled,
}

impl Waiting {
    fn submit(embedder: &Embedder, input: Vec<Raw>, most: Option<usize>) -> Result<Self, Refusal> {
        let limit = embedder.limits().max_tokens;
        let tokens = |raw| match (raw, most) {
            (Raw::Text(text), None) => embedder.encode(&text, false).map_err(Arc::new),
            (Raw::Text(text), Some(most)) => embedder.encode_within(&text, most).map_err(Arc::new),
            (Raw::Tokens(ids), None) => Ok(ids),
            (Raw::Tokens(mut ids), Some(most)) => {
                ids.truncate(most.min(limit));
                Ok(ids)
            }
        };
        let texts = input.into_iter().map(tokens).collect::<Result<_, _>>();
        let texts = texts.map_err(|error| Refusal::Prompt { param: "input", error })?;
        let (sender, embeddings) = oneshot::channel();
        let cancelled = Cancelled::default();
        let out = Box::new(move |embeddings| drop(sender.send(embeddings)));
        let job = Job { texts, cancelled: cancelled.clone(), out };
        embedder.submit(job).map_err(|refusal| Refusal::of_job(refusal, "input"))?;
        Ok(Self { embeddings, cancelled })
    }

    async fn embeddings(mut self) -> Result<Embeddings, Refusal> {
        let embeddings = (&mut self.embeddings).await.map_err(|_| Refusal::BrokenOff)?;
        embeddings.map_err(Refusal::of_engine)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.cancelled.cancel();
    }
}

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Embedding>,
    model: &'a str,
    usage: Usage,
}

#[derive(Serialize)]
struct Embedding {
    object: &'static str,
    index: usize,
    #[serde(rename = "embedding")]
    vector: Written,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Written {
    Float(Vec<f32>),
    Base64(String),
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

/// OpenAI's limit.
const MAX_TEXTS: usize = 2048;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_shortened_vector_has_the_length_of_one() {
        let vector = || vec![3.0, 4.0, 12.0];
        assert_eq!(shortened(vector(), None).unwrap(), vector());
        assert_eq!(shortened(vector(), Some(3)).unwrap(), vector());
        assert_eq!(shortened(vector(), Some(2)).unwrap(), [0.6, 0.8]);
        assert_eq!(shortened(vec![0.0, 1.0], Some(1)).unwrap(), [0.0]);
        let refusal = shortened(vector(), Some(4)).unwrap_err().to_string();
        assert_eq!(refusal, "`dimensions` is `4`, allowed is 1 to 3, which the model has");
    }

    #[test]
    fn base64_is_of_little_endian_floats() {
        let written = serde_json::to_value(Format::Base64.written(vec![1.0, -2.0])).unwrap();
        assert_eq!(written, "AACAPwAAAMA=");
    }

    #[test]
    fn texts_are_cut_as_two_kinds_of_clients_ask_for_it() {
        for (fields, expected) in [
            (json!({}), None),
            (json!({"truncate": false}), None),
            (json!({"truncate": true}), Some(usize::MAX)),
            (json!({"truncate_prompt_tokens": -1}), Some(usize::MAX)),
            (json!({"truncate_prompt_tokens": 1, "truncate": true}), Some(1)),
            (json!({"truncate_prompt_tokens": 9, "truncate": false}), Some(9)),
        ] {
            assert_eq!(most(&Fields::of_body(&fields).unwrap()).unwrap(), expected, "{fields}");
        }
    }

    #[test]
    fn each_wrong_field_is_named() {
        for (body, param) in [
            (json!({}), "input"),
            (json!({"input": []}), "input"),
            (json!({"input": {"a": 1}}), "input"),
            (json!({"input": "a", "encoding_format": "int8"}), "encoding_format"),
            (json!({"input": "a", "dimensions": 0}), "dimensions"),
            (json!({"input": "a", "truncate": 1}), "truncate"),
            (json!({"input": "a", "truncate_prompt_tokens": 0}), "truncate_prompt_tokens"),
            (json!({"input": "a", "truncate_prompt_tokens": -2}), "truncate_prompt_tokens"),
        ] {
            let refusal = EmbeddingRequest::read(&Fields::of_body(&body).unwrap());
            let refusal = refusal.err().expect("it should be refused");
            let object = serde_json::to_value(refusal.object()).unwrap();
            assert_eq!(object["error"]["param"], param, "{body}: {refusal}");
        }
    }
}
