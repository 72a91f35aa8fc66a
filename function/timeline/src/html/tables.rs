//! The numbers behind the chart, as tables: marks, counters, phases, and what was said of the start.

use std::fmt::Write as _;

use crate::html::Escaped;
use crate::row::Row;
use crate::{Report, unit};

/// The sections of the page below the chart.
pub(crate) fn tables(report: &Report) -> String {
    let tables = [marks(report), counters(report), described(report)].concat();
    format!("<div class='tables'>\n{tables}</div>\n{}", phases(report))
}

fn marks(report: &Report) -> String {
    let rows = report.marks_ms.iter().map(|(mark, ms)| row(mark.name(), &unit::duration(*ms)));
    section("Marks", rows)
}

fn counters(report: &Report) -> String {
    let counted = report.counters.iter().filter(|(_, n)| **n > 0);
    let rows = counted.map(|(counter, n)| {
        let figure = if counter.is_bytes() { unit::bytes(*n) } else { n.to_string() };
        row(counter.name(), &figure)
    });
    let dropped =
        [("spans not kept", report.spans_dropped), ("ranges not kept", report.fetches_dropped)];
    let dropped = dropped.into_iter().filter(|(_, n)| *n > 0);
    section("Counters", rows.chain(dropped.map(|(name, n)| row(name, &n.to_string()))))
}

fn described(report: &Report) -> String {
    let said = report.description.iter();
    section(
        "About",
        said.map(|(key, value)| match (key.strip_suffix("_bytes"), value.parse()) {
            (Some(name), Ok(bytes)) => row(&name.replace('_', " "), &unit::bytes(bytes)),
            _ => row(&key.replace('_', " "), value),
        }),
    )
}

/// Everything that has a name, unfolded.
fn phases(report: &Report) -> String {
    let rows = Row::all(report);
    if rows.is_empty() {
        return String::new();
    }
    let mut table = String::new();
    for row in &rows {
        let rate = row.bytes_per_s().map(unit::rate).unwrap_or_default();
        let (bytes, requests) = match row.requests {
            0 => (String::new(), String::new()),
            n => (unit::bytes(row.bytes), n.to_string()),
        };
        let work_ms = row.work_ms();
        let work = if work_ms > 0.0 { unit::duration(work_ms) } else { String::new() };
        let _ = writeln!(
            table,
            "<tr><th scope='row'>{}</th><td>{}</td><td>{}</td><td>{bytes}</td><td>{rate}</td>\
             <td>{requests}</td><td>{work}</td></tr>",
            Escaped(&row.label),
            unit::duration(row.begin_ms()),
            unit::duration(row.end_ms()),
        );
    }
    format!(
        "<details>\n<summary>All {} phases as a table</summary>\n<div class='wide'><table>\n<thead>\
         <tr><th scope='col'>phase</th><th scope='col'>begins</th><th scope='col'>ends</th>\
         <th scope='col'>bytes</th><th scope='col'>rate</th><th scope='col'>requests</th>\
         <th scope='col'>own work</th></tr></thead>\n<tbody>\n{table}</tbody>\n</table></div>\n\
         </details>\n",
        rows.len(),
    )
}

fn section(title: &str, rows: impl Iterator<Item = String>) -> String {
    let rows: String = rows.collect();
    if rows.is_empty() {
        return String::new();
    }
    format!("<section><h2>{title}</h2>\n<table>\n{rows}</table></section>\n")
}

fn row(name: &str, figure: &str) -> String {
    format!("<tr><th scope='row'>{}</th><td>{}</td></tr>\n", Escaped(name), Escaped(figure))
}
