//! Mapped files, and what they were like when they were mapped.
//!
//! What is written into such a file changes the weights under the model, and where the file is cut short, the arithmetic
//! ends by SIGBUS. Both show in the size and the time of modification of the open file. One that was moved away, or that
//! another was moved over, is none the worse: its content stays for as long as it is mapped.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use crate::Error;

/// The files of a model that are in use where they lie. Clones are the same ones.
#[derive(Clone, Default)]
pub struct Stamps(Arc<[Stamp]>);

/// One file.
pub(crate) struct Stamp {
    file: File,
    /// The file's full name.
    name: String,
    found: Look,
}

/// What a file looks like without being read.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Look {
    bytes: u64,
    modified: SystemTime,
}

impl Stamps {
    /// Fails where one of the files was changed since it was mapped. Takes half a microsecond a file.
    pub fn check(&self) -> Result<(), Error> {
        self.0.iter().try_for_each(Stamp::check)
    }

    /// Whether nothing is mapped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Stamp> for Stamps {
    fn from_iter<I: IntoIterator<Item = Stamp>>(stamps: I) -> Self {
        Self(stamps.into_iter().collect())
    }
}

impl Stamp {
    /// What is open as `file`, as it is now.
    pub(crate) fn new(file: File, name: String) -> io::Result<Self> {
        let found = Look::at(&file)?;
        Ok(Self { file, name, found })
    }

    fn check(&self) -> Result<(), Error> {
        // One that does not answer, as a server's that is away, says nothing of what is in memory.
        let Ok(now) = Look::at(&self.file) else { return Ok(()) };
        if now == self.found {
            return Ok(());
        }
        let (before, bytes) = (self.found.bytes, now.bytes);
        let change = if bytes == before {
            format!("it has the same {bytes} bytes, and was written to")
        } else {
            format!("it had {before} bytes, and has {bytes}")
        };
        Err(Error::Rewritten { object: self.name.clone(), change })
    }
}

impl Look {
    fn at(file: &File) -> io::Result<Self> {
        let found = file.metadata()?;
        Ok(Self { bytes: found.len(), modified: found.modified()? })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    fn stamps(path: &std::path::Path) -> Stamps {
        let stamp = Stamp::new(File::open(path).unwrap(), path.display().to_string());
        Stamps::from_iter([stamp.unwrap()])
    }

    #[test]
    fn what_is_done_to_the_file_is_noticed_and_what_is_done_to_its_name_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        fs::write(&path, "weights").unwrap();
        let (file, mapped) = (File::options().write(true).open(&path).unwrap(), stamps(&path));
        mapped.check().unwrap();
        let another = folder.path().join("another");
        fs::write(&another, "others").unwrap();
        fs::rename(&another, &path).unwrap();
        mapped.check().unwrap();
        fs::remove_file(&path).unwrap();
        mapped.check().unwrap();
        file.set_modified(SystemTime::now() + Duration::from_secs(1)).unwrap();
        let error = mapped.check().unwrap_err().to_string();
        assert!(error.contains("model.safetensors` was changed"), "{error}");
        assert!(error.contains("the same 7 bytes, and was written to"), "{error}");
        file.set_len(3).unwrap();
        let error = mapped.check().unwrap_err().to_string();
        assert!(error.contains("it had 7 bytes, and has 3"), "{error}");
    }
}
