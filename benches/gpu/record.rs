//! What was measured, in one file of JSON that is written anew after every figure: whoever is killed leaves what it had.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{fs, io};

use serde::{Deserialize, Serialize};

/// All that was measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// By the names of the parts.
    pub(crate) parts: BTreeMap<String, Part>,
}

/// What one process measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) place: Place,
    /// Whether it came to its end.
    pub(crate) complete: bool,
    pub(crate) took_s: f64,
    pub(crate) figures: Vec<Figure>,
    /// What a reader has to know besides.
    pub(crate) notes: Vec<String>,
}

/// Where, when and of what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) device: String,
    pub(crate) architecture: String,
    /// What the driver speaks.
    pub(crate) cuda: String,
    pub(crate) driver: String,
    pub(crate) machine: String,
    pub(crate) commit: String,
    pub(crate) date: String,
    /// `true`, or `tiny`: then it was no measurement.
    pub(crate) sizes: String,
}

/// A number of a section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) section: String,
    pub(crate) row: String,
    pub(crate) column: String,
    pub(crate) value: f64,
    /// What it could be at most, measured beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<f64>,
}

impl Record {
    /// What is in the file; nothing where there is none.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            text => Ok(serde_json::from_str(&text?)?),
        }
    }

    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let fresh = path.with_extension("fresh");
        fs::write(&fresh, serde_json::to_string_pretty(self)? + "\n")?;
        fs::rename(fresh, path)
    }

    /// That of the part that ran last, where two have it.
    pub(crate) fn figure(&self, section: &str, row: &str, column: &str) -> Option<&Figure> {
        let mut figures = self.parts.values().flat_map(|part| &part.figures);
        let is_it = |it: &&Figure| (&*it.section, &*it.row, &*it.column) == (section, row, column);
        figures.rfind(is_it)
    }

    pub(crate) fn value(&self, section: &str, row: &str, column: &str) -> Option<f64> {
        self.figure(section, row, column).map(|figure| figure.value)
    }
}

/// A part that is being measured.
pub(crate) struct Recorder {
    path: PathBuf,
    name: String,
    record: Record,
    begun: Instant,
}

impl Recorder {
    /// Takes the place of what the part has measured before.
    pub(crate) fn begin(path: PathBuf, name: &str, place: Place) -> io::Result<Self> {
        let mut record = Record::read(&path)?;
        record.parts.insert(name.to_owned(), Part { place, ..Part::default() });
        let recorder = Self { path, name: name.to_owned(), record, begun: Instant::now() };
        recorder.record.write(&recorder.path)?;
        Ok(recorder)
    }

    /// What was measured so far, by this part and by others.
    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    pub(crate) fn figure(
        &mut self,
        section: &str,
        [row, column]: [&str; 2],
        value: f64,
        limit: Option<f64>,
    ) -> io::Result<()> {
        let share = limit.map_or_else(String::new, |limit| format!(" of {limit:.4}"));
        eprintln!("{section}: {row}, {column}: {value:.4}{share}");
        let (row, column) = (row.to_owned(), column.to_owned());
        let figure = Figure { section: section.to_owned(), row, column, value, limit };
        self.part().figures.push(figure);
        self.save()
    }

    pub(crate) fn note(&mut self, note: String) -> io::Result<()> {
        eprintln!("{note}");
        self.part().notes.push(note);
        self.save()
    }

    pub(crate) fn end(mut self) -> io::Result<()> {
        self.part().complete = true;
        self.save()
    }

    fn save(&mut self) -> io::Result<()> {
        self.part().took_s = self.begun.elapsed().as_secs_f64();
        self.record.write(&self.path)
    }

    fn part(&mut self) -> &mut Part {
        self.record.parts.get_mut(&self.name).expect("it was inserted at the beginning")
    }
}
