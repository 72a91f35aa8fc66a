//! The page cache, in which a bench has the files that it is not about.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Brings the files into the page cache: the server's disk is not what is measured.
pub(crate) fn warm(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() {
            io::copy(&mut File::open(path)?, &mut io::sink())?;
        }
    }
    Ok(())
}
