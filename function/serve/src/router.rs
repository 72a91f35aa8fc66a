//! What is at which address. The router needs no socket: whoever has a request, from wherever it
//! came, can call it.

use axum::Router;
use axum::extract::Request;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get, post};

use crate::{
    Refusal, Server, chat, completions, cors, embeddings, health, journal, keys, metrics, models,
    openapi, page, status,
};

/// Addresses, and what answers there.
pub(crate) type Routes = Vec<(&'static str, MethodRouter<Server>)>;

impl Server {
    /// All that is served.
    pub fn router(&self) -> Router {
        let v1 = router(v1()).layer(from_fn_with_state(self.clone(), keys::check));
        let page = if self.settings().page { page::routes() } else { Routes::new() };
        router(instance())
            .merge(router(page))
            .nest("/v1", v1.clone())
            .nest("/openai/v1", v1)
            .fallback(nothing)
            .method_not_allowed_fallback(wrong_method)
            .layer(from_fn_with_state(self.clone(), journal::keep))
            .layer(from_fn_with_state(self.clone(), cors::allow))
            .with_state(self.clone())
    }
}

fn router(routes: Routes) -> Router<Server> {
    let routes = routes.into_iter();
    routes.fold(Router::new(), |router, (path, method)| router.route(path, method))
}

/// OpenAI's, below a prefix that ends in `/v1`.
pub(crate) fn v1() -> Routes {
    vec![
        ("/chat/completions", post(chat::complete)),
        ("/completions", post(completions::complete)),
        ("/embeddings", post(embeddings::embed)),
        ("/models", get(models::list)),
        // Names may have slashes, as those of the hub do.
        ("/models/{*name}", get(models::one)),
    ]
}

/// What tells of the instance.
pub(crate) fn instance() -> Routes {
    vec![
        // As Kubernetes, Knative, `KServe`, vLLM and `SageMaker` ask.
        ("/health/live", get(health::live)),
        ("/v2/health/live", get(health::live)),
        ("/health/ready", get(health::ready)),
        ("/v2/health/ready", get(health::ready)),
        ("/health", get(health::ready)),
        ("/ping", get(health::ready)),
        ("/status", get(status::tell)),
        ("/metrics", get(metrics::scrape)),
        ("/openapi.json", get(openapi::tell)),
    ]
}

async fn nothing(request: Request) -> Refusal {
    Refusal::no_route(&request)
}

async fn wrong_method(request: Request) -> Refusal {
    let (method, path) = place(&request);
    Refusal::Method { method, path }
}

impl Refusal {
    /// Clients are often told a base address without `/v1`, with two of them, or with a slash.
    fn no_route(request: &Request) -> Self {
        let (method, path) = place(request);
        let names = path.split('/').filter(|name| !name.is_empty());
        let plain = names.fold(String::new(), |plain, name| plain + "/" + name);
        let meant = v1().into_iter().find(|(route, _)| plain.ends_with(route));
        let meant = meant.map(|(route, _)| format!("/v1{route}"));
        Self::NoRoute { method, path, meant }
    }
}

fn place(request: &Request) -> (String, String) {
    (request.method().to_string(), request.uri().path().to_owned())
}

#[cfg(test)]
mod tests;
