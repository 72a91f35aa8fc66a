//! A model's files once more, to be changed.

use std::fs;
use std::path::Path;

/// A folder with the files of another, gone with the value.
pub(crate) fn copied(model: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("there is room");
    for file in fs::read_dir(model).expect("it is a folder") {
        let file = file.expect("it can be listed");
        fs::copy(file.path(), folder.path().join(file.file_name())).expect("it can be read");
    }
    folder
}
