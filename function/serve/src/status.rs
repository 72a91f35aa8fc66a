//! `/status`: how far the start is and what it took, for people and for tools.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use firstlight_timeline::{Counter, Report};
use serde::Serialize;

use crate::{Server, json, model};

/// Tells all of it.
pub(crate) async fn tell(State(server): State<Server>) -> Response {
    let model = server.model();
    let ((state, error), report) = (model.outcome(), model.timeline().report());
    let status = Status {
        state,
        error: error.as_deref(),
        model: model.name(),
        uptime_ms: model.timeline().now().as_ms(),
        bytes: Bytes {
            fetched: report.counter(Counter::BytesFetched),
            weights: report.weight_bytes,
        },
        phases_ms: phases(&report),
        requests_in_flight: server.activity().count(),
        serves: model.served_now().map(|served| served.interface()),
        needs_key: !server.settings().keys.is_empty(),
        memory: model.memory(),
        engine: model.served_now().map(|served| Engine::new(&served)),
        start: Report { spans: Vec::new(), fetches: Vec::new(), ..report },
    };
    json::response(StatusCode::OK, &status)
}

#[derive(Serialize)]
struct Status<'a> {
    state: model::State,
    error: Option<&'a str>,
    model: &'a str,
    uptime_ms: f64,
    bytes: Bytes,
    phases_ms: BTreeMap<String, f64>,
    requests_in_flight: usize,
    /// What to ask for: `chat`, `completions` or `embeddings`. None until the model is known.
    serves: Option<&'static str>,
    needs_key: bool,
    /// None until the model is known.
    memory: Option<model::Memory>,
    /// None until the model is known.
    engine: Option<Engine>,
    /// The timeline of the start, without its single pieces.
    start: Report,
}

#[derive(Serialize)]
struct Bytes {
    fetched: u64,
    weights: u64,
}

#[derive(Serialize)]
struct Engine {
    running: usize,
    waiting: usize,
    kv_blocks_used: usize,
    kv_blocks: usize,
    context_length: usize,
}

impl Engine {
    fn new(served: &model::Served) -> Self {
        let now = served.statistics();
        Self {
            running: now.running,
            waiting: now.waiting,
            kv_blocks_used: now.kv_blocks_used,
            kv_blocks: now.kv_blocks,
            context_length: served.max_tokens(),
        }
    }
}

/// How long each piece of work on the start took; those of one name from the first to the last.
fn phases(report: &Report) -> BTreeMap<String, f64> {
    let mut extents: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for span in &report.spans {
        let extent = extents.entry(span.label.clone()).or_insert((span.from_ms, span.to_ms));
        *extent = (extent.0.min(span.from_ms), extent.1.max(span.to_ms));
    }
    let rounded = |ms: f64| (ms * 1e3).round() / 1e3;
    extents.into_iter().map(|(name, (from, to))| (name, rounded(to - from))).collect()
}
