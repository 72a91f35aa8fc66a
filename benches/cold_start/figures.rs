//! The figures of a run, in the order in which they are shown: what was reached when, then what it cost.

use crate::record::Record;

/// A row of every table.
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    /// NaN where it is not known.
    pub(crate) of: fn(&Record) -> f64,
}

/// All of them.
pub(crate) const FIGURES: [Figure; 18] = [
    Figure { name: "first request", of: |run| run.mark_ms("first request") },
    Figure { name: "config read", of: |run| run.mark_ms("config read") },
    Figure { name: "headers read", of: |run| run.mark_ms("headers read") },
    Figure { name: "planned", of: |run| run.mark_ms("planned") },
    Figure { name: "tokenizer ready", of: |run| run.mark_ms("tokenizer ready") },
    Figure { name: "first weight byte", of: |run| run.mark_ms("first weight byte") },
    Figure { name: "first layer resident", of: |run| run.mark_ms("first layer resident") },
    Figure { name: "first layer computed", of: |run| run.mark_ms("first layer computed") },
    Figure { name: "last weight byte", of: |run| run.mark_ms("last weight byte") },
    Figure { name: "first token", of: Record::ttft_ms },
    Figure { name: "TTFT / floor", of: Record::over_floor },
    Figure { name: "requests", of: |run| run.counted("requests") },
    Figure { name: "retries", of: |run| run.counted("retries") },
    Figure { name: "stalls", of: |run| run.counted("stalls") },
    Figure { name: "hedges", of: |run| run.counted("hedges") },
    Figure { name: "bytes twice, %", of: bytes_twice_percent },
    Figure { name: "CPU ms", of: |run| run.cpu_ms.unwrap_or(f64::NAN) },
    Figure { name: "peak RSS - weights, MB", of: rss_beside_weights_mb },
];

/// Of the weights' bytes, what was received a second time.
fn bytes_twice_percent(run: &Record) -> f64 {
    run.counted("bytes twice") * 100.0 / run.weight_bytes as f64
}

fn rss_beside_weights_mb(run: &Record) -> f64 {
    (run.peak_rss_bytes.unwrap_or(f64::NAN) - run.weight_bytes as f64) / 1e6
}
