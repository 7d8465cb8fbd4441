//! The machine that the figures are of.

use std::fs;

use super::process::kilobytes;
use crate::Result;

/// What of the machine bears on the figures.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    pub(crate) memory_gib: f64,
    pub(crate) congestion: String,
}

impl Machine {
    /// Reads it from `/proc`.
    pub(crate) fn read() -> Self {
        let text = |file: &str| fs::read_to_string(file).unwrap_or_default();
        let line = |file: &str| text(file).trim().to_owned();
        let (cpu, cores) = cpus(&text("/proc/cpuinfo"));
        let memory = kilobytes(&text("/proc/meminfo"), "MemTotal").unwrap_or(0);
        Self {
            cpu,
            cores,
            kernel: line("/proc/sys/kernel/osrelease"),
            memory_gib: memory as f64 / f64::from(1 << 30),
            congestion: line("/proc/sys/net/ipv4/tcp_congestion_control"),
        }
    }
}

/// The model of the first processor, and how many there are.
fn cpus(cpuinfo: &str) -> (String, usize) {
    let values = |key: &str| {
        cpuinfo
            .lines()
            .filter_map(|line| line.split_once(':'))
            .filter(|(name, _)| name.trim() == key)
            .map(|(_, value)| value.trim().to_owned())
            .collect::<Vec<_>>()
    };
    let model = values("model name").into_iter().next();
    (
        model.unwrap_or_else(|| "unknown".to_owned()),
        values("processor").len(),
    )
}

/// Kernel memory that sessions take: slabs, and the buffers of TCP sockets. Of the whole machine: only differences mean anything.
pub(crate) fn kernel_bytes() -> Result<u64> {
    let slab = kilobytes(&fs::read_to_string("/proc/meminfo")?, "Slab").ok_or("/proc/meminfo has no Slab")?;
    let pages =
        tcp_pages(&fs::read_to_string("/proc/net/sockstat")?).ok_or("/proc/net/sockstat has no TCP mem")?;
    Ok(slab + pages * rustix::param::page_size() as u64)
}

/// The pages of `TCP: … mem 3`.
fn tcp_pages(sockstat: &str) -> Option<u64> {
    let line = sockstat.lines().find_map(|line| line.strip_prefix("TCP: "))?;
    let mut words = line.split(' ');
    words.find(|word| *word == "mem")?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_counted() {
        let text = "processor\t: 0\nmodel name\t: A: b\n\nprocessor\t: 1\nmodel name\t: A: b\n";
        assert_eq!(cpus(text), ("A: b".to_owned(), 2));
        assert_eq!(cpus(""), ("unknown".to_owned(), 0));
    }

    #[test]
    fn tcp_memory_is_found() {
        let text = "sockets: used 9\nTCP: inuse 3 orphan 0 tw 1 alloc 4 mem 17\nUDP: inuse 1 mem 5\n";
        assert_eq!(tcp_pages(text), Some(17));
        assert_eq!(tcp_pages("UDP: inuse 1 mem 5\n"), None);
    }

    #[test]
    fn this_machine_can_be_read() {
        assert!(kernel_bytes().unwrap() > 0);
        assert!(Machine::read().cores > 0);
    }
}
