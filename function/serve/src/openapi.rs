//! `/openapi.json`: what is served, for tools, with the names and the limits of this instance.
//!
//! The document is the file beside this one, written by hand. The tests hold it against the routes,
//! against the fields that requests are asked for, and against what is taken and what is refused.

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

const DOCUMENT: &str = include_str!("openapi.json");

#[cfg(test)]
mod schema;
#[cfg(test)]
mod tests;
