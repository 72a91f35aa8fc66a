//! A link and what goes wrong on it, as a file in `benches/links` or anywhere.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use firstlight_bucket::{Action, Faults, Link, Requests};
use firstlight_timeline::Rate;
use serde::Deserialize;

/// A file, and what the command line says otherwise. What is not given is not shaped.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    #[serde(skip)]
    pub(crate) name: String,
    /// The whole link, all connections together: `1gbit`.
    pub(crate) link: Option<String>,
    #[serde(default)]
    pub(crate) first_byte_ms: u64,
    /// One connection: `100MB`.
    pub(crate) connection_rate: Option<String>,
    #[serde(default)]
    pub(crate) faults: Shares,
}

/// In a hundred reads, whatever they read, so many meet this; none meets two of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Shares {
    pub(crate) slow_percent: f64,
    /// First byte and body of a slow read take so many times as long.
    pub(crate) slow_factor: f64,
    pub(crate) reset_percent: f64,
    pub(crate) refuse_percent: f64,
    pub(crate) stall_percent: f64,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ProfileError {
    #[error("no profile `{path}`: {error}\nhint: known are {known}, or a path to a file")]
    Read { path: PathBuf, error: std::io::Error, known: String },
    #[error("`{path}`: {error}")]
    Toml { path: PathBuf, error: toml::de::Error },
    #[error("`{path}`: {error}")]
    Rate { path: PathBuf, error: firstlight_timeline::RateError },
    #[error("`{path}`: shares of {percents:?} % and a factor of {factor} cannot be")]
    Shares { path: PathBuf, percents: Vec<f64>, factor: f64 },
}

impl Profile {
    /// The profile of that name in `folder`; what ends in `.toml` is a path.
    pub(crate) fn find(name: &str, folder: &Path) -> Result<Self, ProfileError> {
        let path = match name.strip_suffix(".toml") {
            Some(_) => PathBuf::from(name),
            None => folder.join(format!("{name}.toml")),
        };
        let text = fs::read_to_string(&path).map_err(|error| ProfileError::Read {
            path: path.clone(),
            error,
            known: names(folder).join(", "),
        })?;
        let mut profile: Self = toml::from_str(&text)
            .map_err(|error| ProfileError::Toml { path: path.clone(), error })?;
        profile.name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        profile.check(&path)?;
        Ok(profile)
    }

    /// The same with other settings, which its name then tells of.
    pub(crate) fn but(
        mut self,
        link: Option<&String>,
        first_byte_ms: Option<u64>,
        connection_rate: Option<&String>,
    ) -> Result<Self, ProfileError> {
        if let Some(link) = link {
            let _ = write!(self.name, " link={link}");
            self.link = Some(link.clone());
        }
        if let Some(ms) = first_byte_ms {
            let _ = write!(self.name, " first-byte={ms}ms");
            self.first_byte_ms = ms;
        }
        if let Some(rate) = connection_rate {
            let _ = write!(self.name, " connection={rate}");
            self.connection_rate = Some(rate.clone());
        }
        let name = PathBuf::from(&self.name);
        self.check(&name).map(|()| self)
    }

    fn check(&self, path: &Path) -> Result<(), ProfileError> {
        for rate in [&self.link, &self.connection_rate].into_iter().flatten() {
            let parsed = rate.parse::<Rate>();
            parsed.map_err(|error| ProfileError::Rate { path: path.into(), error })?;
        }
        let percents = self.faults.percents();
        let factor = self.faults.slow_factor;
        let possible = percents.iter().all(|percent| *percent >= 0.0)
            && percents.iter().sum::<f64>() <= 100.0
            && (percents[0] == 0.0 || factor >= 1.0);
        if possible {
            return Ok(());
        }
        Err(ProfileError::Shares { path: path.into(), percents: percents.into(), factor })
    }

    pub(crate) fn link(&self) -> Link {
        Link {
            rate: rate(self.link.as_deref()),
            connection_rate: rate(self.connection_rate.as_deref()),
            first_byte: Duration::from_millis(self.first_byte_ms),
        }
    }

    pub(crate) fn faults(&self, seed: u64) -> Faults {
        let actions = [
            Action::Slower { factor: self.faults.slow_factor },
            Action::ResetAfter(CUT_AFTER_BYTES),
            Action::slow_down(),
            Action::StallAfter(CUT_AFTER_BYTES),
        ];
        let shares = self.faults.percents().map(|percent| percent / 100.0).into_iter().zip(actions);
        let shares = shares.filter(|(share, _)| *share > 0.0);
        Faults::new(seed).shared(&Requests::get("*", "*"), shares)
    }
}

impl Shares {
    /// Slow, reset, refused, stalled.
    fn percents(&self) -> [f64; 4] {
        [self.slow_percent, self.reset_percent, self.refuse_percent, self.stall_percent]
    }
}

/// The profiles in `folder`.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let name = |path: PathBuf| {
        path.extension()
            .is_some_and(|extension| extension == "toml")
            .then(|| path.file_stem().unwrap_or_default().to_string_lossy().into_owned())
    };
    let mut names: Vec<_> = entries.filter_map(|entry| name(entry.path())).collect();
    names.sort();
    names
}

fn rate(text: Option<&str>) -> Option<Rate> {
    text.map(|text| text.parse().expect("it was checked"))
}

/// In the middle of a range of 1 MiB, and early in one of 8 MiB, most of which is then asked for again.
const CUT_AFTER_BYTES: u64 = 500_000;
