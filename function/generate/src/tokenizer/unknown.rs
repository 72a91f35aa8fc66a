//! Why a `tokenizer.json` goes to the library instead.

use std::fmt;

/// Something in the file that is not known exactly. Whoever reads the log learns what.
#[derive(Debug)]
pub(super) struct Unknown(String);

/// Either known in all its details, or left to the library.
pub(super) type Known<T> = Result<T, Unknown>;

impl Unknown {
    /// A rule that the file does not keep.
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }

    /// `serde` met a type, a field or a value that is not among those that are known.
    pub(super) fn because(error: &serde_json::Error) -> Self {
        Self(error.to_string())
    }

    /// The text is no JSON, or JSON in an unusual shape.
    pub(super) fn json(found: &str) -> Self {
        Self(format!("the file has {found} where something else is usual"))
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
