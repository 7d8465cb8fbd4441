//! A child process that does not outlive us.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};

use crate::Result;
use crate::cpu;
use crate::measure::Tree;

/// Time to end when asked; then it is killed.
const ENDING: Duration = Duration::from_secs(3);

/// A process, ended with all its descendants when this is dropped.
#[derive(Debug)]
pub(super) struct Child {
    child: std::process::Child,
}

impl Child {
    /// Starts a command on the proxies' processor. What it prints goes to `log`.
    pub(super) fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let log = File::create(log)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // A child inherits where its parent may run.
        let child = cpu::on_proxy_cpu(|| command.spawn())?;
        let program = command.get_program().to_string_lossy();
        let child = child.map_err(|error| format!("{program}: {error}"))?;
        Ok(Self { child })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks the process to end, waits, and kills what is left, by process id.
    fn end(&mut self) -> io::Result<()> {
        let Some(root) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) else {
            return Ok(());
        };
        // A descriptor means the process for good, while a number may come to mean another.
        let descendants: Vec<_> = Tree::of(self.child.id())
            .map(|tree| tree.pids()[1..].to_vec())
            .unwrap_or_default()
            .into_iter()
            .filter_map(|pid| Pid::from_raw(pid.cast_signed()))
            .filter_map(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
            .collect();
        if self.child.try_wait()?.is_none() {
            let handle = pidfd_open(root, PidfdFlags::empty())?;
            kill_process(root, Signal::TERM)?;
            let limit = Timespec::try_from(ENDING).map_err(io::Error::other)?;
            if poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&limit))? == 0 {
                self.child.kill()?;
            }
            self.child.wait()?;
        }
        for descendant in descendants {
            match pidfd_send_signal(&descendant, Signal::KILL) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("cannot end process {}: {error}", self.child.id());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descendants_end_with_their_parent() {
        let folder = tempfile::tempdir().unwrap();
        // The parent does not pass the signal on.
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & wait"]);
        let child = Child::start(&mut command, &folder.path().join("log")).unwrap();
        let tree = loop {
            let tree = Tree::of(child.pid()).unwrap();
            if tree.pids().len() == 2 {
                break tree;
            }
        };
        let pid = Pid::from_raw(tree.pids()[1].cast_signed()).unwrap();
        let handle = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        drop(child);
        let limit = Timespec::try_from(ENDING).unwrap();
        let ended = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&limit)).unwrap();
        assert_eq!(ended, 1, "the descendant still runs");
    }
}
