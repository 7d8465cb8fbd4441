//! Decides what to do about what is in the files. Pure: it is told what each holds, as a number.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// What stands in each file, as a number that is another for any other content.
pub(super) type Prints = BTreeMap<PathBuf, u64>;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    Rest,
    /// Something has changed: look again shortly.
    LookAgain,
    /// What has changed stands still: reload.
    Reload,
}

/// What is known of the files.
///
/// An editor writes in pieces, and a certificate is replaced before its key or after it. So what has changed must be the same twice
/// before it is read.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// What the last attempt saw. One that failed is made again when something is different, not before.
    tried: Prints,
    /// What is there now, and was not yet when `tried` was taken.
    changed: Option<Prints>,
    /// An attempt since then could not read anything: it is owed.
    owed: bool,
}

impl Watch {
    /// What an attempt to load begins with. It is taken before anything is read: what changes in between has changed then.
    pub(super) fn tried(&mut self, prints: Prints) {
        *self = Self {
            tried: prints,
            ..Self::default()
        };
    }

    /// An attempt could not read anything.
    pub(super) fn unread(&mut self) {
        self.owed = true;
    }

    /// The files to look at.
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.tried.keys()
    }

    /// Looks at what is there now.
    pub(super) fn look(&mut self, now: Prints) -> Step {
        if now == self.tried && !self.owed {
            self.changed = None;
            Step::Rest
        } else if self.changed.as_ref() == Some(&now) {
            Step::Reload
        } else {
            self.changed = Some(now);
            Step::LookAgain
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prints(contents: &[u64]) -> Prints {
        let file = |(at, content): (usize, &u64)| (format!("file-{at}").into(), *content);
        contents.iter().enumerate().map(file).collect()
    }

    /// What was tried last, what is seen one look after the other, and what comes of each.
    type Row<'a> = (&'a [u64], &'a [(&'a [u64], Step)]);

    const ROWS: &[Row<'_>] = &[
        // Nothing happens.
        (&[1, 2], &[(&[1, 2], Step::Rest), (&[1, 2], Step::Rest)]),
        // One changes, and stands still.
        (&[1, 2], &[(&[1, 3], Step::LookAgain), (&[1, 3], Step::Reload)]),
        // It is still being written.
        (
            &[1],
            &[
                (&[2], Step::LookAgain),
                (&[3], Step::LookAgain),
                (&[3], Step::Reload),
            ],
        ),
        // The certificate comes before its key.
        (
            &[1, 1],
            &[
                (&[2, 1], Step::LookAgain),
                (&[2, 2], Step::LookAgain),
                (&[2, 2], Step::Reload),
            ],
        ),
        // It was for a moment only; what comes later has to stand still by itself.
        (
            &[1],
            &[
                (&[2], Step::LookAgain),
                (&[1], Step::Rest),
                (&[2], Step::LookAgain),
            ],
        ),
        // An attempt that could not be made is made again.
        (
            &[1],
            &[
                (&[2], Step::LookAgain),
                (&[2], Step::Reload),
                (&[2], Step::Reload),
            ],
        ),
    ];

    #[test]
    fn only_what_has_changed_and_stands_still_is_read() {
        for (tried, looks) in ROWS {
            let mut watch = Watch::default();
            watch.tried(prints(tried));
            for (at, (now, step)) in looks.iter().enumerate() {
                assert_eq!(watch.look(prints(now)), *step, "{tried:?} {looks:?} {at}");
            }
        }
    }

    #[test]
    fn what_was_tried_is_not_tried_again() {
        let mut watch = Watch::default();
        watch.tried(prints(&[1]));
        watch.look(prints(&[2]));
        assert_eq!(watch.look(prints(&[2])), Step::Reload);
        watch.tried(prints(&[2, 5]));
        assert_eq!(watch.look(prints(&[2, 5])), Step::Rest);
        assert_eq!(watch.files().count(), 2);
        // Another list of files is a change, too.
        assert_eq!(watch.look(prints(&[2])), Step::LookAgain);
    }
}
