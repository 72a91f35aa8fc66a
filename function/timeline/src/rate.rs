//! How fast a link carries bytes, as people write it: `1gbit`, `600mbit`, `100MB`, `75MB/s`.
//!
//! Network people count bits, storage people count bytes, and a lower-case `b` is used for both. So a unit says which
//! one it means, by `bit` or by a capital `B`, and anything else is an error that shows the two ways to write it.

use std::{fmt, str::FromStr, time::Duration};

use thiserror::Error;

/// A positive number of bytes a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate {
    bytes_per_s: u64,
}

impl Rate {
    /// # Panics
    /// If `bytes_per_s` is zero: nothing ever crosses such a link.
    #[must_use]
    pub const fn from_bytes_per_s(bytes_per_s: u64) -> Self {
        assert!(bytes_per_s > 0, "a rate is positive");
        Self { bytes_per_s }
    }

    /// Bytes a second.
    #[must_use]
    pub const fn bytes_per_s(self) -> u64 {
        self.bytes_per_s
    }

    /// How long `bytes` take at this rate.
    #[must_use]
    pub fn time_for(self, bytes: u64) -> Duration {
        Duration::from_secs_f64(bytes as f64 / self.bytes_per_s as f64)
    }

    /// This rate divided by `factor`, at least a byte a second.
    #[must_use]
    pub fn slower(self, factor: f64) -> Self {
        Self::rounded((self.bytes_per_s as f64 / factor).clamp(1.0, MAX_BYTES_PER_S))
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "callers pass what is between 1 and 1e15"
    )]
    fn rounded(bytes_per_s: f64) -> Self {
        Self::from_bytes_per_s(bytes_per_s.round() as u64)
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let text = text.trim();
        let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(unit_at);
        let number: f64 =
            number.parse().map_err(|_| RateError::NoNumber { text: text.to_owned() })?;
        let bytes_per_s = number * bytes_in(text, unit.trim())?;
        if (1.0..=MAX_BYTES_PER_S).contains(&bytes_per_s) {
            Ok(Self::rounded(bytes_per_s))
        } else {
            Err(RateError::OutOfRange { text: text.to_owned() })
        }
    }
}

/// Writes a form that parses to the same rate: whole gigabits as bits, everything else as bytes.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.bytes_per_s;
        if bytes.is_multiple_of(GBIT_BYTES) {
            return write!(f, "{}gbit", bytes / GBIT_BYTES);
        }
        match bytes {
            1_000_000.. => write!(f, "{}MB/s", bytes as f64 / 1e6),
            1_000.. => write!(f, "{}kB/s", bytes as f64 / 1e3),
            _ => write!(f, "{bytes}B/s"),
        }
    }
}

/// Why a text is not a rate.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RateError {
    /// It does not begin with a number.
    #[error("`{text}` does not begin with a number; write a rate as `1gbit` or `100MB`")]
    NoNumber {
        /// What was given.
        text: String,
    },
    /// It is a number alone.
    #[error("`{text}` has no unit; write `{text}mbit` for bits or `{text}MB` for bytes a second")]
    NoUnit {
        /// What was given.
        text: String,
    },
    /// Its unit ends in a lower-case `b`.
    #[error(
        "`{unit}` in `{text}` could mean bits or bytes; \
         write `{prefix}bit` for bits or `{prefix}B` for bytes a second"
    )]
    Ambiguous {
        /// What was given.
        text: String,
        /// The part after the number.
        unit: String,
        /// The unit without its `b`.
        prefix: String,
    },
    /// Its unit is none that is known.
    #[error(
        "`{unit}` in `{text}` is not a unit of rate; \
         known are bit, kbit, mbit, gbit and B, kB, MB, GB, KiB, MiB, GiB"
    )]
    UnknownUnit {
        /// What was given.
        text: String,
        /// The part after the number.
        unit: String,
    },
    /// It is less than a byte a second, or more than any network carries.
    #[error("`{text}` is not between 1 byte and 1 PB a second")]
    OutOfRange {
        /// What was given.
        text: String,
    },
}

