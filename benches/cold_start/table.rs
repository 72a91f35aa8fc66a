//! Sets of runs as tables for a terminal.

use std::fmt::Write as _;

use crate::figures::{FIGURES, Figure};
use crate::record::{Record, Set};
use crate::statistics::{Ratio, median, percentile, sorted};

/// The columns: a title, and the percentile of the runs.
pub(crate) const COLUMNS: [(&str, f64); 4] =
    [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("max", 100.0)];

/// The percentiles of all figures of a set.
pub(crate) fn percentiles(set: &[Record]) -> String {
    let mut table = format!("{:<24}", "ms since exec");
    for (title, _) in COLUMNS {
        let _ = write!(table, " {title:>10}");
    }
    for (name, percentiles) in rows(set) {
        let _ = write!(table, "\n{name:<24}");
        for value in percentiles {
            let _ = write!(table, " {value:>10.3}");
        }
    }
    table
}

/// Each figure that is known, at each of the columns.
pub(crate) fn rows(
    set: &[Record],
) -> impl Iterator<Item = (&'static str, [f64; COLUMNS.len()])> + '_ {
    FIGURES.iter().filter_map(|Figure { name, of }| {
        let values = sorted(set.iter().map(of));
        let at = |(_, percent)| percentile(&values, percent);
        (!values.is_empty()).then(|| (*name, COLUMNS.map(at)))
    })
}

/// Two sets beside each other: medians, their ratio with its interval, and a verdict on what decides.
///
/// Of twenty intervals one misses, so that a verdict on each of them would be wrong in every other table.
pub(crate) fn comparison(first: &Set, second: &Set) -> String {
    let mut table = format!(
        "A  {} · {} runs · {}\nB  {} · {} runs · {}\n{:<24} {:>10} {:>10} {:>7}  95 % of the ratio",
        first[0].setting.name(),
        first.len(),
        commit(first),
        second[0].setting.name(),
        second.len(),
        commit(second),
        "medians",
        "A",
        "B",
        "B/A"
    );
    for Figure { name, of } in &FIGURES {
        let [a, b] = [first, second].map(|set| sorted(set.iter().map(of)));
        if a.is_empty() || b.is_empty() {
            continue;
        }
        let _ = write!(table, "\n{name:<24} {:>10.3} {:>10.3}", median(&a), median(&b));
        if let Some(ratio) = Ratio::of(&a, &b) {
            let Ratio { estimate, low, high } = ratio;
            let _ = write!(table, " {estimate:>7.3}  {low:.3}–{high:.3}");
            if DECISIVE.contains(name) {
                let _ = write!(table, "  B: {}", ratio.verdict());
            }
        }
    }
    table
}

fn commit(set: &Set) -> String {
    let setting = &set[0].setting;
    format!("{}{}", setting.commit, if setting.dirty { " and changes" } else { "" })
}

/// What a change is made for.
const DECISIVE: [&str; 2] = ["first token", "CPU ms"];
