//! `/openapi.json`: what is served, for tools, with the names and the limits of this instance.
//!
//! The document is the file beside this one, written by hand. The tests hold it against the routes,
//! against the fields that requests are asked for, and against what is taken and what is refused.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use crate::{Server, json};

/// Tells all of it.
pub(crate) async fn tell(State(server): State<Server>) -> Response {
    json::response(StatusCode::OK, &document(&server))
}

fn document(server: &Server) -> Value {
    let mut document: Value = serde_json::from_str(DOCUMENT).expect("it is JSON, as a test knows");
    document["info"]["version"] = json!(env!("CARGO_PKG_VERSION"));
    let schemas = &mut document["components"]["schemas"];
    schemas["ModelName"]["enum"] = json!(server.model().names());
    if let Some(limit) = server.limits().answer_tokens {
        schemas["AnswerTokens"]["maximum"] = json!(limit);
    }
    if !server.settings().keys.is_empty() {
        document["security"] = json!([{"key": []}]);
    }
    document
}

/// The names of all fields that a request may have, whatever it asks for.
#[must_use]
pub fn request_fields() -> BTreeSet<String> {
    let document: Value = serde_json::from_str(DOCUMENT).expect("it is JSON, as a test knows");
    let schemas = ["Options", "ChatRequest", "CompletionRequest", "EmbeddingRequest"];
    let fields = schemas.map(|name| document["components"]["schemas"][name]["properties"].clone());
    fields.iter().filter_map(Value::as_object).flat_map(|it| it.keys().cloned()).collect()
}

const DOCUMENT: &str = include_str!("openapi.json");

#[cfg(test)]
mod schema;
#[cfg(test)]
mod tests;
