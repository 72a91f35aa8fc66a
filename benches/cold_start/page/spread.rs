//! How the runs of all sets are spread: the share of starts that have a first token by a time, and each start's ratio
//! to the floor.

use std::fmt::Write as _;

use firstlight_timeline::{Escaped, unit};

use super::scale::Scale;
use super::{COLOURS, Shown};
use crate::record::Record;
use crate::statistics::percentile;

/// The distributions of the time to the first token.
pub(crate) fn times(sets: &[Shown]) -> String {
    let sets: Vec<_> = sets.iter().map(|shown| (shown, shown.sorted(Record::ttft_ms))).collect();
    let scale = Scale::of(sets.iter().flat_map(|(_, times)| times.iter().copied()), f64::INFINITY);
    let mut drawing = String::new();
    for (percent, label) in [(0.0, ""), (50.0, "p50"), (90.0, "p90"), (100.0, "all")] {
        let y = HEAD + HEIGHT * (1.0 - percent / 100.0);
        let _ = writeln!(
            drawing,
            "<line class='grid' x1='{LEFT}' x2='{RIGHT}' y1='{y}' y2='{y}'/>\
             <text class='tick' x='{}' y='{}' text-anchor='end'>{label}</text>",
            LEFT - 8.0,
            y + 4.0
        );
    }
    drawing += &ticks(scale, HEAD + HEIGHT, unit::duration);
    for (n, (_, times)) in sets.iter().enumerate() {
        let _ =
            writeln!(drawing, "<path class='cdf set{}' d='{}'/>", n % COLOURS, steps(scale, times));
    }
    let of = "The share of starts that have their first token by a time";
    panel(of, &key(sets.iter().map(|(shown, _)| *shown)), HEAD + HEIGHT + FOOT, &drawing)
}

/// The ratios of all starts, a row for each set; nothing where no link has a floor.
pub(crate) fn ratios(sets: &[Shown]) -> String {
    let rows = sets.iter().enumerate();
    let rows = rows.map(|(n, shown)| (n, shown, shown.sorted(Record::over_floor)));
    let rows: Vec<_> = rows.filter(|(_, _, ratios)| !ratios.is_empty()).collect();
    if rows.is_empty() {
        return String::new();
    }
    let scale = Scale::of(rows.iter().flat_map(|(_, _, ratios)| ratios.iter().copied()), 1.0);
    let bottom = HEAD + rows.len() as f64 * ROW;
    let mut drawing = ticks(scale, bottom, |ratio| {
        format!("{ratio:.3}").trim_end_matches('0').trim_end_matches('.').to_owned() + "×"
    });
    for (row, (n, shown, ratios)) in rows.iter().enumerate() {
        drawing += &strip(scale, HEAD + row as f64 * ROW, *n, (&shown.name(), ratios));
    }
    let of = "Time to the first token ÷ the floor: each start, with lines at p50 and p90";
    panel(of, "", bottom + FOOT, &drawing)
}

/// A dot for each ratio, and their percentiles.
fn strip(scale: Scale, top: f64, n: usize, (name, ratios): (&str, &[f64])) -> String {
    let set = n % COLOURS;
    let mut strip = format!(
        "<text class='row' x='{LEFT}' y='{:.1}'>{}  {:.3}</text>\n",
        top + 14.0,
        Escaped(name),
        percentile(ratios, 50.0)
    );
    for percent in [50.0, 90.0] {
        let x = x(scale, percentile(ratios, percent));
        let _ = writeln!(
            strip,
            "<line class='at set{set}' x1='{x:.1}' x2='{x:.1}' y1='{:.1}' y2='{:.1}'/>",
            top + 20.0,
            top + 40.0
        );
    }
    for ratio in ratios {
        let (x, y) = (x(scale, *ratio), top + 30.0);
        let _ = writeln!(
            strip,
            "<circle class='dot set{set}' cx='{x:.1}' cy='{y:.1}' r='5'>\
             <title>{ratio:.3}</title></circle>"
        );
    }
    strip
}

/// From 0 up by one run's share at each of the sorted times.
fn steps(scale: Scale, times: &[f64]) -> String {
    let first = times.first().copied().unwrap_or_default();
    let mut path = format!("M{:.1} {}", x(scale, first), HEAD + HEIGHT);
    for (n, time) in times.iter().enumerate() {
        let y = HEAD + HEIGHT * (1.0 - (n + 1) as f64 / times.len() as f64);
        let _ = write!(path, "H{:.1}V{y:.1}", x(scale, *time));
    }
    path
}

/// Lines up from the axis at `bottom`, and their values below.
fn ticks(scale: Scale, bottom: f64, label: impl Fn(f64) -> String) -> String {
    let mut ticks = String::new();
    for tick in scale.ticks() {
        let x = x(scale, tick);
        let _ = writeln!(
            ticks,
            "<line class='grid' x1='{x:.1}' x2='{x:.1}' y1='{HEAD}' y2='{bottom:.1}'/>\
             <text class='tick' x='{x:.1}' y='{:.1}' text-anchor='middle'>{}</text>",
            bottom + 18.0,
            label(tick)
        );
    }
    ticks
}

fn key<'a>(sets: impl Iterator<Item = &'a Shown<'a>>) -> String {
    let items = sets
        .enumerate()
        .map(|(n, shown)| format!("<li>{}{}</li>", super::swatch(n), Escaped(&shown.name())));
    format!("<ul class='legend'>{}</ul>\n", items.collect::<String>())
}

fn panel(title: &str, key: &str, height: f64, drawing: &str) -> String {
    format!(
        "<section class='panel'>\n<h2>{title}</h2>\n{key}<div class='scroll'>\n\
         <svg class='spread' role='img' aria-label='{title}' viewBox='0 0 {WIDTH} {height:.0}'>\n\
         {drawing}</svg>\n</div>\n</section>\n"
    )
}

fn x(scale: Scale, value: f64) -> f64 {
    LEFT + (RIGHT - LEFT) * scale.position(value)
}

/// The drawing's own units, about a pixel each on a wide screen.
const WIDTH: f64 = 1200.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 1180.0;
const HEAD: f64 = 14.0;
const HEIGHT: f64 = 260.0;
const FOOT: f64 = 30.0;
/// A name and its dots.
const ROW: f64 = 52.0;
