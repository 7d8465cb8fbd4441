//! Signals, and what the service manager is told.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::LazyLock;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// States that may wait until the service manager has read what it was told before.
const WAITING: usize = 64;
/// Of these, so many are kept for the end.
const KEPT: usize = 8;

/// How long the end of the process waits for the service manager to read what is left.
const PATIENCE: Duration = Duration::from_secs(1);

/// What tells the service manager, if there is one: a thread of its own, as each send waits while the manager does not read.
static TELLER: LazyLock<Option<mpsc::Sender<Told>>> = LazyLock::new(teller);

/// What the thread is given, in its order.
enum Told {
    State(String),
    /// All before it has been told.
    Mark(oneshot::Sender<()>),
}

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
    tell(&[NotifyState::Stopping, NotifyState::Status(&remain(told))], 0);
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
/// told, and systemd ends the process and starts it again. While systemd does not read, no sign of life waits: it would be an old one.
/// To be called once; needs the runtime.
pub fn feed_watchdog(alive: impl Fn() + Clone + Send + 'static) {
    // 0 is none, as sd_watchdog_enabled(3) has it.
    let patience = sd_notify::watchdog_enabled().filter(|patience| !patience.is_zero());
    let (Some(patience), Some(teller)) = (patience, &*TELLER) else {
        return;
    };
    tokio::spawn(async move {
        let mut beats = interval((patience / 2).max(Duration::from_millis(1)));
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beats.tick().await;
            let alive = alive.clone();
            if tokio::spawn(async move { alive() }).await.is_err() {
                continue;
            }
            if teller.capacity() == WAITING {
                notify(&[NotifyState::Watchdog]);
            } else {
                tracing::debug!("the service manager does not read: no sign of life is sent");
            }
        }
    });
}

/// Waits until the service manager has been told everything, unless it does not read.
pub async fn all_told() {
    let Some(teller) = &*TELLER else { return };
    let (mark, told) = oneshot::channel();
    if teller.try_send(Told::Mark(mark)).is_ok() {
        // In vain, or not: there is nothing left to do.
        drop(timeout(PATIENCE, told).await);
    }
}

fn notify(state: &[NotifyState<'_>]) {
    tell(state, KEPT);
}

/// Tells it, unless no more than so many could wait then.
fn tell(state: &[NotifyState<'_>], kept: usize) {
    let Some(teller) = &*TELLER else { return };
    let state: String = state.iter().map(|state| format!("{state}\n")).collect();
    if teller.capacity() <= kept || teller.try_send(Told::State(state.clone())).is_err() {
        tracing::warn!(state, "the service manager does not read, and was not told");
    }
}

/// Sends to the socket of sd_notify(3): a path, or, behind an `@`, an abstract name.
fn tell_manager(manager: &OsStr, state: &str) -> io::Result<usize> {
    let address = match manager.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(manager)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address)
}

fn teller() -> Option<mpsc::Sender<Told>> {
    let manager = std::env::var_os("NOTIFY_SOCKET")?;
    let (sender, mut waiting) = mpsc::channel(WAITING);
    let tell = move || {
        let mut failed = false;
        while let Some(told) = waiting.blocking_recv() {
            match told {
                Told::State(state) => {
                    let sent = tell_manager(&manager, &state);
                    match &sent {
                        Err(error) if !failed => {
                            tracing::warn!(%error, socket = %manager.display(), "cannot notify the service manager");
                        }
                        Err(error) => tracing::debug!(%error, "cannot notify the service manager"),
                        Ok(_) => {}
                    }
                    failed = sent.is_err();
                }
                // Who waited may have given up.
                Told::Mark(mark) => drop(mark.send(())),
            }
        }
    };
    match std::thread::Builder::new().name("notify".into()).spawn(tell) {
        Ok(_) => Some(sender),
        Err(error) => {
            tracing::warn!(%error, "the service manager will not be told anything");
            None
        }
    }
}
