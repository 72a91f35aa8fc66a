//! What the GPU path is to reach, and whether it did.

use super::record::{Figure, Record};
use super::sections::{
    CONTEXT, FLOOR, MEASURED, PINNED_RATE, RATE, READY, SOURCES, TTFT, count, matrix_name,
    mebibytes,
};
use super::sizes::Sizes;

/// A bound, and what was measured.
pub(crate) struct Aim {
    pub(crate) what: String,
    /// None where it was not measured.
    pub(crate) reached: Option<Reached>,
}

pub(crate) struct Reached {
    pub(crate) found: String,
    pub(crate) met: bool,
}

/// All of them. Where one is about several figures, the worst counts, and all have to be there.
pub(crate) fn aims(record: &Record, sizes: &Sizes) -> Vec<Aim> {
    let matrices: Vec<_> = sizes.matrices.iter().map(|&matrix| matrix_name(matrix)).collect();
    let most_rows = sizes.gemm_rows.last().copied().unwrap_or_default();
    let share = |section, rows| worst_share(record, section, &matrices, &count(rows, "row"));
    vec![
        at_least("tests failed on the device: none", tests_failed(record), 0.0, |failed| {
            (format!("{} failed", failed.abs()), failed)
        }),
        at_least(
            "one row, 4096 x 4096 and larger: 80 % of the copy bandwidth",
            share("gemv", 1),
            0.8,
            percent,
        ),
        at_least(
            &format!("{most_rows} rows, bf16: 45 % of the matrix peak"),
            share("gemm", most_rows),
            0.45,
            percent,
        ),
        at_least(
            "a file in the page cache to the device, 256 MiB ring: 20 GB/s",
            file_rate(record),
            20.0,
            |rate| (format!("{rate:.1} GB/s"), rate),
        ),
        at_least(
            "driver, context, kernels and ring ready within 500 ms",
            ready(record, sizes),
            -500.0,
            |ms| (format!("{:.0} ms", -ms), ms),
        ),
        at_least(
            "cold start of the largest from S3: TTFT within 1.25 x bytes / rates + context",
            over_floor(record, sizes),
            -1.25,
            |ratio| (format!("{:.2} x", -ratio), ratio),
        ),
    ]
}

/// What is to be small is given as its negative.
fn at_least(
    what: &str,
    value: Option<f64>,
    bound: f64,
    show: impl Fn(f64) -> (String, f64),
) -> Aim {
    let reached = value.map(|value| {
        let (found, value) = show(value);
        Reached { found, met: value >= bound }
    });
    Aim { what: what.to_owned(), reached }
}

fn percent(share: f64) -> (String, f64) {
    (format!("{:.0} %", 100.0 * share), share)
}

fn tests_failed(record: &Record) -> Option<f64> {
    let suites = super::sections::SUITES.iter();
    let failed = suites.map(|suite| record.value("tests", suite, "failed"));
    failed.sum::<Option<f64>>().map(|failed| 0.0 - failed)
}

fn worst_share(record: &Record, section: &str, rows: &[String], column: &str) -> Option<f64> {
    let share = |figure: &Figure| figure.limit.map(|limit| figure.value / limit);
    let shares = rows.iter().map(|row| record.figure(section, row, column).and_then(share));
    shares.reduce(|worst, next| Some(worst?.min(next?))).flatten()
}

/// With the ring of the program, by as many readers as did best.
fn file_rate(record: &Record) -> Option<f64> {
    let ring = mebibytes(RING_BYTES);
    let figures = record.parts.values().flat_map(|part| &part.figures);
    let of_ring = figures.filter(|it| it.section == "ring" && it.row == ring);
    of_ring.filter(|it| it.column.contains("reader")).map(|it| it.value).reduce(f64::max)
}

/// The slowest of all models.
fn ready(record: &Record, sizes: &Sizes) -> Option<f64> {
    let ready = |model: &super::sizes::Model| record.value("boot", model.name, READY);
    let all: Option<Vec<_>> = sizes.models.iter().map(ready).collect();
    all?.into_iter().reduce(f64::max).map(|ms| -ms)
}

/// The time to the first token without the context's, by the time that the bytes need.
fn over_floor(record: &Record, sizes: &Sizes) -> Option<f64> {
    let row = format!("{} from {}", sizes.models.last()?.name, SOURCES[0]);
    let value = |column| record.value("starts", &row, column);
    record.value("limits", PINNED_RATE, MEASURED)?;
    value(RATE)?;
    Some(-(value(TTFT)? - value(CONTEXT)?) / value(FLOOR)?)
}

/// Of the program, unless it is told otherwise.
const RING_BYTES: usize = 256 << 20;
