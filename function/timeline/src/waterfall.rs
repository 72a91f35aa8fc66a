//! The start as a picture for a terminal: one row a name, time from left to right.
//!
//! ```text
//!                 0          50 ms     100 ms
//!   headers       ░░░░▄                          4.10 kB  …
//!   layer 0           ░░░███▌▄                    820 kB  …
//!   layer 1              ░░░███▌▄
//! ```
//!
//! What travels is as high as the line (in eighths of a column), what this process does itself is
//! half as high, and a request that waits for its first byte is shaded: the three differ without
//! colour. Where the work on a row's bytes falls into the time in which they arrive, as it does in a
//! folded series, the work gets a line of its own beneath them.

mod cell;
mod summary;
mod text;

use std::fmt::Write as _;

use self::cell::{Cell, Ink, Stroke, full_height, half_height, overlaid};
use self::text::{Cells, fitted, printable};
use crate::axis::Axis;
use crate::row::{Kind, Row};
use crate::{Lane, Report, unit};

impl Report {
    /// The start as a waterfall for a terminal of `columns` columns, with ANSI colours if asked for.
    ///
    /// It is drawn within 60 to 160 columns, and every line ends with a line feed.
    #[must_use]
    pub fn waterfall(&self, columns: usize, colour: bool) -> String {
        let rows = Row::folded(&Row::all(self));
        let mut picture = Picture::new(self, &rows, columns, colour);
        let rows = Row::boot_folded(rows, picture.column_ms());
        picture.title();
        if !rows.is_empty() {
            picture.ruler();
            for row in &rows {
                picture.row(row);
            }
        }
        picture.first_token();
        picture.legend(&rows);
        picture.summary();
        picture.text
    }
}

struct Picture<'a> {
    report: &'a Report,
    axis: Axis,
    /// Columns of the labels on the left.
    label_columns: usize,
    /// Columns of the bars.
    bar_columns: usize,
    colour: bool,
    text: String,
}

impl<'a> Picture<'a> {
    fn new(report: &'a Report, rows: &[Row], columns: usize, colour: bool) -> Self {
        let columns = columns.clamp(COLUMNS_MIN, COLUMNS_MAX);
        let longest = rows.iter().map(|row| row.label.chars().count()).max().unwrap_or(0);
        let label_columns = longest.clamp(LABEL_MIN, LABEL_MAX);
        let bar_columns = columns - label_columns - FIGURES_COLUMNS - 3;
        let text = String::new();
        Self { report, axis: Axis::of(report), label_columns, bar_columns, colour, text }
    }

    /// What was started, on one line.
    fn title(&mut self) {
        let said = |key| self.report.description.get(key).map(|value| printable(value));
        let parts: Vec<_> =
            ["model", "location", "architecture", "device"].into_iter().filter_map(said).collect();
        let title = self.paint(Ink::Strong, "cold start");
        let rest = fitted(&parts.join(" · "), self.columns() - "cold start".len() - 3);
        self.line(&format!(" {title}  {rest}"));
    }

    /// The axis: round times, and a tick under the first character of each.
    fn ruler(&mut self) {
        let mut labels = Cells::new(self.bar_columns + FIGURES_COLUMNS);
        let mut ticks = vec!['─'; self.bar_columns];
        for (ms, label) in self.axis.ticks(self.bar_columns / COLUMNS_PER_TICK) {
            let column = self.column(ms);
            ticks[column] = '┴';
            labels.write(column, &label);
        }
        let indent = " ".repeat(self.label_columns + 2);
        let labels = self.paint(Ink::Faint, labels.text().trim_end());
        let ticks = self.paint(Ink::Faint, &ticks.into_iter().collect::<String>());
        self.line("");
        self.line(&format!("{indent}{labels}"));
        self.line(&format!("{indent}{ticks}"));
    }

