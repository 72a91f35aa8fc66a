//! Sets of cold starts as a page that needs nothing else: a summary, how the times are spread, the phases, and the
//! waterfalls of each set's median and slowest run, drawn as the timeline draws them.

mod scale;
mod spread;

use std::fmt::{self, Write as _};

use firstlight_timeline::{Escaped, Report, page as frame, unit};

use crate::contest::Run;
use crate::record::{Record, Set};
use crate::statistics::{Ratio, percentile, sorted};
use crate::table;

/// A set on the page.
pub(crate) struct Shown<'a> {
    set: &'a Set,
    /// What is drawn as waterfalls, slower ones later, each with what it is.
    drawn: Vec<(&'static str, &'a Report)>,
}

impl<'a> Shown<'a> {
    /// A set whose runs are known in full.
    pub(crate) fn with_waterfalls(set: &'a Set, runs: &'a [Run]) -> Self {
        let mut by_time: Vec<&Run> = runs.iter().collect();
        by_time.sort_by(|a, b| a.record.ttft_ms().total_cmp(&b.record.ttft_ms()));
        let median =
            by_time.get((runs.len().saturating_sub(1)) / 2).map(|run| ("median", &run.report));
        let slowest = by_time.last().map(|run| ("slowest", &run.report));
        Self { set, drawn: median.into_iter().chain(slowest).collect() }
    }

    /// A set that is known from its lines.
    pub(crate) fn without_waterfalls(set: &'a Set) -> Self {
        Self { set, drawn: Vec::new() }
    }

    fn name(&self) -> String {
        self.set[0].setting.name()
    }

    fn sorted(&self, of: impl Fn(&Record) -> f64) -> Vec<f64> {
        sorted(self.set.iter().map(of))
    }
}

/// The page of `sets`, of which there is at least one.
pub(crate) fn page(sets: &[Shown]) -> String {
    let model = &sets[0].set[0].setting.model;
    let body = [
        header(sets),
        summary(sets),
        verdicts(sets),
        spread::times(sets),
        spread::ratios(sets),
        phases(sets),
        waterfalls(sets),
    ];
    frame(&format!("Cold starts of {model}"), include_str!("page/page.css"), &body.concat())
}

fn header(sets: &[Shown]) -> String {
    let setting = &sets[0].set[0].setting;
    let changes = if setting.dirty { " and changes" } else { "" };
    let (commit, tokens) = (&setting.commit, setting.prompt_tokens);
    let said = [
        setting.machine.clone(),
        format!("commit {commit}{changes}"),
        setting.date.clone(),
        format!("prompt of about {tokens} tokens"),
    ];
    let said = all("span", said.iter().map(|said| Escaped(said)));
    format!(
        "<header>\n<p class='brand'>firstlight <i>cold starts in fresh processes</i></p>\n\
         <h1>{}</h1>\n<p class='of'>{said}</p>\n</header>\n",
        Escaped(&setting.model)
    )
}

/// A row for each set: what a reader looks for first.
fn summary(sets: &[Shown]) -> String {
    let titles = [
        "runs",
        "floor",
        "p50",
        "p90",
        "p99",
        "max",
        "p50 ÷ floor",
        "requests",
        "hedges",
        "retries",
        "bytes twice",
    ];
    let titles = all("th", titles);
    let rows: String = sets.iter().enumerate().map(|(n, shown)| summary_row(n, shown)).collect();
    format!(
        "<section class='panel'>\n<h2>Time to the first token; requests and bytes as means of a \
         start</h2>\n<div class='wide'>\n<table>\n<thead><tr><th></th>{titles}</tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table>\n</div>\n</section>\n"
    )
}

