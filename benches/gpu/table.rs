//! The page: what was measured, in Markdown, and where nothing was, that.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::aims::{Aim, aims};
use super::record::{Figure, Part, Place, Record};
use super::sections::{Section, sections};
use super::sizes::Sizes;

/// The whole of it.
pub(crate) fn page(record: &Record) -> String {
    let names: BTreeSet<_> = record.parts.values().map(|part| &*part.place.sizes).collect();
    let tiny = names.contains("tiny");
    let sizes = if tiny { Sizes::of_the_stand_in() } else { Sizes::of_gpus() };
    let mut page = heading(record, tiny);
    page += &table_of_aims(&aims(record, &sizes));
    for section in sections(&sizes) {
        page += &table(record, &section);
    }
    page += &ends(record);
    page
}

/// Where and of what; several, where parts were measured apart.
fn heading(record: &Record, tiny: bool) -> String {
    if record.parts.is_empty() {
        return "No machine with a GPU was to be had: nothing is measured yet.\n".to_owned();
    }
    let mut page = String::new();
    if tiny {
        page += "Tiny sizes: that everything runs is all that this shows.\n\n";
    }
    let places: BTreeSet<_> = record.parts.values().map(|part| place(&part.place)).collect();
    for place in places {
        let _ = writeln!(page, "- {place}");
    }
    page
}

fn place(place: &Place) -> String {
    let Place { device, architecture, cuda, driver, machine, commit, date, .. } = place;
    let day = date.split_whitespace().next().unwrap_or_default();
    format!(
        "{device} ({architecture}), driver {driver}, CUDA {cuda}; {machine}; commit {commit}, {day}"
    )
}

fn table_of_aims(aims: &[Aim]) -> String {
    let mut page = "\n| aim | measured | |\n|---|---|---|\n".to_owned();
    for Aim { what, reached } in aims {
        let (found, verdict) = match reached {
            None => (NOT_MEASURED, "–"),
            Some(reached) => (&*reached.found, if reached.met { "met" } else { "**missed**" }),
        };
        let _ = writeln!(page, "| {what} | {found} | {verdict} |");
    }
    page
}

fn table(record: &Record, section: &Section) -> String {
    let Section { name, title, rows, columns } = section;
    let mut page = format!("\n**{title}**\n\n| |");
    for column in columns {
        let _ = write!(page, " {column} |");
    }
    page += "\n|---|";
    page += &"---|".repeat(columns.len());
    for row in rows {
        let _ = write!(page, "\n| {row} |");
        for column in columns {
            let _ = write!(page, " {} |", cell(record.figure(name, row, column)));
        }
    }
    page + "\n"
}

fn cell(figure: Option<&Figure>) -> String {
    let Some(Figure { value, limit, .. }) = figure else {
        return NOT_MEASURED.to_owned();
    };
    number(*value) + &limit.map(|limit| beside(value / limit)).unwrap_or_default()
}

/// A share of a limit, or, where the limit is what it takes at least, how many times that.
fn beside(ratio: f64) -> String {
    if ratio > 1.2 { format!(" ({ratio:.2} x)") } else { format!(" ({:.0} %)", 100.0 * ratio) }
}

/// With three digits or all before the point.
fn number(value: f64) -> String {
    match value.abs() {
        _ if value.fract() == 0.0 => format!("{value}"),
        ..0.01 => format!("{value:.1e}"),
        ..1.0 => format!("{value:.3}"),
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// What did not come to its end, and what else is to be known.
fn ends(record: &Record) -> String {
    let mut page = String::new();
    for (name, Part { complete, notes, took_s, .. }) in &record.parts {
        if !complete {
            let _ = write!(page, "\n- `{name}` ended early, after {took_s:.0} s");
        }
        for note in notes {
            let _ = write!(page, "\n- `{name}`: {note}");
        }
    }
    if page.is_empty() { page } else { page + "\n" }
}

/// `text` with the page between its marks.
pub(crate) fn within(text: &str, page: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, behind) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{page}\n{END}{behind}"))
}

const NOT_MEASURED: &str = "not measured";
const BEGIN: &str = "<!-- written by the check: begin -->";
const END: &str = "<!-- written by the check: end -->";