/// Bytes in one `unit`, a part of `text`. A trailing `/s` or `ps` says nothing new.
fn bytes_in(text: &str, unit: &str) -> Result<f64, RateError> {
    let bare = unit.strip_suffix("/s").or_else(|| unit.strip_suffix("ps")).unwrap_or(unit);
    if bare.is_empty() {
        return Err(RateError::NoUnit { text: text.to_owned() });
    }
    let unknown = || RateError::UnknownUnit { text: text.to_owned(), unit: unit.to_owned() };
    if let Some(prefix) = bare.to_ascii_lowercase().strip_suffix("bit") {
        return decimal(prefix).map(|scale| scale / 8.0).ok_or_else(unknown);
    }
    if let Some(prefix) = bare.strip_suffix('B') {
        return decimal(prefix).or_else(|| binary(prefix)).ok_or_else(unknown);
    }
    match bare.strip_suffix('b') {
        Some(prefix) if decimal(prefix).is_some() => Err(RateError::Ambiguous {
            text: text.to_owned(),
            unit: unit.to_owned(),
            prefix: prefix.to_owned(),
        }),
        _ => Err(unknown()),
    }
}

fn decimal(prefix: &str) -> Option<f64> {
    Some(match prefix {
        "" => 1.0,
        "k" | "K" => 1e3,
        "m" | "M" => 1e6,
        "g" | "G" => 1e9,
        _ => return None,
    })
}

fn binary(prefix: &str) -> Option<f64> {
    Some(match prefix {
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    })
}

const GBIT_BYTES: u64 = 125_000_000;

/// 1 PB/s: far above any link, and exact in an `f64`.
const MAX_BYTES_PER_S: f64 = 1e15;

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_per_s(text: &str) -> u64 {
        text.parse::<Rate>().expect(text).bytes_per_s()
    }

    #[test]
    fn bits_and_bytes_are_told_apart() {
        for (text, expected) in [
            ("1gbit", 125_000_000),
            ("1Gbit/s", 125_000_000),
            ("600mbit", 75_000_000),
            ("75MB/s", 75_000_000),
            ("100MB", 100_000_000),
            ("100 MBps", 100_000_000),
            ("2.5gbit", 312_500_000),
            ("64KiB", 65_536),
            ("8bit", 1),
        ] {
            assert_eq!(bytes_per_s(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_rate_is_told_why() {
        for (text, expected) in [
            ("", "does not begin with a number"),
            ("fast", "does not begin with a number"),
            ("1.2.3MB", "does not begin with a number"),
            ("-1gbit", "does not begin with a number"),
            ("100", "write `100mbit` for bits or `100MB` for bytes"),
            ("1gb", "`gb` in `1gb` could mean bits or bytes; write `gbit` for bits or `gB`"),
            ("1Gbps", "could mean bits or bytes"),
            ("1furlong", "`furlong` in `1furlong` is not a unit of rate"),
            ("0gbit", "is not between 1 byte and 1 PB a second"),
            ("1bit", "is not between 1 byte and 1 PB a second"),
            ("9999999999GB", "is not between 1 byte and 1 PB a second"),
        ] {
            let message = text.parse::<Rate>().unwrap_err().to_string();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }

    #[test]
    fn what_is_displayed_parses_to_the_same_rate() {
        for (rate, expected) in [
            (125_000_000, "1gbit"),
            (1_250_000_000, "10gbit"),
            (75_000_000, "75MB/s"),
            (1_234_567, "1.234567MB/s"),
            (1_500, "1.5kB/s"),
            (7, "7B/s"),
        ] {
            let shown = Rate::from_bytes_per_s(rate).to_string();
            assert_eq!(shown, expected);
            assert_eq!(bytes_per_s(&shown), rate);
        }
    }
}
