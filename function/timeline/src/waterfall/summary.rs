//! What stands below the picture: the figures that matter, each with its name.

use std::fmt::Write as _;

use super::text::printable;
use crate::{Counter, Mark, Outcome, Report, unit};

/// The closing lines: a name and its figures. What is not known is left out.
pub(crate) fn lines(report: &Report) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if let Some(ttft_ms) = report.ttft_ms {
        let mut text = unit::duration(ttft_ms);
        if let Some((floor_ms, ratio)) = report.floor_ms.zip(report.ttft_over_floor) {
            let link = report.link_bytes_per_s.unwrap_or_default() as f64;
            let _ = write!(
                text,
                " = {ratio:.3} × the floor of {} ({} at {})",
                unit::duration(floor_ms),
                unit::bytes(report.weight_bytes),
                unit::rate(link),
            );
        }
        lines.push(("TTFT", text));
    }
    lines.extend(report.split.map(|split| {
        let text = format!(
            "{} to first weight · {} streaming · {} after the last",
            unit::duration(split.before_first_weight_byte_ms),
            unit::duration(split.streaming_ms),
            unit::duration(split.after_last_weight_byte_ms),
        );
        ("", text)
    }));
    lines.extend(network_line(report).map(|text| ("network", text)));
    lines.extend(decode_line(report).map(|text| ("decode", text)));
    lines
}

/// Why a start has no first token, where the network is to blame.
pub(crate) fn failure(report: &Report) -> Option<String> {
    report.fetches.iter().find_map(|fetch| match &fetch.outcome {
        Outcome::Failed(why) => {
            Some(format!("{} failed, {}", printable(&fetch.object), printable(why)))
        }
        _ => None,
    })
}

fn network_line(report: &Report) -> Option<String> {
    let bytes = report.counter(Counter::BytesFetched);
    let requests = report.counter(Counter::Requests);
    if requests == 0 {
        return None;
    }
    let mut parts = vec![unit::bytes(bytes)];
    parts.extend(report.gb_per_s.map(|rate| format!("at {rate:.3} GB/s")));
    let mut text = parts.join(" ");
    for (counter, one, many) in [
        (Counter::Requests, "request", "requests"),
        (Counter::Retries, "retry", "retries"),
        (Counter::Stalls, "stall", "stalls"),
        (Counter::Hedges, "hedge", "hedges"),
    ] {
        let n = report.counter(counter);
        if n > 0 || counter != Counter::Stalls {
            let _ = write!(text, " · {}", unit::count(n, one, many));
        }
    }
    Some(text)
}

fn decode_line(report: &Report) -> Option<String> {
    let tokens = report.counter(Counter::Tokens);
    let rate = report.tokens_per_s?;
    let last_ms = report.mark_ms(Mark::LastToken)?;
    let took = unit::duration(last_ms - report.ttft_ms?);
    Some(format!("{} · {rate:.1} tokens/s · {took}", unit::count(tokens, "token", "tokens")))
}
