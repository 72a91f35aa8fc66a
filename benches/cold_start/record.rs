//! One cold start as one line of JSON: what was measured, of what, where, and of which commit.
//!
//! Names of marks and counters are texts here, so that files outlive a change of their list.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::{fs, io};

use firstlight_timeline::Report;
use serde::{Deserialize, Serialize};

/// One cold start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    #[serde(flatten)]
    pub(crate) setting: Setting,
    /// The seed of the faults that it met.
    pub(crate) seed: u64,
    pub(crate) weight_bytes: u64,
    /// Where the link has a rate.
    pub(crate) floor_ms: Option<f64>,
    /// Those that were reached, by their names.
    pub(crate) marks_ms: BTreeMap<String, f64>,
    /// Those that are not 0, by their names.
    pub(crate) counters: BTreeMap<String, u64>,
    pub(crate) cpu_ms: Option<f64>,
    pub(crate) peak_rss_bytes: Option<f64>,
}

/// What is the same for all runs of a set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Setting {
    pub(crate) profile: String,
    pub(crate) model: String,
    pub(crate) prompt_tokens: usize,
    /// What the set adds to the command, or which other program it runs.
    pub(crate) variant: String,
    pub(crate) commit: String,
    /// Whether the working tree had changes on top of the commit.
    pub(crate) dirty: bool,
    pub(crate) date: String,
    pub(crate) machine: String,
}

impl Setting {
    /// `tail`, or `tail --hedge-percent=0`.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.profile, self.variant).trim_end().to_owned()
    }

    /// What two settings share that can be compared.
    pub(crate) fn task(&self) -> (&str, &str, usize) {
        (&self.profile, &self.model, self.prompt_tokens)
    }
}

impl Record {
    pub(crate) fn new(setting: &Setting, seed: u64, report: &Report) -> Self {
        let said = |key| report.description.get(key).and_then(|text: &String| text.parse().ok());
        let marks = report.marks_ms.iter().map(|(mark, ms)| (mark.name().to_owned(), *ms));
        let counters = report.counters.iter().filter(|(_, count)| **count > 0);
        Self {
            setting: setting.clone(),
            seed,
            weight_bytes: report.weight_bytes,
            floor_ms: report.floor_ms,
            marks_ms: marks.collect(),
            counters: counters.map(|(counter, n)| (counter.name().to_owned(), *n)).collect(),
            cpu_ms: said("cpu_ms"),
            peak_rss_bytes: said("peak_rss_bytes"),
        }
    }

    /// When `mark` was reached; NaN if it was not.
    pub(crate) fn mark_ms(&self, mark: &str) -> f64 {
        self.marks_ms.get(mark).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn ttft_ms(&self) -> f64 {
        self.mark_ms("first token")
    }

    /// NaN where there is no floor.
    pub(crate) fn over_floor(&self) -> f64 {
        self.ttft_ms() / self.floor_ms.unwrap_or(f64::NAN)
    }

    pub(crate) fn counted(&self, counter: &str) -> f64 {
        self.counters.get(counter).copied().unwrap_or(0) as f64
    }
}

/// Runs of one setting.
pub(crate) type Set = Vec<Record>;

/// All runs in a file, by their settings, in the order in which the settings first appear.
pub(crate) fn read(path: &Path) -> io::Result<Vec<Set>> {
    let mut sets: Vec<Set> = Vec::new();
    for line in fs::read_to_string(path)?.lines() {
        let record: Record = serde_json::from_str(line)?;
        let same = |set: &&mut Set| {
            let (a, b) = (&set[0].setting, &record.setting);
            a.task() == b.task()
                && (&a.variant, &a.commit, a.dirty) == (&b.variant, &b.commit, b.dirty)
        };
        match sets.iter_mut().find(same) {
            Some(set) => set.push(record),
            None => sets.push(vec![record]),
        }
    }
    Ok(sets)
}

/// Adds a line for each record to the file, which is made where there is none.
pub(crate) fn append(path: &Path, records: &[Record]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path)?;
    let lines = records.iter().map(|record| serde_json::to_string(record).map(|line| line + "\n"));
    file.write_all(lines.collect::<Result<String, _>>()?.as_bytes())
}
