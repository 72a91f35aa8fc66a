//! A report joined by name: one row for each stage of the network with the work on the same bytes,
//! and one for every other piece of work, in the order in which things begin.
//!
//! A long series (`layer 0` to `layer 79`) is folded: its ends stay, its middle becomes a few rows.

use std::collections::HashMap;

use crate::{FetchReport, Lane, Outcome, Report};

/// Everything of one name.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) label: String,
    pub(crate) bars: Vec<Bar>,
    /// Bytes received.
    pub(crate) bytes: u64,
    pub(crate) requests: u64,
    /// Attempts that failed, stalled or were overtaken.
    pub(crate) retries: u64,
    /// Attempts that doubled another.
    pub(crate) hedges: u64,
}

/// A stretch of time in which one kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bar {
    pub(crate) kind: Kind,
    pub(crate) from_ms: f64,
    pub(crate) to_ms: f64,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A request was sent and nothing came back yet.
    Wait,
    /// Bytes arrived.
    Receive,
    /// This process worked.
    Work(Lane),
}

impl Row {
    /// The rows of `report`: getting ready first, then by their beginning.
    pub(crate) fn all(report: &Report) -> Vec<Self> {
        let mut rows = Rows::default();
        for fetch in &report.fetches {
            rows.named(&fetch.stage).fetch(fetch);
        }
        for span in &report.spans {
            rows.named(&span.label).work(span.lane, span.from_ms, span.to_ms);
        }
        let mut rows = rows.rows;
        rows.sort_by(|a, b| {
            let boot_first = b.is_boot().cmp(&a.is_boot());
            boot_first.then(a.begin_ms().total_cmp(&b.begin_ms()))
        });
        rows
    }

    /// `rows` with the middle of every long series folded into a few rows.
    pub(crate) fn folded(rows: &[Self]) -> Vec<Self> {
        let mut folded = Vec::new();
        for series in rows.chunk_by(Self::is_followed_by) {
            if series.len() <= SERIES_MAX {
                folded.extend_from_slice(series);
                continue;
            }
            let (first, rest) = series.split_at(SERIES_FIRST);
            let (middle, last) = rest.split_at(rest.len() - SERIES_LAST);
            folded.extend_from_slice(first);
            folded.extend(middle.chunks(middle.len().div_ceil(SERIES_GROUPS)).map(Self::merged));
            folded.extend_from_slice(last);
        }
        folded
    }

    /// `rows` with getting ready as one row, where all of it takes less than `least_ms`.
    pub(crate) fn boot_folded(mut rows: Vec<Self>, least_ms: f64) -> Vec<Self> {
        let boot = rows.iter().take_while(|row| row.is_boot()).count();
        let to_ms = rows[..boot].iter().map(Self::end_ms).fold(0.0, f64::max);
        if boot > 1 && to_ms < least_ms {
            let merged = Self { label: "boot".to_owned(), ..Self::merged(&rows[..boot]) };
            rows.splice(..boot, [merged]);
        }
        rows
    }

    /// When it began.
    pub(crate) fn begin_ms(&self) -> f64 {
        self.bars.iter().map(|bar| bar.from_ms).fold(f64::INFINITY, f64::min)
    }

    /// When it ended.
    pub(crate) fn end_ms(&self) -> f64 {
        self.bars.iter().map(|bar| bar.to_ms).fold(0.0, f64::max)
    }

    /// The first and the last moment of the bars of `kinds`.
    pub(crate) fn extent(&self, kinds: impl Fn(Kind) -> bool) -> Option<(f64, f64)> {
        self.bars.iter().filter(|bar| kinds(bar.kind)).fold(None, |extent, bar| {
            let (from_ms, to_ms) = extent.unwrap_or((bar.from_ms, bar.to_ms));
            Some((from_ms.min(bar.from_ms), to_ms.max(bar.to_ms)))
        })
    }

    /// The time that its own work took.
    pub(crate) fn work_ms(&self) -> f64 {
        let work = self.bars.iter().filter(|bar| matches!(bar.kind, Kind::Work(_)));
        work.map(|bar| bar.to_ms - bar.from_ms).sum()
    }

    /// Bytes a second from its first byte to its last.
    pub(crate) fn bytes_per_s(&self) -> Option<f64> {
        let (from_ms, to_ms) = self.extent(|kind| kind == Kind::Receive)?;
        let rate = self.bytes as f64 * 1e3 / (to_ms - from_ms);
        (self.bytes > 0 && rate.is_finite()).then_some(rate)
    }

    fn is_boot(&self) -> bool {
        self.bars.iter().all(|bar| bar.kind == Kind::Work(Lane::Boot))
    }

    fn work(&mut self, lane: Lane, from_ms: f64, to_ms: f64) {
        self.bars.push(Bar { kind: Kind::Work(lane), from_ms, to_ms });
    }

