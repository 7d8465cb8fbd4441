//! Where the generator and the proxies run.

use std::io;
use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Result;

/// The processor of the proxies, then that of the generator.
static CPUS: OnceLock<(usize, usize)> = OnceLock::new();

/// Takes the first two processors that we may use: one for proxies, one for the generator, and goes to the latter.
pub(crate) fn pin() -> Result<()> {
    let allowed = sched_getaffinity(None)?;
    let mut free = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
    let (Some(proxy), Some(generator)) = (free.next(), free.next()) else {
        return Err("two processors are needed: one for the proxy, one for the generator".into());
    };
    CPUS.get_or_init(|| (proxy, generator));
    Ok(go_to(generator)?)
}

/// Runs `start`, whose child processes will stay on the processor of the proxies.
pub(crate) fn on_proxy_cpu<T>(start: impl FnOnce() -> T) -> io::Result<T> {
    let Some((proxy, generator)) = CPUS.get() else {
        return Ok(start());
    };
    go_to(*proxy)?;
    let started = start();
    go_to(*generator)?;
    Ok(started)
}

fn go_to(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

/// Raises the limit of open files as far as we may; child processes inherit it. Returns what it is.
pub(crate) fn raise_file_limit() -> Result<u64> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    )?;
    Ok(maximum.unwrap_or(u64::MAX))
}
