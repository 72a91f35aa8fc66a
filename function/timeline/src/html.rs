//! The start as a page that needs nothing else: no network, no fonts, and no script to be read.
//!
//! The page is figures, a [`chart`], and the same numbers as tables. The chart is written in
//! percentages of its width, so that it fits any window and zooming is making it wider. The script
//! only adds what a static page lacks: quick tooltips, zoom, and showing one stage in all lanes.
//! Below the style and the script nothing is styled in place: a page that forbids that can show it.
//!
//! Names come from outside. They reach the page through [`Escaped`] alone.

mod chart;
mod curve;
mod tables;
mod tip;

use std::fmt::{self, Write as _};

use crate::{Counter, Mark, Outcome, Report, unit};

impl Report {
    /// The start as a page that needs nothing else.
    #[must_use]
    pub fn html(&self) -> String {
        let body = [header(self), figures(self, true), split(self), chart::chart(self)].concat();
        page(&title(self), "", &(body + &tables::tables(self)))
    }

    /// The start as far as it has come, for a page that has [`STYLE`], [`SCRIPT`] and its own header; `is_over` where
    /// nothing more will come.
    #[must_use]
    pub fn html_part(&self, is_over: bool) -> String {
        let drawn = [figures(self, is_over), split(self), chart::chart(self)].concat();
        let tables = tables::tables(self);
        format!("{drawn}<details>\n<summary>In numbers</summary>\n{tables}</details>\n")
    }

    /// The start's chart alone, for a [`page`] of several.
    #[must_use]
    pub fn html_chart(&self) -> String {
        chart::chart(self)
    }
}

/// A page that needs nothing else: `body` below the style and above the script that charts need, and `style` after
/// theirs. Text from outside is [`Escaped`] in `body`.
#[must_use]
pub fn page(title: &str, style: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n\
         <meta name='viewport' content='width=device-width, initial-scale=1'>\n\
         <meta name='color-scheme' content='light dark'>\n\
         <title>{}</title>\n<style>\n{STYLE}{style}</style>\n</head>\n<body>\n<main>\n{body}</main>\n\
         {TIP}\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n",
        Escaped(title),
    )
}

/// How figures, charts and tables look, in light and in dark.
pub const STYLE: &str = include_str!("html/page.css");
/// What charts need to be pointed at: those of the page, and later ones by `enliven(chart)`. Below `<main>` it looks
/// for an empty, hidden element `tip`.
pub const SCRIPT: &str = include_str!("html/page.js");
const TIP: &str = "<div id='tip' hidden></div>";

fn title(report: &Report) -> String {
    let name = NAMING.iter().find_map(|key| report.description.get(*key));
    match (name, report.ttft_ms) {
        (Some(name), Some(ttft_ms)) => {
            format!("{name}: first token in {}", unit::duration(ttft_ms))
        }
        (Some(name), None) => format!("{name}: no first token"),
        (None, _) => "A cold start".to_owned(),
    }
}

fn header(report: &Report) -> String {
    let said = |key: &&str| report.description.get(*key);
    let name = NAMING.iter().find_map(said).map_or("unnamed", String::as_str);
    let rest: Vec<_> = SUBTITLE.iter().filter_map(said).filter(|said| *said != name).collect();
    let rest = rest.into_iter().map(|said| format!("<span>{}</span>", Escaped(said)));
    format!(
        "<header>\n<p class='brand'>firstlight <i>cold start</i></p>\n<h1>{}</h1>\n\
         <p class='of'>{}</p>\n</header>\n",
        Escaped(name),
        rest.collect::<String>(),
    )
}

/// The numbers that are read first.
fn figures(report: &Report, is_over: bool) -> String {
    let mut cards = lead(report, is_over);
    if let Some((floor_ms, ratio)) = report.floor_ms.zip(report.ttft_over_floor) {
        let link = unit::rate(report.link_bytes_per_s.unwrap_or_default() as f64);
        let note = format!("{} at {link}", unit::duration(floor_ms));
        cards += &card("", &format!("{ratio:.2}×"), "the link's floor", &note);
    }
    if let Some(gb_per_s) = report.gb_per_s.filter(|rate| *rate > 0.0) {
        let busy = format!("{} busy", unit::duration(report.network_busy_ms));
        cards += &card("", &unit::rate(gb_per_s * 1e9), "from the network", &busy);
    }
    if report.weight_bytes > 0 {
        let requests = report.counter(Counter::Requests);
        let note = unit::count(requests, "request", "requests");
        cards += &card("", &unit::bytes(report.weight_bytes), "of weights", &note);
    }
    if let Some(tokens_per_s) = report.tokens_per_s {
        let note = unit::count(report.counter(Counter::Tokens), "token", "tokens");
        cards += &card("", &format!("{tokens_per_s:.1}"), "tokens a second", &note);
    }
    format!("<section class='figures' aria-label='Figures'>\n{cards}</section>\n")
}

/// How long it took; a server that nobody asks may be loaded without a first token.
fn lead(report: &Report, is_over: bool) -> String {
    let why = why_none(report);
    match (report.ttft_ms, report.mark_ms(Mark::LastLayerResident)) {
        (Some(ttft_ms), _) => card("lead", &unit::duration(ttft_ms), "to the first token", ""),
        _ if is_over || !why.is_empty() => card("bad", "none", "no first token", &why),
        (None, Some(ms)) => card("lead", &unit::duration(ms), "to the last layer", ""),
        (None, None) => card("", "…", "to the first token", ""),
    }
}

fn card(class: &str, figure: &str, what: &str, note: &str) -> String {
    let [figure, what, note] = [figure, what, note].map(Escaped);
    format!("<p class='card {class}'><b>{figure}</b><span>{what}</span><small>{note}</small></p>\n")
}

/// Why there is no first token, where the network is to blame.
fn why_none(report: &Report) -> String {
    let why = report.fetches.iter().find_map(|fetch| match &fetch.outcome {
        Outcome::Failed(why) => Some(format!("{}: {why}", fetch.object)),
        _ => None,
    });
    why.unwrap_or_default()
}

/// How the time to the first token splits, to scale.
fn split(report: &Report) -> String {
    let Some((split, ttft_ms)) = report.split.zip(report.ttft_ms) else { return String::new() };
    let parts = [
        ("before", split.before_first_weight_byte_ms, "before the first weight byte"),
        ("streaming", split.streaming_ms, "weights streaming"),
        ("after", split.after_last_weight_byte_ms, "after the last byte"),
    ];
    let (mut bar, mut key, mut from) = (String::new(), String::new(), 0.0);
    for (class, ms, what) in parts {
        let percent = (ms / ttft_ms * 100.0).clamp(0.0, 100.0);
        if percent.is_finite() {
            let _ = write!(
                bar,
                "<rect class='{class}' x='{from:.3}%' width='{percent:.3}%' height='10'/>"
            );
            from += percent;
        }
        let _ = write!(key, "<span class='{class}'><b>{}</b> {what}</span>", unit::duration(ms));
    }
    format!(
        "<section class='split' aria-label='How the time to the first token splits'>\n\
         <svg class='bar' aria-hidden='true'>{bar}</svg>\n<p>{key}</p>\n</section>\n"
    )
}

/// Text from outside, as text: in an element and in a quoted attribute.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '\n' | '\t' => f.write_char(c)?,
                c if c.is_control() => f.write_char(char::REPLACEMENT_CHARACTER)?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// What a start is called: the first of these that was said.
const NAMING: [&str; 2] = ["model", "location"];
/// What stands below the name.
const SUBTITLE: [&str; 4] = ["location", "architecture", "device", "version"];
