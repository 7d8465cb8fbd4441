//! Signals, and what the service manager is told.

use std::io;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

/// The signals that end the daemon.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes the signals over from their default, which would end the process at once.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one and gives its name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// The signal to reload. As long as nobody takes it over, it ends the process: what a closing terminal does to the demo.
#[derive(Debug)]
pub struct Hangups(Signal);

impl Hangups {
    /// Takes the signal over.
    pub fn new() -> io::Result<Self> {
        signal(SignalKind::hangup()).map(Self)
    }

    /// Waits for the next one. Those that come while nobody waits are one.
    pub async fn next(&mut self) {
        self.0.recv().await;
    }
}

/// The signal that log files were renamed.
#[derive(Debug)]
pub struct Renames(Signal);

impl Renames {
    /// Takes the signal over from its default, which would end the process.
    pub fn new() -> io::Result<Self> {
        signal(SignalKind::user_defined1()).map(Self)
    }

    /// Does this each time that it comes, and now if it has come since it was taken over.
    pub fn follow(mut self, mut reopen: impl FnMut() + Send + 'static) {
        tokio::spawn(async move {
            while self.0.recv().await.is_some() {
                reopen();
            }
        });
    }
}

/// Tells systemd (`Type=notify`) that the listeners are up, and in a word what is done with connections. Does nothing elsewhere.
pub fn notify_ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Tells systemd that something else is done with connections now.
pub fn notify_status(status: &str) {
    notify(&[NotifyState::Status(status)]);
}

/// Tells systemd that a reload has begun, and when: it takes the next [`notify_ready`] for its end. For `Type=notify-reload`, which
/// sends the SIGHUP itself and waits for that.
pub fn notify_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now, NotifyState::Status("reloading")]),
        Err(error) => tracing::debug!(%error, "cannot tell the service manager the time"),
    }
}

/// Tells systemd that the end has begun, and then how many sessions remain, as often as that changes, at most once a second. Never ends.
pub async fn notify_stopping(sessions: impl Fn() -> usize) {
    let remain = |count| match count {
        1 => "stopping: 1 session remains".to_owned(),
        count => format!("stopping: {count} sessions remain"),
    };
    let mut told = sessions();
    notify(&[NotifyState::Stopping, NotifyState::Status(&remain(told))]);
    let mut seconds = interval(Duration::from_secs(1));
    loop {
        seconds.tick().await;
        let count = sessions();
        if count != told {
            told = count;
            notify(&[NotifyState::Status(&remain(count))]);
        }
    }
}

/// Tells systemd, as often as it wants to hear it (`WatchdogSec=`), that sealock lives. `alive` is a task of its own each time: that it
/// ends shows that the timers go, that tasks are run, and that what it looks at is not locked for good. While it does not, nothing is
/// told, and systemd ends the process and starts it again. To be called once; needs the runtime.
pub fn feed_watchdog(alive: impl Fn() + Clone + Send + 'static) {
    let Some(patience) = sd_notify::watchdog_enabled() else {
        return;
    };
    tokio::spawn(async move {
        let mut beats = interval((patience / 2).max(Duration::from_millis(1)));
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beats.tick().await;
            let alive = alive.clone();
            if tokio::spawn(async move { alive() }).await.is_ok() {
                notify(&[NotifyState::Watchdog]);
            }
        }
    });
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "cannot notify the service manager");
    }
}
