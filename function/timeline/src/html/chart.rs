//! The lanes over time, as one SVG: boot, network, verify, copy (where there is a device to copy to), compute, and the
//! throughput beneath.
//!
//! The network is drawn as its connections were used: ranges packed into slots, pale until the first
//! byte. Where a stage's last byte arrives, a line leads down to the arithmetic on it.

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::axis::Axis;
use crate::html::curve::{BINS, Curve};
use crate::html::{Escaped, tip};
use crate::slot::{Packing, pack};
use crate::{FetchReport, Lane, Outcome, Report, SpanReport, unit};

/// The section of the page that holds the chart; nothing where nothing happened.
pub(crate) fn chart(report: &Report) -> String {
    if report.spans.is_empty() && report.fetches.is_empty() {
        return "<p class='nothing'>Nothing was recorded.</p>\n".to_owned();
    }
    let mut chart = Chart::new(report);
    chart.labelled(Lane::Boot);
    chart.network();
    chart.labelled(Lane::Verify);
    chart.copies();
    chart.compute();
    chart.throughput();
    chart.finish()
}

struct Chart<'a> {
    report: &'a Report,
    axis: Axis,
    /// What is drawn below the lanes' contents.
    back: String,
    /// The lanes' contents.
    front: String,
    /// The lanes' names, beside the drawing.
    gutter: String,
    /// Where the next lane begins.
    top: f64,
    /// Where the network's lane ends.
    network_bottom: f64,
}

impl<'a> Chart<'a> {
    fn new(report: &'a Report) -> Self {
        Self {
            report,
            axis: Axis::of(report),
            back: String::new(),
            front: String::new(),
            gutter: String::new(),
            top: HEAD_PX,
            network_bottom: HEAD_PX,
        }
    }

    /// A lane of few spans, each with its name beside it.
    fn labelled(&mut self, lane: Lane) {
        let spans: Vec<_> = self.report.spans.iter().filter(|span| span.lane == lane).collect();
        // A layer's check is named by its range already, and there may be a hundred of them.
        let name =
            |span: &SpanReport| if is_numbered(&span.label) { "" } else { &*span.label }.to_owned();
        let names: Vec<_> = spans.iter().map(|span| name(span)).collect();
        let with_names = spans.iter().zip(&names).map(|(span, name)| {
            let name_ms = name.chars().count() as f64 * CHAR_FRACTION * self.axis.end_ms;
            (span.from_ms, span.to_ms + name_ms)
        });
        let packing = pack(with_names);
        let top = self.lane(lane.name(), "", packing.count as f64 * LABELLED_PX);
        for ((span, name), slot) in spans.iter().zip(&names).zip(packing.slots) {
            let top = top + slot as f64 * LABELLED_PX;
            self.bar(span, top + 3.0, LABELLED_PX - 6.0);
            let _ = writeln!(
                self.front,
                "<text class='name' x='{}' dx='5' y='{:.1}'>{}</text>",
                self.percent(span.to_ms),
                top + LABELLED_PX - 5.0,
                Escaped(name),
            );
        }
    }

    /// Ranges in slots.
    fn network(&mut self) {
        let fetches = &self.report.fetches;
        let Packing { slots, count } =
            pack(fetches.iter().map(|fetch| (fetch.requested_ms, fetch.done_ms)));
        let slot_px = (NETWORK_PX / count.max(1) as f64).clamp(SLOT_MIN_PX, SLOT_MAX_PX);
        let note = if count > 0 { format!("{count} at once") } else { String::new() };
        let top = self.lane(Lane::Network.name(), &note, count as f64 * slot_px);
        let shades = shades(fetches);
        for (fetch, slot) in fetches.iter().zip(slots) {
            let shade = shades[fetch.stage.as_str()];
            self.range(fetch, shade, top + slot as f64 * slot_px, slot_px - gap_px(slot_px));
        }
        for span in self.report.spans.iter().filter(|span| span.lane == Lane::Network) {
            self.bar(span, top, slot_px);
        }
        self.network_bottom = self.top - LANE_PADDING_PX;
    }

    fn range(&mut self, fetch: &FetchReport, shade: usize, top: f64, height: f64) {
        let first_ms = fetch.first_byte_ms.unwrap_or(fetch.done_ms);
        let _ = write!(
            self.front,
            "<g class='range shade{shade} {}' data-stage='{}'><title>{}</title>",
            how(fetch),
            Escaped(&fetch.stage),
            Escaped(&tip::range(fetch)),
        );
        for (class, from_ms, to_ms) in
            [("wait", fetch.requested_ms, first_ms), ("receive", first_ms, fetch.done_ms)]
        {
            if to_ms > from_ms {
                let (x, width) = self.extent(from_ms, to_ms);
                let _ = write!(
                    self.front,
                    "<rect class='{class}' x='{x}' width='{width}' y='{top:.1}' \
                     height='{height:.1}'/>"
                );
            }
        }
        self.front += "</g>\n";
    }

