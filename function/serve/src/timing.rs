//! What a cold start took, on the answers that waited for it: `Server-Timing`, which browsers and
//! tracing tools show beside the request (<https://www.w3.org/TR/server-timing/>).

use axum::http::{HeaderMap, HeaderValue};
use firstlight_timeline::{Mark, Report, Timeline};

/// Tells what is known by now.
pub(crate) fn tell(timeline: &Timeline, headers: &mut HeaderMap) {
    let timing = server_timing(&timeline.report());
    if let Some(value) = HeaderValue::try_from(timing).ok().filter(|value| !value.is_empty()) {
        headers.insert("server-timing", value);
    }
}

/// The parts of the time to the first token, and then all of it.
fn server_timing(report: &Report) -> String {
    let split = report.split.as_ref();
    let metrics = [
        (
            "before",
            "process start to the first weight",
            split.map(|it| it.before_first_weight_byte_ms),
        ),
        ("streaming", "first weight to the last", split.map(|it| it.streaming_ms)),
        ("after", "last weight to the first token", split.map(|it| it.after_last_weight_byte_ms)),
        ("tokenizer", "process start to the tokenizer", report.mark_ms(Mark::TokenizerReady)),
        ("ttft", "process start to the first token", report.ttft_ms),
    ];
    let known = metrics.into_iter().filter_map(|(name, text, ms)| Some((name, text, ms?)));
    let written = known.map(|(name, text, ms)| format!("{name};desc=\"{text}\";dur={ms}"));
    written.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use firstlight_timeline::At;

    use super::*;

    #[test]
    fn what_is_known_is_told_in_milliseconds() {
        let timeline = Timeline::start(None);
        assert_eq!(server_timing(&timeline.report()), "");
        let marks = [
            (Mark::FirstWeightByte, 2_000_000),
            (Mark::LastWeightByte, 5_500_000),
            (Mark::FirstToken, 6_000_000),
        ];
        for (mark, ns) in marks {
            timeline.mark_at(mark, At::from_ns(ns));
        }
        let told = server_timing(&timeline.report());
        assert_eq!(
            told,
            "before;desc=\"process start to the first weight\";dur=2, \
             streaming;desc=\"first weight to the last\";dur=3.5, \
             after;desc=\"last weight to the first token\";dur=0.5, \
             ttft;desc=\"process start to the first token\";dur=6"
        );
    }
}
