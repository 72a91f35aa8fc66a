//! Files of this machine: mapped where they are used in place, read where they are copied.

use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use memmap2::Mmap;

use crate::source::Pieces;
use crate::{Body, Error, Object, Opened, Store, Version};

/// Bytes a `pread` asks for: large enough that the call costs nothing beside the copy, small enough for the cache.
const READ_BYTES: u64 = 1 << 20;

/// The files of one folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder must be there.
    pub fn new(path: &Path) -> Result<Self, Error> {
        let object = path.display().to_string();
        match std::fs::metadata(path) {
            Ok(found) if found.is_dir() => Ok(Self { path: path.into() }),
            Ok(_) => Err(Error::File { object, source: io::ErrorKind::NotADirectory.into() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let hint = Some("a model is a folder, or s3://, https://, hf://".into());
                Err(Error::NotFound { object, hint })
            }
            Err(source) => Err(Error::File { object, source }),
        }
    }

    fn open_file(&self, key: &str) -> Result<(File, Object), Error> {
        let path = self.path.join(key);
        // Opening what is no file can wait for ever (a pipe): it is looked at first.
        match std::fs::metadata(&path) {
            Ok(found) if !found.is_file() => {
                return Err(self.failure(key, io::Error::other("it is not a file")));
            }
            Ok(_) => {}
            Err(source) => return Err(self.failure(key, source)),
        }
        match File::open(&path).and_then(|file| Ok((file.metadata()?, file))) {
            Ok((found, file)) => Ok((file, object(key, &found))),
            Err(source) => Err(self.failure(key, source)),
        }
    }

    fn open_same(&self, planned: &Object) -> Result<File, Error> {
        let (file, found) = self.open_file(&planned.key)?;
        if found == *planned {
            return Ok(file);
        }
        Err(Error::Changed {
            object: self.locate(&planned.key),
            planned: planned.version.to_string(),
            found: found.version.to_string(),
        })
    }

    fn failure(&self, key: &str, source: io::Error) -> Error {
        let object = self.locate(key);
        match source.kind() {
            io::ErrorKind::NotFound => Error::NotFound { object, hint: None },
            _ => Error::File { object, source },
        }
    }

    fn chunks(&self, file: File, object: &Object, range: Range<u64>) -> Box<dyn Body> {
        let name: Arc<str> = self.locate(&object.key).into();
        let file = Arc::new(file);
        let pieces = stream::unfold(range.start, move |at| {
            let (file, name, range) = (Arc::clone(&file), Arc::clone(&name), range.clone());
            async move {
                let len = READ_BYTES.min(range.end.checked_sub(at).filter(|left| *left > 0)?);
                let object = name.to_string();
                let read = tokio::task::spawn_blocking(move || pread(&file, at, len, &name, range));
                // A runtime that is being shut down ends tasks that had not begun.
                let ended = |error| Error::File { object, source: io::Error::other(error) };
                Some((read.await.map_err(ended).and_then(|read| read), at + len))
            }
        });
        Box::new(Pieces::new(pieces.boxed()))
    }
}

#[async_trait]
impl Store for Folder {
    fn locate(&self, key: &str) -> String {
        self.path.join(key).display().to_string()
    }

    async fn open(&self, key: &str, head_bytes: u64) -> Result<Opened, Error> {
        let (file, object) = self.open_file(key)?;
        if object.size == 0 {
            return Err(Error::Empty { object: self.locate(key) });
        }
        let head = self.chunks(file, &object, 0..head_bytes.min(object.size));
        Ok(Opened { object, head })
    }

    async fn read(&self, object: &Object, range: Range<u64>) -> Result<Box<dyn Body>, Error> {
        Ok(self.chunks(self.open_same(object)?, object, range))
    }

    fn file(&self, object: &Object) -> Result<Option<File>, Error> {
        self.open_same(object).map(Some)
    }

    fn map(&self, object: &Object) -> Result<Option<Bytes>, Error> {
        Ok(Some(Bytes::from_owner(
            map_file(&self.open_same(object)?)
                .map_err(|source| Error::File { object: self.locate(&object.key), source })?,
        )))
    }
}

#[expect(
    unsafe_code,
    reason = "mapping a file is unsafe as such: whoever truncates it pulls the memory away"
)]
fn map_file(file: &File) -> io::Result<Mmap> {
    // SAFETY: the mapping is read-only and private to this process. A model's files are not written in place while they
    // are served (a new version is a new file, moved over the old one, whose pages stay); who does it all the same
    // changes weights under a running model, which then ends, or has the process killed by SIGBUS.
    unsafe { Mmap::map(file) }
}

fn object(key: &str, found: &Metadata) -> Object {
    let (inode, size) = (found.ino(), found.size());
    let stamp =
        format!("inode {inode}, {size} bytes, {}.{:09} s", found.mtime(), found.mtime_nsec());
    Object { key: key.into(), size, version: Version::File(stamp) }
}

fn pread(file: &File, at: u64, len: u64, name: &str, range: Range<u64>) -> Result<Bytes, Error> {
    let mut buffer = vec![0; usize::try_from(len).expect("at most READ_BYTES")];
    match file.read_exact_at(&mut buffer, at) {
        Ok(()) => Ok(buffer.into()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(Error::Short { object: name.into(), range, at })
        }
        Err(source) => Err(Error::File { object: name.into(), source }),
    }
}
