//! A folder on disk whose files are objects, mapped and served without a copy.
//!
//! A file is looked at on every request (one `stat`) and mapped when it is new or has changed; its
//! `ETag` is made of length and modification time, as the bytes themselves are not read before a
//! client asks for them.

use std::{
    collections::HashMap,
    fs::{self, File, Metadata},
    io,
    path::{Component, Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;

use crate::objects::Object;

#[derive(Debug)]
pub(crate) struct Folder {
    prefix: String,
    root: PathBuf,
    mapped: Mutex<HashMap<PathBuf, Object>>,
}

impl Folder {
    pub(crate) fn open(prefix: &str, root: &Path) -> io::Result<Self> {
        if !fs::metadata(root)?.is_dir() {
            return Err(io::Error::new(
                io::ErrorKind::NotADirectory,
                format!("`{}` is not a folder", root.display()),
            ));
        }
        let mapped = Mutex::default();
        Ok(Self { prefix: prefix.to_owned(), root: root.to_owned(), mapped })
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The file of that key. What cannot be read is not there, as far as a client can tell.
    pub(crate) fn find(&self, key: &str) -> Option<Object> {
        let path = inside(Path::new(key.strip_prefix(&self.prefix)?))?;
        self.object(&self.root.join(path)).ok()
    }

    /// The keys of all files, in no order.
    pub(crate) fn keys(&self) -> Vec<String> {
        let mut keys = Vec::new();
        self.walk(&self.root, &mut keys, FOLDER_DEPTH_MAX);
        keys
    }

    fn walk(&self, folder: &Path, keys: &mut Vec<String>, depth_left: usize) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            if !path.is_dir() {
                keys.extend(self.key_of(&path));
            } else if depth_left > 0 {
                self.walk(&path, keys, depth_left - 1);
            }
        }
    }

    fn key_of(&self, path: &Path) -> Option<String> {
        let relative = path.strip_prefix(&self.root).ok()?.to_str()?;
        Some(format!("{}{relative}", self.prefix))
    }

    fn object(&self, path: &Path) -> io::Result<Object> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let modified = metadata.modified()?;
        let etag = etag_of(&metadata, modified);
        let mut mapped = self.mapped.lock().unwrap_or_else(PoisonError::into_inner);
        match mapped.get(path) {
            Some(object) if object.etag == etag => Ok(object.clone()),
            _ => {
                let object = Object { data: map(&file, &metadata)?, etag, modified };
                mapped.insert(path.to_owned(), object.clone());
                Ok(object)
            }
        }
    }
}

/// `path` if it stays inside the folder.
fn inside(path: &Path) -> Option<&Path> {
    let mut parts = path.components();
    let stays = parts.all(|part| matches!(part, Component::Normal(_)));
    (stays && !path.as_os_str().is_empty()).then_some(path)
}

fn etag_of(metadata: &Metadata, modified: SystemTime) -> String {
    let age_ns = modified.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_nanos());
    format!("{:x}-{age_ns:x}", metadata.len())
}

#[expect(unsafe_code, reason = "a file mapping has no safe constructor")]
fn map(file: &File, metadata: &Metadata) -> io::Result<Bytes> {
    if metadata.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the mapping is read-only and owned by these bytes, and `serve_folder` asks its
    // caller not to truncate a served file. The bytes are only ever copied to a socket: nothing is
    // decided on them here.
    let map = unsafe { memmap2::Mmap::map(file) }?;
    Ok(Bytes::from_owner(map))
}

/// Deeper than any model folder; it ends a walk through a link to a parent.
const FOLDER_DEPTH_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_by_key_and_nothing_outside_is() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("model");
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::write(home.path().join("secret"), "s").unwrap();
        fs::write(root.join("a"), "contents").unwrap();
        fs::write(root.join("sub/empty"), "").unwrap();
        let folder = Folder::open("m/", &root).unwrap();

        assert_eq!(folder.find("m/a").unwrap().data, "contents");
        assert_eq!(folder.find("m/sub/empty").unwrap().data, "");
        for key in ["m/", "m/sub", "m/none", "a", "m/../secret", "m//a", "m/sub/../../secret"] {
            assert!(folder.find(key).is_none(), "{key}");
        }
        let mut keys = folder.keys();
        keys.sort();
        assert_eq!(keys, ["m/a", "m/sub/empty"]);
    }

    #[test]
    fn a_file_replaced_by_a_rename_is_another_version() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a");
        fs::write(&path, "old").unwrap();
        let folder = Folder::open("", home.path()).unwrap();
        let old = folder.find("a").unwrap();
        assert_eq!(old.etag, folder.find("a").unwrap().etag);

        let next = home.path().join("next");
        fs::write(&next, "newer").unwrap();
        fs::rename(&next, &path).unwrap();
        let new = folder.find("a").unwrap();
        assert_ne!(old.etag, new.etag);
        assert_eq!((&old.data[..], &new.data[..]), (&b"old"[..], &b"newer"[..]));
    }

    #[test]
    fn a_folder_must_be_one() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        fs::write(&path, "").unwrap();
        assert!(Folder::open("", &path).unwrap_err().to_string().contains("is not a folder"));
        assert!(Folder::open("", &home.path().join("none")).is_err());
    }
}
