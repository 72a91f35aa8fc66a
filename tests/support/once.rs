//! Folders that are made once: across threads, processes and runs.
//!
//! The maker holds an exclusive lock on a file beside the folder, works in `FOLDER.partial`, renames, and notes the
//! recipe last. A folder whose note is missing or tells another recipe is made anew.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Makes sure that `folder` holds what `make` writes into the empty folder it is given.
///
/// `recipe` is all that the result depends on, or a hash of it.
pub(crate) fn made_once<E: From<io::Error>>(
    folder: &Path,
    recipe: &str,
    make: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    fs::create_dir_all(folder.parent().expect("a cache has a parent"))?;
    let lock = File::create(beside(folder, "lock"))?;
    lock.lock()?; // until it is dropped
    let note = beside(folder, "recipe");
    if folder.is_dir() && fs::read_to_string(&note).is_ok_and(|text| text == recipe) {
        return Ok(());
    }
    let partial = beside(folder, "partial");
    remove(folder)?;
    remove(&partial)?;
    fs::create_dir(&partial)?;
    make(&partial)?;
    fs::rename(&partial, folder)?;
    Ok(fs::write(note, recipe)?)
}

fn beside(folder: &Path, extension: &str) -> PathBuf {
    let mut path = OsString::from(folder);
    path.push(".");
    path.push(extension);
    PathBuf::from(path)
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
