//! Processor time and memory of a process and its descendants.

use std::collections::BTreeMap;
use std::fs;

use crate::Result;

/// A process and its descendants, at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pids: Vec<u32>,
}

/// The processor time of each thread, in nanoseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    threads: BTreeMap<(u32, u32), u64>,
}

impl Clock {
    /// What was used since `earlier`. A thread that ended in between is not counted; those of the proxies measured do not.
    pub(crate) fn since(&self, earlier: &Self) -> u64 {
        self.threads
            .iter()
            .map(|(thread, now)| now.saturating_sub(earlier.threads.get(thread).copied().unwrap_or(0)))
            .sum()
    }
}

impl Tree {
    /// Only this process.
    pub(crate) fn one(pid: u32) -> Self {
        Self { pids: vec![pid] }
    }

    /// The process and its descendants as they are now.
    pub(crate) fn of(root: u32) -> Result<Self> {
        let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for pid in numbers("/proc")? {
            // One that has ended meanwhile is no descendant.
            if let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat"))
                && let Some(parent) = parent(&stat)
            {
                children.entry(parent).or_default().push(pid);
            }
        }
        let mut pids = vec![root];
        let mut next = 0;
        while let Some(pid) = pids.get(next) {
            pids.extend(children.remove(pid).unwrap_or_default());
            next += 1;
        }
        Ok(Self { pids })
    }

    /// The processes, the root first.
    pub(crate) fn pids(&self) -> &[u32] {
        &self.pids
    }

    /// Processor time so far.
    pub(crate) fn clock(&self) -> Result<Clock> {
        let mut clock = Clock::default();
        for pid in &self.pids {
            for thread in numbers(&format!("/proc/{pid}/task"))? {
                if let Ok(text) = fs::read_to_string(format!("/proc/{pid}/task/{thread}/schedstat"))
                    && let Some(time) = text.split(' ').next().and_then(|time| time.parse().ok())
                {
                    clock.threads.insert((*pid, thread), time);
                }
            }
        }
        Ok(clock)
    }

    /// Proportional set size in bytes.
    pub(crate) fn pss(&self) -> Result<u64> {
        self.sum("smaps_rollup", "Pss")
    }

    /// Resident memory in bytes.
    pub(crate) fn rss(&self) -> Result<u64> {
        self.sum("status", "VmRSS")
    }

    /// The most resident memory since [`Tree::reset_peak`] in bytes.
    pub(crate) fn peak(&self) -> Result<u64> {
        self.sum("status", "VmHWM")
    }

    /// Open files.
    pub(crate) fn files(&self) -> Result<usize> {
        let counts = self
            .pids
            .iter()
            .map(|pid| Ok(numbers(&format!("/proc/{pid}/fd"))?.len()));
        counts.sum()
    }

    /// Lets the peak start anew from what is resident now (proc(5), `clear_refs`).
    pub(crate) fn reset_peak(&self) -> Result<()> {
        for pid in &self.pids {
            let file = format!("/proc/{pid}/clear_refs");
            fs::write(&file, "5").map_err(|error| format!("{file}: {error}"))?;
        }
        Ok(())
    }

    fn sum(&self, file: &str, key: &str) -> Result<u64> {
        let mut total = 0;
        for pid in &self.pids {
            let file = format!("/proc/{pid}/{file}");
            let text = fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))?;
            total += kilobytes(&text, key).ok_or_else(|| format!("{file} has no {key}"))?;
        }
        Ok(total)
    }
}

/// The numbers among the names in a folder.
fn numbers(folder: &str) -> Result<Vec<u32>> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{folder}: {error}"))?;
    Ok(entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect())
}

/// The parent in `/proc/PID/stat`; the name before it, in parentheses, may hold anything.
fn parent(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

/// The bytes of a line such as `Pss:   12 kB`.
pub(super) fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    let number: u64 = value.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(number * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_found_behind_any_name() {
        assert_eq!(parent("12 (a) b) c) S 7 12 12 0"), Some(7));
        assert_eq!(parent("12 (nginx) S 1 12"), Some(1));
        assert_eq!(parent("12 (nginx"), None);
    }

    #[test]
    fn a_key_is_taken_whole() {
        let text = "PssDirty:  9 kB\nPss:      12 kB\nVmHWM:\t    3 kB\nThreads:\t1\n";
        assert_eq!(kilobytes(text, "Pss"), Some(12 * 1024));
        assert_eq!(kilobytes(text, "VmHWM"), Some(3 * 1024));
        assert_eq!(kilobytes(text, "Threads"), None);
        assert_eq!(kilobytes(text, "VmRSS"), None);
    }

    #[test]
    fn a_clock_counts_threads_that_are_new_and_forgets_those_that_are_gone() {
        let clock = |times: &[(u32, u64)]| Clock {
            threads: times.iter().map(|(thread, time)| ((1, *thread), *time)).collect(),
        };
        let earlier = clock(&[(1, 100), (2, 1000)]);
        assert_eq!(clock(&[(1, 150), (3, 7)]).since(&earlier), 57);
    }

    #[test]
    fn the_own_process_can_be_measured() {
        let own = Tree::of(std::process::id()).unwrap();
        assert_eq!(own.pids()[0], std::process::id());
        let before = own.clock().unwrap();
        let mut sum = 0_u64;
        while own.clock().unwrap().since(&before) == 0 {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(own.pss().unwrap() > 0);
        assert!(own.files().unwrap() > 2);
        own.reset_peak().unwrap();
        assert!(own.peak().unwrap() >= own.rss().unwrap() / 2);
    }
}
