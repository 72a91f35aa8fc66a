//! What a piece of the chart says when it is pointed at. The first line is its name.

use std::fmt::Write as _;

use crate::{FetchReport, Outcome, SpanReport, unit};

/// What is said of an attempt at a range.
pub(crate) fn range(fetch: &FetchReport) -> String {
    let took_ms = fetch.done_ms - fetch.requested_ms;
    let mut tip = format!(
        "{}: {} in {}\n{} [{}, {})\nrequested at {}",
        fetch.stage,
        unit::bytes(fetch.bytes),
        unit::duration(took_ms),
        fetch.object,
        fetch.start_byte,
        fetch.end_byte,
        unit::duration(fetch.requested_ms),
    );
    if let Some(first_ms) = fetch.first_byte_ms {
        let _ = write!(tip, "\nfirst byte after {}", unit::duration(first_ms - fetch.requested_ms));
        let rate = fetch.bytes as f64 * 1e3 / (fetch.done_ms - first_ms);
        if rate.is_finite() {
            let _ = write!(tip, ", then {}", unit::rate(rate));
        }
    }
    if fetch.attempt > 1 || fetch.hedge {
        let hedge = if fetch.hedge { ", a hedge" } else { "" };
        let _ = write!(tip, "\nattempt {}{hedge}", fetch.attempt);
    }
    match &fetch.outcome {
        Outcome::Complete => tip,
        Outcome::Retried(why) => tip + "\nretried: " + why,
        Outcome::Stalled => tip + "\nstalled, and was given up",
        Outcome::Lost => tip + "\nlost against another attempt",
        Outcome::Failed(why) => tip + "\nfailed: " + why,
    }
}

/// What is said of a piece of work.
pub(crate) fn span(span: &SpanReport) -> String {
    let bytes = span.bytes.map(|bytes| format!(", {}", unit::bytes(bytes))).unwrap_or_default();
    format!(
        "{}: {}{bytes}\n{}, from {} to {}",
        span.label,
        unit::duration(span.to_ms - span.from_ms),
        span.lane.name(),
        unit::duration(span.from_ms),
        unit::duration(span.to_ms),
    )
}
