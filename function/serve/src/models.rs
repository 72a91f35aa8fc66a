//! `/v1/models`: the one model, by each of its names.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use crate::model::Model;
use crate::{Refusal, Server, json};

/// All models.
pub(crate) async fn list(State(server): State<Server>) -> Response {
    let model = server.model();
    let data: Vec<_> = model.names().iter().map(|name| object(model, name)).collect();
    json::response(StatusCode::OK, &json!({"object": "list", "data": data}))
}

/// One model.
pub(crate) async fn one(
    State(server): State<Server>,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Refusal> {
    // What is not UTF-8 is the name of no model, and told as it was written.
    let written = || request.uri().path().trim_start_matches("/models/").to_owned();
    let name = name.map_or_else(|_| written(), |Path(name)| name);
    let model = server.model();
    model.check_name(&name)?;
    Ok(json::response(StatusCode::OK, &object(model, &name)))
}

fn object(model: &Model, name: &str) -> Value {
    json!({
        "id": name,
        "object": "model",
        "created": model.created_unix_s(),
        "owned_by": "firstlight",
        // vLLM's name for it; null until it is known.
        "max_model_len": model.served_now().map(|served| served.max_tokens()),
    })
}
