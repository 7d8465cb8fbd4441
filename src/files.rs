//! Opens the files that a configuration names.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Opens a file to be read. What is none, such as a pipe or a device, is refused before it is opened: whoever opened it could wait for
/// ever, and would read something else each time.
pub(crate) fn regular(path: &Path) -> io::Result<File> {
    if fs::metadata(path)?.is_file() {
        File::open(path)
    } else {
        Err(io::Error::other("this is no regular file"))
    }
}

/// Whether something stands there that is no regular file.
pub(crate) fn is_other(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| !found.is_file())
}