    /// What is copied to a device, if anything is.
    fn copies(&mut self) {
        let spans: Vec<_> =
            self.report.spans.iter().filter(|span| span.lane == Lane::Copy).collect();
        if spans.is_empty() {
            return;
        }
        let packing = pack(spans.iter().map(|span| (span.from_ms, span.to_ms)));
        let slot_px = (COPIES_PX / packing.count as f64).clamp(SLOT_MIN_PX, SLOT_MAX_PX);
        let top = self.lane(Lane::Copy.name(), "", packing.count as f64 * slot_px);
        for (span, slot) in spans.into_iter().zip(packing.slots) {
            self.bar(span, top + slot as f64 * slot_px, slot_px - gap_px(slot_px));
        }
    }

    /// The arithmetic, and the lines that lead to it from the last byte of the same stage.
    fn compute(&mut self) {
        let spans: Vec<_> =
            self.report.spans.iter().filter(|span| span.lane == Lane::Compute).collect();
        let packing = pack(spans.iter().map(|span| (span.from_ms, span.to_ms)));
        let top = self.lane(Lane::Compute.name(), "", packing.count as f64 * COMPUTE_PX);
        let resident = resident_ms(&self.report.fetches);
        for (span, slot) in spans.into_iter().zip(packing.slots) {
            let top = top + slot as f64 * COMPUTE_PX;
            self.bar(span, top, COMPUTE_PX - 2.0);
            self.inner_name(span, top + COMPUTE_PX / 2.0 + 3.0);
            if let Some(resident_ms) = resident.get(span.label.as_str()) {
                self.link(&span.label, *resident_ms, span.from_ms, top);
            }
        }
    }

    /// The name of a span within it, where it has room.
    fn inner_name(&mut self, span: &SpanReport, y: f64) {
        let width = self.axis.fraction(span.to_ms) - self.axis.fraction(span.from_ms);
        if width > span.label.chars().count() as f64 * CHAR_FRACTION {
            let x = self.percent(span.from_ms);
            let label = Escaped(&span.label);
            let _ = writeln!(
                self.front,
                "<text class='inner' x='{x}' dx='5' y='{y:.1}'>{label}</text>"
            );
        }
    }

    fn link(&mut self, stage: &str, resident_ms: f64, from_ms: f64, top: f64) {
        let (x1, x2) = (self.percent(resident_ms), self.percent(from_ms));
        let bottom = self.network_bottom;
        let _ = writeln!(
            self.front,
            "<g class='link' data-stage='{}'><circle cx='{x1}' cy='{bottom:.1}' r='2'/>\
             <line x1='{x1}' y1='{bottom:.1}' x2='{x2}' y2='{top:.1}'/></g>",
            Escaped(stage),
        );
    }

    fn bar(&mut self, span: &SpanReport, top: f64, height: f64) {
        let (x, width) = self.extent(span.from_ms, span.to_ms);
        let _ = writeln!(
            self.front,
            "<g class='span {}' data-stage='{}'><title>{}</title>\
             <rect x='{x}' width='{width}' y='{top:.1}' height='{height:.1}'/></g>",
            span.lane.name(),
            Escaped(&span.label),
            Escaped(&tip::span(span)),
        );
    }

    /// Bytes a second over time, and the link's rate where it is known.
    fn throughput(&mut self) {
        let curve = Curve::of(&self.report.fetches, self.axis);
        let peak = curve.peak();
        if peak <= 0.0 {
            return;
        }
        let link = self.report.link_bytes_per_s.map(|rate| rate as f64);
        let full = peak.max(link.unwrap_or(0.0)) * HEADROOM;
        let top = self.lane("throughput", &format!("peak {}", unit::rate(peak)), CURVE_PX);
        let _ = writeln!(
            self.front,
            "<svg class='curve' x='0' y='{top:.1}' width='100%' height='{CURVE_PX}' \
             viewBox='0 0 {BINS} 100' preserveAspectRatio='none'><path d='{}'/></svg>",
            curve.outline(full),
        );
        if let Some(link) = link {
            let y = top + CURVE_PX * (1.0 - link / full);
            let _ = writeln!(
                self.front,
                "<line class='rate' x1='0' x2='100%' y1='{y:.1}' y2='{y:.1}'/>\
                 <text class='rate' x='100%' dx='-4' y='{:.1}'>link {}</text>",
                y - 4.0,
                unit::rate(link),
            );
        }
    }

