//! Where a model lives, as it is written on a command line.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use url::Url;

use crate::Error;

/// A place that holds the files of one model, flat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// `s3://bucket/prefix`
    S3 {
        /// The bucket's name.
        bucket: String,
        /// What stands before the file names, without slashes at its ends; may be empty.
        prefix: String,
    },
    /// `https://host/path/` (or `http://`): any server that answers range requests. A query is kept (signed URLs).
    Http {
        /// The URL that file names are appended to.
        base: Url,
    },
    /// `hf://owner/name[@revision]`
    Hub {
        /// `owner/name`.
        repository: String,
        /// A branch, tag or commit; `main` unless given.
        revision: String,
    },
    /// A folder on this machine.
    Folder {
        /// Its path.
        path: PathBuf,
    },
}

impl FromStr for Location {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.split_once("://") {
            Some(("s3", rest)) => s3(text, rest),
            Some(("hf", rest)) => hub(text, rest),
            Some(("http" | "https", _)) => http(text),
            Some(("file", path)) => Ok(Self::Folder { path: path.into() }),
            Some(_) => {
                Err(invalid(text, "its scheme is none of `s3`, `https`, `http`, `hf`, `file`"))
            }
            None if text.is_empty() => Err(invalid(text, "it is empty")),
            None => Ok(Self::Folder { path: text.into() }),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            Self::Http { base } => f.write_str(&without_query(base)),
            Self::Hub { repository, revision } => write!(f, "hf://{repository}@{revision}"),
            Self::Folder { path } => write!(f, "{}", path.display()),
        }
    }
}

/// A URL as it may be printed: what follows `?` is often a signature, what stands before `@` a password.
pub(crate) fn without_query(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    let _ = shown.set_password(None);
    let _ = shown.set_username("");
    shown.into()
}

fn s3(text: &str, rest: &str) -> Result<Location, Error> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(invalid(text, "it names no bucket"));
    }
    Ok(Location::S3 { bucket: bucket.into(), prefix: prefix.trim_matches('/').into() })
}

fn hub(text: &str, rest: &str) -> Result<Location, Error> {
    let (repository, revision) = rest.split_once('@').unwrap_or((rest, "main"));
    let repository = repository.trim_end_matches('/');
    let named = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    match repository.split_once('/') {
        Some((owner, name)) if named(owner) && named(name) => {}
        _ => return Err(invalid(text, "it is not of the form `hf://owner/name[@revision]`")),
    }
    if revision.is_empty() {
        return Err(invalid(text, "its revision is empty"));
    }
    Ok(Location::Hub { repository: repository.into(), revision: revision.into() })
}

fn http(text: &str) -> Result<Location, Error> {
    let shown = text.split('?').next().unwrap_or_default();
    let shown = shown.rsplit_once('@').map_or(shown, |(_secret, host)| host);
    let base = Url::parse(text).map_err(|reason| invalid(shown, &reason.to_string()))?;
    Ok(Location::Http { base })
}

fn invalid(text: &str, reason: &str) -> Error {
    Error::Location { text: text.into(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Location {
        text.parse().unwrap()
    }

    #[test]
    fn every_form_is_read_and_printed() {
        for (text, printed) in [
            ("s3://models/llama/8b/", "s3://models/llama/8b"),
            ("s3://models", "s3://models/"),
            ("hf://a/b", "hf://a/b@main"),
            ("hf://a/b@v1/x", "hf://a/b@v1/x"),
            ("https://u:p@h/m/?sig=secret", "https://h/m/"),
            ("./a/b", "./a/b"),
            ("file:///a/b", "/a/b"),
        ] {
            assert_eq!(parse(text).to_string(), printed);
        }
    }

    #[test]
    fn what_is_not_a_location_is_named() {
        for text in
            ["", "s3:///x", "hf://only", "hf://a/b/c", "hf://../b", "ftp://h/x", "hf://a/b@"]
        {
            let error = text.parse::<Location>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }
}
