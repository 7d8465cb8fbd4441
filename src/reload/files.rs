//! What is in files.
//!
//! They are read through their paths each time. So it does not matter how one took another's place: written over, renamed over, or, as
//! Kubernetes does it with mounted ConfigMaps and Secrets, by a symbolic link further up that leads elsewhere from one moment to the
//! next. A watch on files or folders misses that, or does not exist where they come over a network.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::io::{self, Read};
use std::path::Path;

use super::watch::Prints;
use crate::files::regular;

/// More of a file is not looked at: no certificate and no configuration is as long.
const LONGEST: u64 = 16 << 20;
const PIECE: usize = 64 << 10;

/// Looks at files. What one holds becomes a number by a key that nobody knows, so that nobody can make two that look the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    key: RandomState,
}

impl Look {
    /// What is in these files. One that cannot be read has a number for the reason. Blocks.
    pub(super) fn at<'a>(&self, files: impl IntoIterator<Item = &'a Path>) -> Prints {
        files
            .into_iter()
            .map(|file| (file.to_owned(), self.print(file)))
            .collect()
    }

    fn print(&self, file: &Path) -> u64 {
        let mut hasher = self.key.build_hasher();
        let read = read(file, &mut hasher);
        read.map_err(|error| error.kind()).hash(&mut hasher);
        hasher.finish()
    }
}

fn read(file: &Path, hasher: &mut impl Hasher) -> io::Result<u64> {
    let mut file = regular(file)?.take(LONGEST);
    let mut piece = vec![0; PIECE];
    let mut length = 0;
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(length),
            Ok(got) => {
                // Not `hash`, which would tell how the reads were cut.
                hasher.write(&piece[..got]);
                length += got as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn content_counts_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        let look = Look::default();
        let now = || look.at([&*file])[&file];
        let missing = now();
        std::fs::write(&file, "").unwrap();
        let empty = now();
        std::fs::write(&file, "one").unwrap();
        let one = now();
        std::fs::write(&file, "two").unwrap();
        let two = now();
        assert!(missing != empty && empty != one && one != two);
        // The same again, as another file.
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, "one").unwrap();
        assert_eq!(now(), one);
        // More than a piece, and a difference at its end.
        let mut long = vec![7; 3 * PIECE + 1];
        std::fs::write(&file, &long).unwrap();
        let before = now();
        long[3 * PIECE] = 8;
        std::fs::write(&file, &long).unwrap();
        assert_ne!(now(), before);
    }

    #[test]
    fn a_link_that_leads_elsewhere_is_another_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for (folder, content) in [("..first", "one"), ("..second", "two")] {
            std::fs::create_dir(path(folder)).unwrap();
            std::fs::write(path(folder).join("file"), content).unwrap();
        }
        symlink("..first", path("..data")).unwrap();
        symlink("..data/file", path("file")).unwrap();
        let look = Look::default();
        let before = look.at([&*path("file")]);
        symlink("..second", path("..data_tmp")).unwrap();
        std::fs::rename(path("..data_tmp"), path("..data")).unwrap();
        assert_ne!(look.at([&*path("file")]), before);
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        let look = Look::default();
        let print = |file: &str| look.at([Path::new(file)]).into_values().next();
        assert_eq!(print("/dev/zero"), print("/dev/null"));
    }
}
