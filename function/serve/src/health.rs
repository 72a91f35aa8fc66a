//! Whether the instance lives, and whether it is ready, as the platforms ask for it.
//!
//! An instance is alive until its load or its engine has failed: what has failed does not mend
//! itself, so that the platform should start another.

use axum::extract;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use crate::json;
use crate::model::State;
use crate::server::{Ready, Server};

/// Whether it should be kept.
pub(crate) async fn live(extract::State(server): extract::State<Server>) -> Response {
    tell("live", server.is_alive())
}

/// Whether it should get requests.
pub(crate) async fn ready(extract::State(server): extract::State<Server>) -> Response {
    tell("ready", server.is_ready())
}

impl Server {
    pub(crate) fn is_alive(&self) -> bool {
        let has_failed = self.model().served_now().is_some_and(|served| served.failure().is_some());
        self.model().state() != State::Failed && !has_failed
    }

    fn is_ready(&self) -> bool {
        let is_loaded = self.model().state() == State::Ready;
        self.is_alive() && (is_loaded || self.settings().ready == Ready::Accepting)
    }
}

fn tell(what: &str, is_so: bool) -> Response {
    let status = if is_so { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json::response(status, &json!({ what: is_so }))
}
