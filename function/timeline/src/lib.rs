//! The clock of one cold start, and its forms for people and for tools.
//!
//! A process makes one [`Timeline`] and hands clones of it to whoever works on the start. They leave
//! marks (a moment, once), spans (a piece of work), fetches (one range as the network saw it) and
//! counts. [`Timeline::report`] takes a snapshot, computes the figures that follow from it, and the
//! snapshot can be written as a terminal waterfall, one JSON line, a trace for Perfetto, or a page.
//!
//! **One name joins the pieces.** A fetch's `stage` and the `label` of a verify or compute span that
//! works on the same bytes are the same text (`layer 7`), which is how every form draws a layer's
//! bytes and its arithmetic in one row. Names that end in a number form a series and may be folded.
//!
//! # Layout
//!
//! - `clock`: `At`, nanoseconds since the process was asked for
//! - `mark`, `counter`, `lane`, `fetch`: what can be recorded
//! - `timeline`: `Timeline` and `Span`, the recorder
//! - `report`: `Report`, the snapshot and its figures; one JSON line a start
//! - `row`, `slot`, `axis`, `unit`: what the pictures share: names joined to rows, intervals packed
//!   into slots, round times, figures for people
//! - `waterfall`, `perfetto`, `html`: the pictures
//! - `rate`: `Rate`, how fast a link is, as people write it

#![forbid(unsafe_code)]

mod axis;
mod clock;
mod counter;
mod fetch;
mod html;
mod lane;
mod mark;
mod perfetto;
mod rate;
mod report;
mod row;
mod slot;
mod timeline;
pub mod unit;
mod waterfall;

pub use clock::At;
pub use counter::Counter;
pub use fetch::{FetchRecord, Outcome};
pub use html::{Escaped, SCRIPT, STYLE, page};
pub use lane::Lane;
pub use mark::Mark;
pub use rate::{Rate, RateError};
pub use report::{FetchReport, Report, SpanReport, Split};
pub use timeline::{Span, Timeline};
