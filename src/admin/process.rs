//! What the system says of this process.

use rustix::process::{Resource, getrlimit};

/// What a process takes. What cannot be read is left out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    /// Files that are open.
    pub(super) open_files: Option<u64>,
    /// How many may be; none where there is no limit.
    pub(super) most_open_files: Option<u64>,
    /// Memory that is in use, in bytes.
    pub(super) resident: Option<u64>,
}

/// What this process takes now.
pub(super) fn usage() -> Usage {
    let files = std::fs::read_dir("/proc/self/fd").ok().map(Iterator::count);
    let status = std::fs::read_to_string("/proc/self/status").ok();
    let resident = status.as_deref().and_then(|status| {
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    Usage {
        // One of them was open to count them.
        open_files: files.map(|files| (files as u64).saturating_sub(1)),
        most_open_files: getrlimit(Resource::Nofile).current,
        resident: resident.map(|kib| kib * 1024),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_opened_counts() {
        let files: Vec<_> = (0..300)
            .map(|_| std::fs::File::open("/proc/self/status").unwrap())
            .collect();
        let usage = usage();
        // Other tests, which open and close some at the same time, can only add to these.
        assert!(usage.open_files.unwrap() >= files.len() as u64);
        assert!(usage.resident.unwrap() > 1 << 20);
        assert!(usage.most_open_files.is_none_or(|most| most > files.len() as u64));
    }
}
