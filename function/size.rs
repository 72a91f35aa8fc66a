//! How much memory, as people write it: `256MiB`, `1GiB`, `64 MB`.

use std::fmt;
use std::str::FromStr;

/// A positive number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) bytes: u64,
}

/// Units by their names; the first of those that divide a size is what it is printed in.
const UNITS: [(&str, u64); 6] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
];

/// Why a text is not a size.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a size; write one as `256MiB` or `1GB`")]
pub(crate) struct SizeError {
    text: String,
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let trimmed = text.trim();
        let unit_at = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(unit_at);
        let unit = UNITS.iter().find(|(name, _)| *name == unit.trim());
        let bytes =
            number.parse::<u64>().ok().zip(unit).and_then(|(n, unit)| n.checked_mul(unit.1));
        let bytes = bytes.filter(|bytes| *bytes > 0);
        Ok(Self { bytes: bytes.ok_or_else(|| SizeError { text: text.to_owned() })? })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(_, unit)| self.bytes.is_multiple_of(*unit)) {
            Some((name, unit)) => write!(f, "{}{name}", self.bytes / unit),
            None => write!(f, "{} bytes", self.bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units_and_printed_as_they_were() {
        for (text, bytes) in [("256MiB", 256 << 20), ("1GiB", 1 << 30), ("3MB", 3_000_000)] {
            let size: Size = text.parse().expect("a size");
            assert_eq!((size.bytes, size.to_string().as_str()), (bytes, text));
        }
        assert_eq!(" 64 KiB ".parse(), Ok(Size { bytes: 64 << 10 }));
        for wrong in ["", "MiB", "12", "0MiB", "-1MiB", "1.5GiB", "1mb", "99999999999GiB"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }
}
