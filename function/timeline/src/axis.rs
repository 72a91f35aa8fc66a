//! The time axis of a picture: how far it reaches, and its round ticks.

use crate::{Mark, Report, unit};

/// The time axis of a picture, from t0 to `end_ms`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    /// More than zero.
    pub(crate) end_ms: f64,
}

impl Axis {
    /// An axis for `report`.
    ///
    /// The picture is of the start. What follows the first token is shown in full only where it is
    /// short; otherwise it is cut, with enough of it left to be seen.
    pub(crate) fn of(report: &Report) -> Self {
        let last_ms = last_ms(report);
        let end_ms = match report.ttft_ms {
            Some(ttft_ms) if last_ms > ttft_ms * SHORT_TAIL => ttft_ms * CUT_TAIL,
            Some(ttft_ms) => (last_ms * MARGIN).max(ttft_ms * CUT_TAIL),
            None => last_ms * MARGIN,
        };
        Self { end_ms: end_ms.clamp(SHORTEST_MS, LONGEST_MS) }
    }

    /// Where `ms` lies, 0 to 1.
    pub(crate) fn fraction(self, ms: f64) -> f64 {
        (ms / self.end_ms).clamp(0.0, 1.0)
    }

    /// At most `count` round times and their labels, zero first.
    pub(crate) fn ticks(self, count: usize) -> Vec<(f64, String)> {
        let step_ms = round_up(self.end_ms / count.max(1) as f64);
        (0..=count)
            .map(|n| n as f64 * step_ms)
            .take_while(|ms| *ms < self.end_ms)
            .map(|ms| (ms, tick_label(ms, step_ms)))
            .collect()
    }
}

fn last_ms(report: &Report) -> f64 {
    let spans = report.spans.iter().map(|span| span.to_ms);
    let fetches = report.fetches.iter().map(|fetch| fetch.done_ms);
    let marks = Mark::ALL.into_iter().filter_map(|mark| report.mark_ms(mark));
    spans.chain(fetches).chain(marks).fold(0.0, f64::max)
}

/// The next of 1, 2, 5, 10, 20, …
fn round_up(step: f64) -> f64 {
    let decade = 10_f64.powf(step.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * decade >= step);
    factor.unwrap_or(10.0) * decade
}

fn tick_label(ms: f64, step_ms: f64) -> String {
    match (ms, step_ms) {
        (0.0, _) => "0".to_owned(),
        (_, step_ms) if step_ms >= 1e3 => format!("{:.0} s", ms / 1e3),
        (_, step_ms) if step_ms >= 100.0 && ms >= 1e3 => format!("{:.1} s", ms / 1e3),
        (_, step_ms) if step_ms >= 1.0 => format!("{ms:.0} ms"),
        _ => unit::duration(ms),
    }
}

/// A tail of at most a quarter of the start is drawn in full.
const SHORT_TAIL: f64 = 1.25;
/// Behind the first token there is at least so much, in which its label has room.
const CUT_TAIL: f64 = 1.12;
/// Room for the label of what happens last.
const MARGIN: f64 = 1.04;
/// An axis has an extent even where nothing happened.
const SHORTEST_MS: f64 = 1.0;
/// A year: beyond it a report is damaged.
const LONGEST_MS: f64 = 3.2e10;

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(end_ms: f64, count: usize) -> Vec<String> {
        Axis { end_ms }.ticks(count).into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round_and_no_more_than_asked_for() {
        assert_eq!(labels(8_600.0, 5), ["0", "2 s", "4 s", "6 s", "8 s"]);
        assert_eq!(
            labels(1_450.0, 8),
            ["0", "200 ms", "400 ms", "600 ms", "800 ms", "1.0 s", "1.2 s", "1.4 s"]
        );
        assert_eq!(labels(43.0, 4), ["0", "20 ms", "40 ms"]);
        assert_eq!(labels(1.0, 2), ["0", "0.50 ms"]);
    }

    #[test]
    fn a_report_of_nothing_has_an_axis() {
        let axis = Axis::of(&Report::default());
        assert!(axis.end_ms > 0.0);
        assert_eq!([0.0, axis.end_ms].map(|ms| axis.fraction(ms).to_string()), ["0", "1"]);
    }

    #[test]
    fn a_long_decode_does_not_squeeze_the_start() {
        let mut report = Report { ttft_ms: Some(1_000.0), ..Report::default() };
        report.marks_ms.insert(Mark::LastToken, 60_000.0);
        assert!(Axis::of(&report).end_ms < 1_200.0);
        report.marks_ms.insert(Mark::LastToken, 1_100.0);
        assert!(Axis::of(&report).end_ms > 1_100.0);
    }
}
