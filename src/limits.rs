//! What the system lets the process have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors of a session: its client's and its backend's.
const PER_SESSION: u64 = 2;

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
    let needed = PER_SESSION.saturating_mul(max_sessions as u64);
    if limit.is_some_and(|limit| limit < needed) {
        tracing::warn!(
            limit,
            needed,
            "max_sessions needs more open files than are allowed: raise LimitNOFILE or ulimit -n"
        );
    }
}