    fn row(&mut self, row: &Row) {
        let wire = self.wire(row);
        let work = self.work(row);
        let both = wire.iter().zip(&work).filter(|(a, b)| a.is_some() && b.is_some()).count();
        let figures = figures(row);
        if both > SHARED_CELLS_MAX {
            self.bars(&row.label, &wire, &figures);
            let took = format!("{:>7}", unit::duration(row.work_ms()));
            let lane = work.iter().flatten().find_map(|cell| cell.ink.lane());
            let label = format!("  {}", lane.map_or("working", doing));
            self.bars(&label, &work, &took);
        } else {
            let cells = overlaid(wire, &work);
            self.bars(&row.label, &cells, &figures);
        }
    }

    fn bars(&mut self, label: &str, cells: &[Option<Cell>], figures: &str) {
        let label = fitted(&printable(label), self.label_columns);
        let mut line = format!(" {label:<width$} ", width = self.label_columns);
        for run in cells.chunk_by(|a, b| a.map(|cell| cell.ink) == b.map(|cell| cell.ink)) {
            let glyphs: String = run.iter().map(|cell| cell.map_or(' ', |c| c.glyph)).collect();
            line += &match run[0] {
                Some(cell) => self.paint(cell.ink, &glyphs),
                None => glyphs,
            };
        }
        self.line(&format!("{line} {figures}"));
    }

    /// What the network did for a row.
    fn wire(&self, row: &Row) -> Vec<Option<Cell>> {
        let waiting = self.strokes(row, |kind| kind == Kind::Wait);
        let receiving = self.strokes(row, |kind| kind == Kind::Receive);
        let cell = |(waiting, receiving): (&Stroke, &Stroke)| match (waiting.0, receiving.0) {
            (0, 0) => None,
            (_, 0) => Some(Cell { glyph: '░', ink: Ink::Wait }),
            (_, eighths) => Some(Cell { glyph: full_height(eighths), ink: Ink::Receive }),
        };
        waiting.iter().zip(&receiving).map(cell).collect()
    }

    /// What this process did itself for a row.
    fn work(&self, row: &Row) -> Vec<Option<Cell>> {
        let mut cells = vec![None; self.bar_columns];
        for lane in Lane::ALL {
            let strokes = self.strokes(row, |kind| kind == Kind::Work(lane));
            for (cell, stroke) in cells.iter_mut().zip(strokes) {
                if stroke.0 != 0 {
                    *cell = Some(Cell { glyph: half_height(stroke.0), ink: Ink::Work(lane) });
                }
            }
        }
        cells
    }

    /// The eighths of each column in which a bar of `kinds` lies. A bar is never invisible.
    fn strokes(&self, row: &Row, kinds: impl Fn(Kind) -> bool) -> Vec<Stroke> {
        let mut strokes = vec![Stroke(0); self.bar_columns];
        for bar in row.bars.iter().filter(|bar| kinds(bar.kind)) {
            if bar.from_ms > self.axis.end_ms
                || (bar.kind == Kind::Wait && bar.to_ms <= bar.from_ms)
            {
                continue;
            }
            let from = self.eighth(bar.from_ms).min(self.bar_columns * 8 - 1);
            let to = self.eighth(bar.to_ms).max(from + 1);
            for eighth in from..to {
                strokes[eighth / 8].0 |= 1 << (eighth % 8);
            }
        }
        strokes
    }

    fn first_token(&mut self) {
        let Some(ttft_ms) = self.report.ttft_ms else {
            let title = self.paint(Ink::Strong, "no first token");
            let why = summary::failure(self.report).map(|why| format!(": {why}"));
            let room = self.columns() - "no first token".len() - 1;
            let text = format!(" {title}{}", fitted(&why.unwrap_or_default(), room));
            return self.line(&text);
        };
        let column = self.column(ttft_ms);
        let mut cells = Cells::new(self.bar_columns + FIGURES_COLUMNS);
        cells.write(column, &format!("◆ {}", unit::duration(ttft_ms)));
        let marker = self.paint(Ink::Strong, cells.text().trim_end());
        let label = format!("{:<width$}", "first token", width = self.label_columns);
        self.line(&format!(" {} {marker}", self.paint(Ink::Strong, &label)));
    }

