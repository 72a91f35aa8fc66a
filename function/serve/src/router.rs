//! What is at which address. The router needs no socket: whoever has a request, from wherever it
//! came, can call it.

use axum::Router;
use axum::extract::Request;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};

use crate::{
    Refusal, Server, chat, completions, cors, embeddings, health, journal, keys, metrics, models,
    status,
};

impl Server {
    /// All that is served.
    pub fn router(&self) -> Router {
        let v1 = Router::new()
            .route("/chat/completions", post(chat::complete))
            .route("/completions", post(completions::complete))
            .route("/embeddings", post(embeddings::embed))
            .route("/models", get(models::list))
            // Names may have slashes, as those of the hub do.
            .route("/models/{*name}", get(models::one))
            .layer(from_fn_with_state(self.clone(), keys::check));
        Router::new()
            .nest("/v1", v1.clone())
            .nest("/openai/v1", v1)
            .merge(probes())
            .route("/status", get(status::tell))
            .route("/metrics", get(metrics::scrape))
            .fallback(nothing)
            .method_not_allowed_fallback(wrong_method)
            .layer(from_fn_with_state(self.clone(), journal::keep))
            .layer(from_fn_with_state(self.clone(), cors::allow))
            .with_state(self.clone())
    }
}

/// As Kubernetes, Knative, `KServe`, vLLM and `SageMaker` ask.
fn probes() -> Router<Server> {
    let live = ["/health/live", "/v2/health/live"];
    let ready = ["/health/ready", "/v2/health/ready", "/health", "/ping"];
    let router = live.into_iter().fold(Router::new(), |it, path| it.route(path, get(health::live)));
    ready.into_iter().fold(router, |it, path| it.route(path, get(health::ready)))
}

async fn nothing(request: Request) -> Refusal {
    let (method, path) = place(&request);
    Refusal::NoRoute { method, path }
}

async fn wrong_method(request: Request) -> Refusal {
    let (method, path) = place(&request);
    Refusal::Method { method, path }
}

fn place(request: &Request) -> (String, String) {
    (request.method().to_string(), request.uri().path().to_owned())
}

#[cfg(test)]
mod tests;
