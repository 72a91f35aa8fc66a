//! What the bucket holds: objects in memory, and folders whose files are objects.
//!
//! A key is looked up in memory first, then in the folders, the longest prefix first. An object's
//! bytes are one [`Bytes`] either way, so that a range of it is a slice, and no byte is copied on
//! its way to the socket.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::SystemTime,
};

use bytes::Bytes;
use s3s::crypto::{Checksum, Crc64Nvme};

use crate::folder::Folder;

/// A handle on what a bucket server holds: clones share it, so that a test can change objects under
/// a running server.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    buckets: Arc<RwLock<BTreeMap<String, Bucket>>>,
}

impl Objects {
    /// Nothing at all.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts an object, and its bucket where that is new. An object that is already there is
    /// replaced at once: answers that have begun go on with the old bytes, later ones see the new
    /// bytes, `ETag` and `Last-Modified`.
    ///
    /// # Panics
    /// If S3 would not take `bucket` as a name, since no request could ask for it.
    pub fn insert(&self, bucket: &str, key: &str, data: impl Into<Bytes>) {
        let object = Object::in_memory(data.into());
        drop(self.with_bucket(bucket, |bucket| bucket.memory.insert(key.to_owned(), object)));
    }

    /// Puts an object as a client does, and says its `ETag`; nothing, where it may only be a new one
    /// and there is one.
    pub(crate) fn put(
        &self,
        bucket: &str,
        key: &str,
        data: Bytes,
        is_only_new: bool,
    ) -> Option<String> {
        let object = Object::in_memory(data);
        let etag = object.etag.clone();
        self.with_bucket(bucket, |bucket| {
            if is_only_new && bucket.find(key).is_some() {
                return None;
            }
            bucket.memory.insert(key.to_owned(), object);
            Some(etag)
        })
    }

    /// The bytes of an object, where there is one.
    #[must_use]
    pub fn get(&self, bucket: &str, key: &str) -> Option<Bytes> {
        self.find(bucket, key).ok().map(|object| object.data)
    }

    /// The `ETag` of an object, without quotes, where there is one.
    #[must_use]
    pub fn etag(&self, bucket: &str, key: &str) -> Option<String> {
        self.find(bucket, key).ok().map(|object| object.etag)
    }

    /// Serves the files under `path` as `prefix` + their path in it. Files are mapped when first
    /// asked for; one that changes gets a new `ETag`. A file must not be truncated while it is
    /// served: replace it by a rename.
    ///
    /// # Panics
    /// If S3 would not take `bucket` as a name.
    pub fn serve_folder(&self, bucket: &str, prefix: &str, path: &Path) -> io::Result<()> {
        let folder = Folder::open(prefix, path)?;
        self.with_bucket(bucket, |bucket| {
            bucket.folders.push(folder);
            bucket.folders.sort_by_key(|folder| std::cmp::Reverse(folder.prefix().len()));
        });
        Ok(())
    }

    /// Takes an object out of memory; a file of that key in a served folder shows again.
    pub fn remove(&self, bucket: &str, key: &str) {
        drop(self.with_bucket(bucket, |bucket| bucket.memory.remove(key)));
    }

    pub(crate) fn find(&self, bucket: &str, key: &str) -> Result<Object, Missing> {
        self.read().get(bucket).ok_or(Missing::Bucket)?.find(key).ok_or(Missing::Key)
    }

    /// Every object of a bucket, by key.
    pub(crate) fn list(&self, bucket: &str) -> Result<BTreeMap<String, Object>, Missing> {
        self.read().get(bucket).map(Bucket::list).ok_or(Missing::Bucket)
    }

    pub(crate) fn bucket_names(&self) -> Vec<String> {
        self.read().keys().cloned().collect()
    }

    fn with_bucket<T>(&self, name: &str, change: impl FnOnce(&mut Bucket) -> T) -> T {
        assert!(s3s::path::check_bucket_name(name), "`{name}` is no S3 bucket name");
        change(self.write().entry(name.to_owned()).or_default())
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Bucket>> {
        self.buckets.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<String, Bucket>> {
        self.buckets.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One version of one object.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) data: Bytes,
    pub(crate) etag: String,
    pub(crate) modified: SystemTime,
}

impl Object {
    fn in_memory(data: Bytes) -> Self {
        Self { etag: etag_of(&data), modified: SystemTime::now(), data }
    }
}

/// What was not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    Bucket,
    Key,
}

#[derive(Debug, Default)]
struct Bucket {
    memory: BTreeMap<String, Object>,
    folders: Vec<Folder>,
}

impl Bucket {
    fn find(&self, key: &str) -> Option<Object> {
        let in_folders = || self.folders.iter().find_map(|folder| folder.find(key));
        self.memory.get(key).cloned().or_else(in_folders)
    }

    fn list(&self) -> BTreeMap<String, Object> {
        let mut all = BTreeMap::new();
        for folder in self.folders.iter().rev() {
            for key in folder.keys() {
                let object = folder.find(&key);
                all.extend(object.map(|object| (key, object)));
            }
        }
        all.extend(self.memory.iter().map(|(key, object)| (key.clone(), object.clone())));
        all
    }
}

/// A checksum of the contents, as hex. S3's is an MD5 for small uploads and something else for
/// others, so that clients must not read anything into it.
fn etag_of(data: &[u8]) -> String {
    format!("{:016x}", u64::from_be_bytes(Crc64Nvme::checksum(data)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_object_has_another_etag_and_the_old_bytes_live_on() {
        let objects = Objects::new();
        objects.insert("models", "a", "first");
        let old = objects.find("models", "a").unwrap();
        objects.insert("models", "a", "other");
        let new = objects.find("models", "a").unwrap();
        assert_eq!((&old.data[..], &new.data[..]), (&b"first"[..], &b"other"[..]));
        assert_ne!(old.etag, new.etag);
    }

    #[test]
    fn what_is_missing_is_named() {
        let objects = Objects::new();
        objects.insert("models", "a", "");
        assert_eq!(objects.find("models", "b").unwrap_err(), Missing::Key);
        assert_eq!(objects.find("other", "a").unwrap_err(), Missing::Bucket);
    }

    #[test]
    fn memory_covers_folders_and_deep_folders_cover_shallow_ones() {
        let (outer, inner) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir(outer.path().join("x")).unwrap();
        for (path, data) in [("x/a", "outer"), ("x/b", "outer"), ("c", "outer")] {
            std::fs::write(outer.path().join(path), data).unwrap();
        }
        std::fs::write(inner.path().join("a"), "inner").unwrap();
        let objects = Objects::new();
        objects.serve_folder("models", "m/", outer.path()).unwrap();
        objects.serve_folder("models", "m/x/", inner.path()).unwrap();
        objects.insert("models", "m/c", "memory");

        for (key, expected) in [("m/x/a", "inner"), ("m/x/b", "outer"), ("m/c", "memory")] {
            assert_eq!(objects.find("models", key).unwrap().data, expected, "{key}");
            assert_eq!(objects.list("models").unwrap()[key].data, expected, "{key}");
        }
        objects.remove("models", "m/c");
        assert_eq!(objects.find("models", "m/c").unwrap().data, "outer");
    }

    #[test]
    #[should_panic(expected = "`No_Bucket` is no S3 bucket name")]
    fn a_name_that_no_request_can_ask_for_is_refused() {
        Objects::new().insert("No_Bucket", "a", "");
    }
}