fn summary_row(n: usize, shown: &Shown) -> String {
    let times = shown.sorted(Record::ttft_ms);
    let ratios = shown.sorted(Record::over_floor);
    let or_none = |known: bool, text: String| if known { text } else { "–".to_owned() };
    let floor_ms = shown.set[0].floor_ms;
    let weights = shown.set[0].weight_bytes as f64;
    let mut cells = vec![times.len().to_string(), floor_ms.map_or("–".to_owned(), unit::duration)];
    let at = |(_, percent)| unit::duration(percentile(&times, percent));
    cells.extend(table::COLUMNS.map(at));
    let ratio = ratios.first().map(|_| format!("{:.3}", percentile(&ratios, 50.0)));
    cells.push(ratio.unwrap_or_else(|| "–".to_owned()));
    for counter in ["requests", "hedges", "retries"] {
        cells.push(format!("{:.1}", mean(shown.set, counter)));
    }
    let twice = mean(shown.set, "bytes twice") * 100.0 / weights;
    cells.push(or_none(weights > 0.0, format!("{twice:.2} %")));
    let cells = all("td", cells);
    format!("<tr><th>{}{}</th>{cells}</tr>\n", swatch(n), Escaped(&shown.name()))
}

fn mean(set: &[Record], counter: &str) -> f64 {
    set.iter().map(|run| run.counted(counter)).sum::<f64>() / set.len() as f64
}

/// What sets of the same task say of each other, each with the one before it.
fn verdicts(sets: &[Shown]) -> String {
    let mut said = String::new();
    for pair in sets.windows(2) {
        let [a, b] = [&pair[0], &pair[1]];
        let same = a.set[0].setting.task() == b.set[0].setting.task();
        let ratio = Ratio::of(&a.sorted(Record::ttft_ms), &b.sorted(Record::ttft_ms));
        if let Some(ratio) = ratio.filter(|_| same) {
            let (a, b) = (a.name(), b.name());
            let _ = writeln!(
                said,
                "<p class='verdict'><b>{}</b> against <b>{}</b>, at the median: {}</p>",
                Escaped(&b),
                Escaped(&a),
                ratio.verdict()
            );
        }
    }
    said
}

fn phases(sets: &[Shown]) -> String {
    let tables: String = sets.iter().enumerate().map(|(n, shown)| phase_table(n, shown)).collect();
    format!("<div class='tables phases'>\n{tables}</div>\n")
}

fn phase_table(n: usize, shown: &Shown) -> String {
    let titles = all("th", table::COLUMNS.map(|(title, _)| title));
    let mut rows = String::new();
    for (name, values) in table::rows(shown.set) {
        let values = all("td", values.map(brief));
        let _ = writeln!(rows, "<tr><th>{name}</th>{values}</tr>");
    }
    format!(
        "<section><h2>{}{}, ms since exec</h2><table><thead><tr><th></th>{titles}</tr></thead>\n\
         <tbody>\n{rows}</tbody></table></section>\n",
        swatch(n),
        Escaped(&shown.name())
    )
}

/// Whole numbers as such, others with as many digits as mean something.
fn brief(value: f64) -> String {
    match value.abs() {
        _ if value.fract() == 0.0 => format!("{value:.0}"),
        ..10.0 => format!("{value:.2}"),
        ..1000.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

fn waterfalls(sets: &[Shown]) -> String {
    let mut drawn = String::new();
    for (n, shown) in sets.iter().enumerate() {
        for (which, report) in &shown.drawn {
            let ttft = report.ttft_ms.map_or_else(String::new, unit::duration);
            let _ = writeln!(
                drawn,
                "<section class='waterfall'>\n<h2>{}{}, the {which} run: {ttft}</h2>\n{}</section>",
                swatch(n),
                Escaped(&shown.name()),
                report.html_chart()
            );
        }
    }
    drawn
}

/// Each of `texts` as an element of its own.
fn all<T: fmt::Display>(element: &str, texts: impl IntoIterator<Item = T>) -> String {
    let mut elements = String::new();
    for text in texts {
        let _ = write!(elements, "<{element}>{text}</{element}>");
    }
    elements
}

/// The colour that stands for a set.
fn swatch(n: usize) -> String {
    format!("<i class='swatch set{}'></i>", n % COLOURS)
}

/// So many can be told apart.
const COLOURS: usize = 8;