    fn fetch(&mut self, fetch: &FetchReport) {
        let first_ms = fetch.first_byte_ms.unwrap_or(fetch.done_ms);
        self.bars.push(Bar { kind: Kind::Wait, from_ms: fetch.requested_ms, to_ms: first_ms });
        if fetch.first_byte_ms.is_some() {
            self.bars.push(Bar { kind: Kind::Receive, from_ms: first_ms, to_ms: fetch.done_ms });
        }
        self.bytes = self.bytes.saturating_add(fetch.bytes);
        self.requests += 1;
        self.hedges += u64::from(fetch.hedge);
        let again = matches!(fetch.outcome, Outcome::Retried(_) | Outcome::Stalled);
        self.retries += u64::from(again);
    }

    fn is_followed_by(&self, next: &Self) -> bool {
        match (series(&self.label), series(&next.label)) {
            (Some((stem, n)), Some((next_stem, next_n))) => {
                stem == next_stem && n.checked_add(1) == Some(next_n)
            }
            _ => false,
        }
    }

    fn merged(rows: &[Self]) -> Self {
        let (first, rest) = rows.split_first().expect("chunks are not empty");
        let mut merged = first.clone();
        for row in rest {
            merged.bars.extend_from_slice(&row.bars);
            merged.bytes = merged.bytes.saturating_add(row.bytes);
            merged.requests += row.requests;
            merged.retries += row.retries;
            merged.hedges += row.hedges;
        }
        if let Some((_, last)) = rest.last().and_then(|row| series(&row.label)) {
            merged.label = format!("{}–{last}", first.label);
        }
        merged
    }
}

/// Rows by name, in the order in which the names appear.
#[derive(Default)]
struct Rows {
    rows: Vec<Row>,
    index: HashMap<String, usize>,
}

impl Rows {
    fn named(&mut self, label: &str) -> &mut Row {
        let index = *self.index.entry(label.to_owned()).or_insert_with(|| {
            self.rows.push(Row {
                label: label.to_owned(),
                bars: Vec::new(),
                bytes: 0,
                requests: 0,
                retries: 0,
                hedges: 0,
            });
            self.rows.len() - 1
        });
        &mut self.rows[index]
    }
}

/// `layer 7` is number 7 of the series `layer`.
fn series(label: &str) -> Option<(&str, u64)> {
    let (stem, number) = label.rsplit_once(' ')?;
    Some((stem, number.parse().ok()?))
}

/// A series of at most so many rows is shown whole.
const SERIES_MAX: usize = 12;
/// Of a longer one the first rows show how the stream begins,
const SERIES_FIRST: usize = 3;
/// the last ones how it ends,
const SERIES_LAST: usize = 2;
/// and the middle is told in so many.
const SERIES_GROUPS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SpanReport;

    fn report(labels: impl IntoIterator<Item = (Lane, String)>) -> Report {
        let span = |(n, (lane, label)): (usize, (Lane, String))| SpanReport {
            lane,
            label,
            from_ms: n as f64,
            to_ms: n as f64 + 0.5,
            bytes: None,
        };
        let spans = labels.into_iter().enumerate().map(span).collect();
        Report { spans, ..Report::default() }
    }

    fn labels(rows: &[Row]) -> Vec<&str> {
        rows.iter().map(|row| row.label.as_str()).collect()
    }

    #[test]
    fn spans_of_one_name_share_a_row() {
        let report = report([
            (Lane::Verify, "headers".to_owned()),
            (Lane::Boot, "runtime".to_owned()),
            (Lane::Compute, "headers".to_owned()),
        ]);
        let rows = Row::all(&report);
        assert_eq!(labels(&rows), ["runtime", "headers"]);
        assert_eq!(rows[1].bars.len(), 2);
        assert_eq!((rows[1].begin_ms(), rows[1].end_ms()), (0.0, 2.5));
    }

    #[test]
    fn a_short_series_stays_whole_and_a_long_one_keeps_its_ends() {
        let layers = |n: u64| report((0..n).map(|k| (Lane::Compute, format!("layer {k}"))));
        assert_eq!(Row::folded(&Row::all(&layers(12))).len(), 12);
        let rows = Row::folded(&Row::all(&layers(24)));
        assert_eq!(
            labels(&rows),
            [
                "layer 0",
                "layer 1",
                "layer 2",
                "layer 3–7",
                "layer 8–12",
                "layer 13–17",
                "layer 18–21",
                "layer 22",
                "layer 23"
            ]
        );
        assert_eq!(rows.iter().map(|row| row.bars.len()).sum::<usize>(), 24);
    }

    #[test]
    fn a_series_is_broken_by_a_gap_and_by_another_name() {
        assert_eq!(series("layer 7"), Some(("layer", 7)));
        assert_eq!(series("head"), None);
        assert_eq!(series("the head"), None);
        let rows = Row::all(&report([
            (Lane::Compute, "layer 0".to_owned()),
            (Lane::Compute, "layer 2".to_owned()),
        ]));
        assert!(!rows[0].is_followed_by(&rows[1]));
    }
}
