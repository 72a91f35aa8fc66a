//! `/metrics`, in the text form of `OpenMetrics`: with vLLM's names where they mean the same, so that
//! its dashboards and autoscalers work; ours begin with `firstlight_`.
//!
//! What the engine and the timeline know is read when it is asked for; what happens between two
//! events of an answer is observed as it happens.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use firstlight_generate::engine::{Event, Statistics};
use firstlight_timeline::{Counter as Counted, Mark, Timeline};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::Server;
use crate::form::finish_reason;
use crate::model::{Model, State as LoadState};

/// Everything that is measured.
pub(crate) async fn scrape(State(server): State<Server>) -> Response {
    let mut text = String::new();
    text::encode(&mut text, &server.recorder().registry)
        .expect("a string takes all that is written");
    ([(CONTENT_TYPE, OPENMETRICS)], text).into_response()
}

/// Labels and their values.
type Labels<const N: usize> = [(&'static str, String); N];

/// What happens, counted and timed.
pub(crate) struct Recorder {
    registry: Registry,
    timeline: Timeline,
    answered: Family<Labels<2>, Counter>,
    ended: Family<Labels<1>, Counter>,
    queue_s: Histogram,
    first_token_s: Histogram,
    next_token_s: Histogram,
    whole_s: Histogram,
}

impl Recorder {
    pub(crate) fn new(model: &Model) -> Self {
        let recorder = Self {
            registry: Registry::default(),
            timeline: model.timeline().clone(),
            answered: Family::default(),
            ended: Family::default(),
            queue_s: Histogram::new(TIMES_S),
            first_token_s: Histogram::new(TIMES_S),
            next_token_s: Histogram::new(TIMES_S),
            whole_s: Histogram::new(TIMES_S),
        };
        recorder.registered(model)
    }

    fn registered(mut self, model: &Model) -> Self {
        let name = ("model_name".into(), model.name().to_owned().into());
        let of_model = self.registry.sub_registry_with_label(name);
        for (name, help, histogram) in [
            (
                "vllm:request_queue_time_seconds",
                "From a request to the first step of its answer",
                &self.queue_s,
            ),
            (
                "vllm:time_to_first_token_seconds",
                "From a request to its first token",
                &self.first_token_s,
            ),
            (
                "vllm:inter_token_latency_seconds",
                "From one token of an answer to the next",
                &self.next_token_s,
            ),
            (
                "vllm:e2e_request_latency_seconds",
                "From a request to the end of its answer",
                &self.whole_s,
            ),
        ] {
            of_model.register(name, help, histogram.clone());
        }
        of_model.register(
            "vllm:request_success",
            "Answers and embeddings that came to their end",
            self.ended.clone(),
        );
        of_model.register_collector(Box::new(EngineFigures(model.clone())));
        self.registry.register(
            "firstlight_http_requests",
            "Requests that were answered",
            self.answered.clone(),
        );
        self.registry.register_collector(Box::new(StartFigures(model.clone())));
        self
    }

    /// A request got its answer.
    pub(crate) fn answered(&self, route: &str, status: u16) {
        let labels = [("route", route.to_owned()), ("status", status.to_string())];
        self.answered.get_or_create(&labels).inc();
    }

    /// Texts were embedded, from `began` on.
    pub(crate) fn embedded(&self, arrival: Arrival, began: Instant) {
        self.begun(arrival, began);
        self.finished(arrival, EMBEDDED);
    }

    fn begun(&self, arrival: Arrival, began: Instant) {
        self.queue_s.observe((began - arrival.at).as_secs_f64());
    }

    fn finished(&self, arrival: Arrival, reason: &str) {
        self.whole_s.observe(arrival.at.elapsed().as_secs_f64());
        self.ended.get_or_create(&[("finished_reason", reason.to_owned())]).inc();
    }

    /// Who observes an answer to a prompt of so many tokens.
    pub(crate) fn observer(self: &Arc<Self>, prompt_tokens: usize, arrival: Arrival) -> Observer {
        Observer { recorder: Arc::clone(self), prompt_tokens, arrival, latest: None }
    }
}

/// When a request came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) at: Instant,
    /// Whether the model was not loaded yet: the request is part of the cold start.
    pub(crate) is_cold: bool,
}

/// Observes one answer.
pub(crate) struct Observer {
    recorder: Arc<Recorder>,
    prompt_tokens: usize,
    arrival: Arrival,
    /// When the latest token came.
    latest: Option<Instant>,
}

impl Observer {
    pub(crate) fn observe(&mut self, event: &Event) {
        let recorder = &self.recorder;
        match event {
            Event::Started => recorder.begun(self.arrival, Instant::now()),
            Event::Token(_) => self.token(),
            Event::Finished { finish, .. } => {
                recorder.finished(self.arrival, finish_reason(*finish));
            }
            Event::Prompt(_) | Event::Failed(_) => {}
        }
    }

    fn token(&mut self) {
        let now = Instant::now();
        let Recorder { first_token_s, next_token_s, .. } = &*self.recorder;
        if let Some(latest) = self.latest.replace(now) {
            next_token_s.observe((now - latest).as_secs_f64());
        } else {
            first_token_s.observe((now - self.arrival.at).as_secs_f64());
            self.tell_timeline();
        }
    }

    /// The first token of a request that waited for the load is where the cold start ends.
    fn tell_timeline(&self) {
        let timeline = &self.recorder.timeline;
        if self.arrival.is_cold && timeline.marked(Mark::FirstToken).is_none() {
            timeline.mark(Mark::FirstToken);
            timeline.count(Counted::Tokens, 1);
            timeline.count(Counted::PromptTokens, self.prompt_tokens as u64);
        }
    }
}

/// What the engine does now, and has done.
struct EngineFigures(Model);

impl fmt::Debug for EngineFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EngineFigures")
    }
}

