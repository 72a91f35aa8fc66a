//! Cold starts of true shapes in fresh processes of the real binary: from an S3 server in this process, and from files
//! that are in the page cache. This process itself opens no device, which would make it quicker for the others.

use std::path::Path;

use firstlight_bucket::{Bucket, Running};
use firstlight_timeline::{Lane, Mark, Report};

use super::bench::Result;
use super::page_cache;
use super::record::Recorder;
use super::sections::{
    BOOT_SPANS, CONTEXT, FLOOR, GRAPHS, MEASURED, NO_GRAPHS, PINNED_RATE, RATE, READY, SOURCES,
    TTFT, TTFT_MAX,
};
use super::setup::Setup;
use super::sizes::Model;
use super::start::{self, Question, Variant};
use super::statistics::{median, sorted};

pub(crate) fn measure(setup: &Setup, model: &Model, recorder: &mut Recorder) -> Result<()> {
    let folder = model.random.folder_in(&setup.models)?;
    page_cache::warm(&folder)?;
    let shared = Shared { setup, model, folder: &folder };
    let question = question(ANSWERED);
    let server = Server::start(&folder)?;
    let pinned = recorder.record().value("limits", PINNED_RATE, MEASURED);
    let mut boots = Vec::new();
    let expected = question.local(&setup.variant(&[]), &folder);
    for source in SOURCES {
        let mut reports = Vec::new();
        for _ in 0..setup.sizes.starts {
            let (report, answer) = shared.start(source, &question, &server.running);
            if answer != expected {
                return Err(format!("{} from {source}: another answer", model.name).into());
            }
            reports.push(report);
        }
        shared.tell(source, &reports, pinned, recorder)?;
        boots.extend(reports);
    }
    shared.tell_boot(&boots, recorder)?;
    shared.tell_decode(recorder)
}

/// The embedded server, on all cores: with one thread it would be the limit.
struct Server {
    running: Running,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    fn start(folder: &Path) -> Result<Self> {
        let runtime = tokio::runtime::Runtime::new()?;
        let bucket = Bucket::builder().objects(start::objects(folder));
        let running = runtime.block_on(async { bucket.start("127.0.0.1:0") })?;
        Ok(Self { running, _runtime: runtime })
    }
}

/// A model in a folder.
struct Shared<'a> {
    setup: &'a Setup,
    model: &'a Model,
    folder: &'a Path,
}

impl Shared<'_> {
    fn start(&self, source: &str, question: &Question, server: &Running) -> (Report, String) {
        let variant = self.setup.variant(&[]);
        if source == SOURCES[0] {
            return question.cold(&variant, server, None);
        }
        self.local(question, &variant)
    }

    fn local(&self, question: &Question, variant: &Variant) -> (Report, String) {
        let folder = self.folder.to_str().expect("a path in UTF-8");
        start::timeline(&mut question.command(variant, folder))
    }

    fn tell(
        &self,
        source: &str,
        reports: &[Report],
        pinned_rate: Option<f64>,
        recorder: &mut Recorder,
    ) -> Result<()> {
        let row = format!("{} from {source}", self.model.name);
        let mut told =
            |column, value, limit| recorder.figure("starts", [&row, column], value, limit);
        let ttft = sorted(reports.iter().filter_map(|report| report.ttft_ms));
        let rates = sorted(reports.iter().map(arrival_rate));
        let (Some(slowest), Some(fastest)) = (ttft.last(), rates.last()) else {
            return Err(format!("{row}: no first token").into());
        };
        told(RATE, *fastest, pinned_rate)?;
        let context = median(&sorted(reports.iter().map(context_ms)));
        told(CONTEXT, context, None)?;
        let bytes = reports[0].weight_bytes as f64;
        let floor = pinned_rate.map(|pinned| bytes / 1e6 / fastest.min(pinned));
        if let Some(floor) = floor {
            told(FLOOR, floor, None)?;
        }
        told(TTFT, median(&ttft), floor)?;
        Ok(told(TTFT_MAX, *slowest, floor)?)
    }

    fn tell_boot(&self, reports: &[Report], recorder: &mut Recorder) -> Result<()> {
        let middle = |of: &dyn Fn(&Report) -> Option<f64>| {
            let values = sorted(reports.iter().filter_map(of));
            (!values.is_empty()).then(|| median(&values))
        };
        for label in BOOT_SPANS {
            let took = |report: &Report| boot(report, label).map(|(from, to)| to - from);
            if let Some(ms) = middle(&took) {
                recorder.figure("boot", [self.model.name, label], ms, None)?;
            }
        }
        let ready = |report: &Report| boot(report, "ring pinned").map(|(_, to)| to);
        if let Some(ms) = middle(&ready) {
            recorder.figure("boot", [self.model.name, READY], ms, None)?;
        }
        Ok(())
    }

    /// Tokens that follow each other, as the program makes them, with and without graphs where it knows them.
    fn tell_decode(&self, recorder: &mut Recorder) -> Result<()> {
        let question = question(u32::try_from(self.setup.sizes.decoded)?.max(2));
        let switch = self.setup.knows(GRAPHS_SWITCH)?;
        let settings = [(GRAPHS, "on"), (NO_GRAPHS, "off")];
        for (column, value) in settings.into_iter().take(if switch { 2 } else { 1 }) {
            let environment = [(GRAPHS_SWITCH, value)];
            let variant = self.setup.variant(if switch { &environment } else { &[] });
            let rates = (0..DECODES).map(|_| self.local(&question, &variant).0.tokens_per_s);
            let rates = sorted(rates.flatten());
            if !rates.is_empty() {
                recorder.figure("passes", [self.model.name, column], median(&rates), None)?;
            }
        }
        Ok(())
    }
}

fn question(max_tokens: u32) -> Question {
    Question { prompt: vec!["once"; PROMPT_WORDS].join(" "), max_tokens }
}

/// GB/s between the first byte of a weight and the last.
fn arrival_rate(report: &Report) -> f64 {
    let [first, last] =
        [Mark::FirstWeightByte, Mark::LastWeightByte].map(|mark| report.mark_ms(mark));
    let ms = last.zip(first).map_or(f64::NAN, |(last, first)| last - first);
    report.weight_bytes as f64 / 1e6 / ms.max(MOMENT_MS)
}

/// What of a start is the driver's, the device's and the kernels'.
fn context_ms(report: &Report) -> f64 {
    let took = |label| boot(report, label).map_or(0.0, |(from, to)| to - from);
    ["driver", "context", "kernels"].map(took).into_iter().sum()
}

/// When a span of the boot began and ended.
fn boot(report: &Report, label: &str) -> Option<(f64, f64)> {
    let span = report.spans.iter().find(|span| span.lane == Lane::Boot && span.label == label)?;
    Some((span.from_ms, span.to_ms))
}

/// Of a cold start: enough to see a wrong one.
const ANSWERED: u32 = 4;

const PROMPT_WORDS: usize = 32;

/// Processes whose decoding is measured.
const DECODES: usize = 3;

/// Weights that arrive at once have no rate.
const MOMENT_MS: f64 = 1e-3;

/// Of the program, where it records decode steps as graphs.
const GRAPHS_SWITCH: &str = "FIRSTLIGHT_CUDA_GRAPHS";
