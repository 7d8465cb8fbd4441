//! What the system lets the process have.

use std::os::fd::{AsFd, AsRawFd};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors of a session: its client's and its backend's.
const PER_SESSION: u64 = 2;

/// The last descriptors, which are not for sessions: they are left to the admin listener, to what a reload reads, to look-ups of names,
/// and to tell clients that there are none for them.
pub const KEPT: u32 = 32;

/// Raises the number of files that may be open to what the system allows at most: the usual soft limit of 1024 is meant for programs
/// that use `select`. Warns where that is still too little for so many sessions.
pub fn raise_open_files(max_sessions: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    );
    // `None` is no limit.
    let limit = if raised.is_ok() { maximum } else { current };
    let needed = PER_SESSION
        .saturating_mul(max_sessions as u64)
        .saturating_add(KEPT.into());
    if limit.is_some_and(|limit| limit < needed) {
        tracing::warn!(
            limit,
            needed,
            "max_sessions needs more open files than are allowed: raise LimitNOFILE or ulimit -n"
        );
    }
}

/// Where this one is of the last descriptors: how many there are behind it. A new descriptor has the lowest number that is free
/// (POSIX, "File Descriptor Allocation"), so all below it are in use, and nothing has to be counted.
pub fn left_behind(descriptor: impl AsFd) -> Option<u32> {
    let number = u64::try_from(descriptor.as_fd().as_raw_fd()).ok()?;
    let left = getrlimit(Resource::Nofile).current?.saturating_sub(number + 1);
    u32::try_from(left).ok().filter(|left| *left < KEPT)
}