    fn legend(&mut self, rows: &[Row]) {
        let mut line = String::new();
        let mut columns = 0;
        for (ink, glyphs, says) in legend_entries(rows, self.colour) {
            let entry_columns = glyphs.chars().count() + says.chars().count() + 4;
            if columns + entry_columns > self.columns() {
                line.push('\n');
                columns = 0;
            }
            columns += entry_columns;
            let _ = write!(line, " {} {says}  ", self.paint(ink, glyphs));
        }
        if !line.is_empty() {
            self.line("");
            line.lines().for_each(|line| self.line(line));
        }
    }

    /// The figures that matter, and how the time to the first token splits.
    fn summary(&mut self) {
        let lines = summary::lines(self.report);
        if !lines.is_empty() {
            self.line("");
        }
        for (name, text) in lines {
            let name = self.paint(Ink::Faint, &format!("{name:<SUMMARY_COLUMNS$}"));
            self.line(&format!(" {name} {text}"));
        }
    }

    fn columns(&self) -> usize {
        self.label_columns + self.bar_columns + FIGURES_COLUMNS + 3
    }

    /// The time that a column stands for.
    fn column_ms(&self) -> f64 {
        self.axis.end_ms / self.bar_columns as f64
    }

    fn column(&self, ms: f64) -> usize {
        (self.eighth(ms) / 8).min(self.bar_columns - 1)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a fraction of the line's eighths: at most 1,280, never negative"
    )]
    fn eighth(&self, ms: f64) -> usize {
        (self.axis.fraction(ms) * self.bar_columns as f64 * 8.0).round() as usize
    }

    fn paint(&self, ink: Ink, text: &str) -> String {
        if self.colour { format!("\x1b[{}m{text}\x1b[0m", ink.code()) } else { text.to_owned() }
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }
}

/// The signs that `rows` use. Without colour all work looks the same.
fn legend_entries(rows: &[Row], colour: bool) -> Vec<(Ink, &'static str, &'static str)> {
    let has = |kind| rows.iter().any(|row| row.bars.iter().any(|bar| bar.kind == kind));
    let works = Lane::ALL.into_iter().filter(|lane| has(Kind::Work(*lane)));
    let mut entries = Vec::new();
    if has(Kind::Wait) || has(Kind::Receive) {
        entries.push((Ink::Wait, "░░", "waiting"));
        entries.push((Ink::Receive, "██", "receiving"));
    }
    if colour {
        entries.extend(works.map(|lane| (Ink::Work(lane), "▄▄", doing(lane))));
    } else if works.count() > 0 {
        entries.push((Ink::Strong, "▄▄", "own work"));
    }
    if rows.iter().any(|row| row.retries > 0) {
        entries.push((Ink::Strong, "↻", "retried"));
    }
    if rows.iter().any(|row| row.hedges > 0) {
        entries.push((Ink::Strong, "⇉", "hedged"));
    }
    entries
}

/// What a lane's work is called while it goes on.
const fn doing(lane: Lane) -> &'static str {
    match lane {
        Lane::Boot => "booting",
        Lane::Network => "connecting",
        Lane::Verify => "checking",
        Lane::Copy => "copying",
        Lane::Compute => "computing",
    }
}

/// What stands at the right of a row: its bytes and their rate, or the time it took.
fn figures(row: &Row) -> String {
    if row.requests == 0 {
        return format!("{:>7}", unit::duration(row.end_ms() - row.begin_ms()));
    }
    let rate = row.bytes_per_s().map(unit::rate).unwrap_or_default();
    let mut text = format!("{:>7} {rate:>10}", unit::bytes(row.bytes));
    text += if row.retries > 0 { " ↻" } else { "" };
    text += if row.hedges > 0 { " ⇉" } else { "" };
    text
}

/// A bar and its work may share the column in which one ends and the other begins.
const SHARED_CELLS_MAX: usize = 1;
/// Less leaves the bars too few columns to tell anything.
const COLUMNS_MIN: usize = 60;
/// More makes the eye lose the line.
const COLUMNS_MAX: usize = 160;
/// `first token`
const LABEL_MIN: usize = 11;
const LABEL_MAX: usize = 20;
/// `29.8 MB  28.0 MB/s ↻ ⇉`
const FIGURES_COLUMNS: usize = 22;
/// `200 ms` and room to breathe.
const COLUMNS_PER_TICK: usize = 7;
const SUMMARY_COLUMNS: usize = 8;