    /// Begins a lane of `height` and gives the top of its contents.
    fn lane(&mut self, name: &str, note: &str, height: f64) -> f64 {
        let top = self.top;
        let height = height.max(LANE_MIN_PX) + 2.0 * LANE_PADDING_PX;
        let _ = writeln!(
            self.back,
            "<rect class='lane' x='0' width='100%' y='{top:.1}' height='{height:.1}'/>"
        );
        let (name_y, note_y) = (top + NAME_BASE_PX, top + NOTE_BASE_PX);
        let _ = writeln!(
            self.gutter,
            "<text class='lane-name {name}' y='{name_y:.1}'>{name}</text>\
             <text class='note' y='{note_y:.1}'>{note}</text>"
        );
        self.top += height + LANE_GAP_PX;
        top + LANE_PADDING_PX
    }

    /// Round times, marks, the floor and the first token: across all lanes.
    fn finish(mut self) -> String {
        let bottom = self.top - LANE_GAP_PX;
        self.ticks(bottom);
        self.marks();
        self.moment("floor", self.report.floor_ms, bottom);
        self.moment("ttft", self.report.ttft_ms, bottom);
        self.section(bottom)
    }

    fn ticks(&mut self, bottom: f64) {
        for (ms, label) in self.axis.ticks(TICKS) {
            let x = self.percent(ms);
            let label = if self.axis.fraction(ms) > TICK_LABEL_MAX { "" } else { &label };
            let _ = writeln!(
                self.back,
                "<line class='grid' x1='{x}' x2='{x}' y1='18' y2='{bottom:.1}'/>\
                 <text class='tick' x='{x}' dx='3' y='12'>{label}</text>"
            );
        }
    }

    fn marks(&mut self) {
        for (mark, ms) in &self.report.marks_ms {
            if *ms <= self.axis.end_ms {
                let _ = writeln!(
                    self.front,
                    "<circle class='mark' cx='{}' cy='{MARKS_PX}' r='4'>\
                     <title>{}\n{}</title></circle>",
                    self.percent(*ms),
                    mark.name(),
                    unit::duration(*ms),
                );
            }
        }
    }

    /// A line through all lanes: the floor's label stands before it, the first token's behind it.
    fn moment(&mut self, class: &str, ms: Option<f64>, bottom: f64) {
        let Some(ms) = ms.filter(|ms| *ms <= self.axis.end_ms) else { return };
        let (name, anchor, dx) =
            if class == "floor" { ("floor", "end", -6) } else { ("TTFT", "start", 6) };
        let x = self.percent(ms);
        let _ = writeln!(
            self.front,
            "<line class='{class}' x1='{x}' x2='{x}' y1='{LINES_PX}' y2='{bottom:.1}'/>\
             <text class='{class}' x='{x}' dx='{dx}' y='{LABELS_PX}' text-anchor='{anchor}'>\
             {name} {}</text>",
            unit::duration(ms),
        );
    }

    fn section(&self, height: f64) -> String {
        let spoken = spoken(self.report);
        format!(
            "<section class='chart' aria-label='Timeline'>\n\
             <div class='tools' hidden><button data-zoom='0.5' aria-label='Zoom out'>−</button>\
             <button data-zoom='0'>fit</button>\
             <button data-zoom='2' aria-label='Zoom in'>+</button></div>\n\
             <div class='lanes'>\n<svg class='gutter' aria-hidden='true' height='{height:.0}'>\n{}\
             </svg>\n\
             <div class='scroll' tabindex='0'>\n\
             <svg class='plot' role='img' aria-label='{}' height='{height:.0}'>\n{HATCHES}{}{}\
             </svg>\n</div>\n</div>\n{}</section>\n",
            self.gutter,
            Escaped(&spoken),
            self.back,
            self.front,
            legend(self.report),
        )
    }

    fn percent(&self, ms: f64) -> String {
        format!("{:.3}%", self.axis.fraction(ms) * 100.0)
    }

    /// Where a bar begins and how wide it is.
    fn extent(&self, from_ms: f64, to_ms: f64) -> (String, String) {
        let width = (self.axis.fraction(to_ms) - self.axis.fraction(from_ms)).max(0.0);
        (self.percent(from_ms), format!("{:.3}%", width * 100.0))
    }
}

/// What a reader who does not see the chart is told; the tables say the rest.
fn spoken(report: &Report) -> String {
    let ranges = unit::count(report.fetches.len() as u64, "range", "ranges");
    let end = report.ttft_ms.map_or("no first token".to_owned(), |ttft_ms| {
        format!("first token after {}", unit::duration(ttft_ms))
    });
    format!("Timeline of a cold start: {ranges} from the network, {end}. Tables follow.")
}