impl Collector for EngineFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let now = self.0.served_now().map_or_else(Statistics::default, |it| it.statistics());
        let used = now.kv_blocks_used as f64 / now.kv_blocks.max(1) as f64;
        for (name, help, value) in [
            ("vllm:num_requests_running", "Answers that are being computed", now.running as f64),
            ("vllm:num_requests_waiting", "Answers that wait to be computed", now.waiting as f64),
            ("vllm:kv_cache_usage_perc", "Blocks of the cache that are used; 1 is all", used),
        ] {
            gauge(&mut encoder, name, help, value)?;
        }
        for (name, help, value) in [
            ("vllm:prompt_tokens", "Tokens of prompts that were computed", now.prompt_tokens),
            ("vllm:generation_tokens", "Tokens that were generated", now.generated_tokens),
            ("vllm:num_preemptions", "Answers that lost their place for a while", now.preemptions),
            ("firstlight_engine_steps", "Passes over the model", now.steps),
            ("firstlight_cancelled", "Answers whose client went away", now.cancelled),
        ] {
            counter(&mut encoder, name, help, value)?;
        }
        Ok(())
    }
}

/// What the timeline knows of the start.
struct StartFigures(Model);

impl fmt::Debug for StartFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StartFigures")
    }
}

impl Collector for StartFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let timeline = self.0.timeline();
        let is_ready = f64::from(u8::from(self.0.state() == LoadState::Ready));
        let has_failed = f64::from(u8::from(self.0.state() == LoadState::Failed));
        gauge(&mut encoder, "firstlight_ready", "Whether the model is loaded", is_ready)?;
        gauge(&mut encoder, "firstlight_failed", "Whether the load failed", has_failed)?;
        for (name, help, counted) in STORE_COUNTERS {
            counter(&mut encoder, name, help, timeline.counted(*counted))?;
        }
        let weights = timeline.counted(Counted::WeightBytes) as f64;
        let help = "Weights that the first token needs";
        gauge(&mut encoder, "firstlight_weight_bytes", help, weights)?;
        let help = "From the start of the process to each moment of its cold start";
        let kind = MetricType::Gauge;
        let mut family =
            encoder.encode_descriptor("firstlight_cold_start_seconds", help, None, kind)?;
        for mark in Mark::ALL {
            let Some(at) = timeline.marked(mark) else { continue };
            let labels = [("until", mark.name())];
            ConstGauge::new(at.as_ms() / 1e3).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> fmt::Result {
    ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    let kind = MetricType::Counter;
    ConstCounter::new(value).encode(encoder.encode_descriptor(name, help, None, kind)?)
}

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const STORE_COUNTERS: &[(&str, &str, Counted)] = &[
    (
        "firstlight_store_requests",
        "Requests to the store, retries and hedges too",
        Counted::Requests,
    ),
    ("firstlight_store_retries", "Requests that repeated one that failed", Counted::Retries),
    ("firstlight_store_stalls", "Ranges that stopped making progress", Counted::Stalls),
    ("firstlight_store_hedges", "Requests that doubled a slow one", Counted::Hedges),
    ("firstlight_store_hedges_won", "Hedges that were faster", Counted::HedgesWon),
    ("firstlight_store_bytes", "Bytes received from the store", Counted::BytesFetched),
    ("firstlight_store_bytes_twice", "Bytes received once more", Counted::BytesTwice),
];

/// As vLLM says it of what has no length of its own.
const EMBEDDED: &str = "stop";

/// From a token of a small model to the load of a large one, in steps of 2 to 2.5.
const TIMES_S: [f64; 16] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];