/// The signs, those of trouble only where there was some.
fn legend(report: &Report) -> String {
    let mut legend = String::new();
    let mut entry = |class: &str, says: &str| {
        let _ = writeln!(
            legend,
            "<li><svg width='18' height='11' aria-hidden='true'><g class='{class}'>\
             <rect class='{}' width='18' height='11'/></g></svg>{says}</li>",
            class.rsplit(' ').next().unwrap_or_default(),
        );
    };
    if !report.fetches.is_empty() {
        entry("range shade0 wait", "waiting for the first byte");
        entry("range shade0 receive", "receiving");
    }
    for (class, says) in TROUBLES {
        if report.fetches.iter().any(|fetch| how(fetch) == class) {
            entry(&format!("range {class} receive"), says);
        }
    }
    for (lane, says) in [
        (Lane::Boot, "booting"),
        (Lane::Verify, "checking, parsing"),
        (Lane::Copy, "copying to the device"),
        (Lane::Compute, "computing"),
    ] {
        if report.spans.iter().any(|span| span.lane == lane) {
            entry(&format!("span {}", lane.name()), says);
        }
    }
    format!("<ul class='legend'>\n{legend}</ul>\n")
}

/// How an attempt is drawn: its trouble, if it had any.
fn how(fetch: &FetchReport) -> &'static str {
    match fetch.outcome {
        Outcome::Failed(_) => "failed",
        Outcome::Retried(_) => "retried",
        Outcome::Stalled => "stalled",
        Outcome::Lost => "lost",
        Outcome::Complete if fetch.hedge => "hedge",
        Outcome::Complete if fetch.attempt > 1 => "again",
        Outcome::Complete => "",
    }
}

/// Neighbouring stages differ in shade.
fn shades(fetches: &[FetchReport]) -> HashMap<&str, usize> {
    let mut shades = HashMap::new();
    for fetch in fetches {
        let next = shades.len() % 2;
        shades.entry(fetch.stage.as_str()).or_insert(next);
    }
    shades
}

/// When the last byte of each stage was there.
fn resident_ms(fetches: &[FetchReport]) -> HashMap<&str, f64> {
    let mut resident = HashMap::new();
    for fetch in fetches.iter().filter(|fetch| fetch.outcome == Outcome::Complete) {
        let last_ms = resident.entry(fetch.stage.as_str()).or_insert(fetch.done_ms);
        *last_ms = fetch.done_ms.max(*last_ms);
    }
    resident
}

/// Whether `label` is one of a series, `layer 7`.
fn is_numbered(label: &str) -> bool {
    label.rsplit_once(' ').is_some_and(|(_, n)| n.parse::<u64>().is_ok())
}

/// Slots are kept apart where they are high enough.
fn gap_px(slot_px: f64) -> f64 {
    if slot_px >= 5.0 { 1.0 } else { 0.0 }
}

const TROUBLES: [(&str, &str); 6] = [
    ("retried", "cut off, retried"),
    ("again", "the retry"),
    ("stalled", "stalled"),
    ("lost", "overtaken by a hedge"),
    ("hedge", "the hedge that won"),
    ("failed", "failed"),
];

/// Stripes over the ranges that had trouble, so that they do not differ by colour alone.
const HATCHES: &str = "<defs>\
<pattern id='rising' width='6' height='6' patternUnits='userSpaceOnUse' \
patternTransform='rotate(45)'><rect class='base' width='6' height='6'/>\
<rect class='stripe' width='3' height='6'/></pattern>\
<pattern id='falling' width='6' height='6' patternUnits='userSpaceOnUse' \
patternTransform='rotate(-45)'><rect class='base' width='6' height='6'/>\
<rect class='stripe' width='3' height='6'/></pattern></defs>\n";

/// Above the lanes: times, marks, and the labels of the floor and of the first token.
const HEAD_PX: f64 = 54.0;
const MARKS_PX: f64 = 26.0;
const LABELS_PX: f64 = 46.0;
const LINES_PX: f64 = 36.0;
const LABELLED_PX: f64 = 17.0;
const COMPUTE_PX: f64 = 24.0;
const CURVE_PX: f64 = 72.0;
/// The network's lane grows to this height and then its slots shrink,
const NETWORK_PX: f64 = 260.0;
/// but not below what can be pointed at.
const SLOT_MIN_PX: f64 = 3.0;
const SLOT_MAX_PX: f64 = 14.0;
/// Copies are short, and half a ring of them may be queued at once.
const COPIES_PX: f64 = 60.0;
/// A lane's name and its note,
const LANE_MIN_PX: f64 = 24.0;
/// whose text stands on these lines, below the top of the lane.
const NAME_BASE_PX: f64 = 18.0;
const NOTE_BASE_PX: f64 = 32.0;
const LANE_PADDING_PX: f64 = 6.0;
const LANE_GAP_PX: f64 = 4.0;
/// A character of a name is about 7 px wide, and the drawing at least 760.
const CHAR_FRACTION: f64 = 7.0 / 760.0;
const TICKS: usize = 10;
/// A label further right would be cut off.
const TICK_LABEL_MAX: f64 = 0.95;
/// The curve leaves room for the link's label.
const HEADROOM: f64 = 1.3;
