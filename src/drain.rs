//! Takes the whole process, or one route, out of service and back, while it runs.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::bridge::Stop;
use crate::generation::Destination;
use crate::session::Service;
use crate::sessions::Session;
use crate::signals;

/// Whether sessions are begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// They are.
    Ready,
    /// They are refused until [`Service::undrain`].
    Draining,
    /// The process is about to end.
    Stopping,
}

impl State {
    /// One word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
        }
    }

    /// The same for the service manager, whose word for being ready is another.
    pub fn status(self) -> &'static str {
        match self {
            Self::Ready => "serving",
            other => other.name(),
        }
    }
}

/// There is no route of this name, nor a session of one that had it.
#[derive(Debug, PartialEq, Eq)]
pub struct NoSuchRoute;

impl Service {
    /// Whether it takes sessions.
    pub fn state(&self) -> State {
        if self.closing.is_cancelled() {
            State::Stopping
        } else if self.draining.load(Ordering::SeqCst) {
            State::Draining
        } else {
            State::Ready
        }
    }

    /// True when no sessions are begun there.
    pub(crate) fn is_draining(&self, destination: &Destination) -> bool {
        self.draining.load(Ordering::SeqCst) || destination.draining.load(Ordering::SeqCst)
    }

    /// Refuses new sessions, of one route or of all, and tells those that run to come back (1012), spread over `drain_window`. Those
    /// that have not ended `shutdown_timeout` later are ended wherever they are. Gives how many run. Asked again, it does nothing more.
    pub fn drain(&self, route: Option<&str>) -> Result<usize, NoSuchRoute> {
        // First, so that a session is either refused, or listed and found, or finds this itself when it is listed.
        let refused = self.refuse(route, true);
        let only = route.map(str::to_owned);
        let chosen = move |session: &Session| only.as_ref().is_none_or(|only| *only == session.route.name);
        let mut sessions = self.sessions.all();
        sessions.retain(|session| chosen(session));
        let running = sessions.len();
        let again = match refused {
            Ok(again) => again,
            // A reload has removed it under its sessions: nothing is left there to refuse.
            Err(NoSuchRoute) if running > 0 => sessions.iter().all(|one| one.live.state().ending),
            Err(none) => return Err(none),
        };
        if again {
            return Ok(running);
        }
        let sessions = Arc::clone(&self.sessions);
        let config = &self.current.load().config;
        let (window, timeout) = (config.drain_window, config.shutdown_timeout);
        let closing = self.closing.clone();
        self.tasks.spawn(async move {
            let drain = async {
                sessions.drain(Stop::Drain, window, &chosen).await;
                tokio::time::sleep(timeout).await;
                // Those that were told; others may have come since.
                for session in sessions.all().iter().filter(|one| chosen(one)) {
                    if session.live.state().ending {
                        session.live.end(Stop::Drain);
                    }
                }
            };
            // The shutdown has its own window for all that are left.
            closing.run_until_cancelled(drain).await
        });
        Ok(running)
    }

    /// Takes sessions again. Those that were told to end do so all the same.
    pub fn undrain(&self, route: Option<&str>) -> Result<(), NoSuchRoute> {
        self.refuse(route, false).map(|_| ())
    }

    /// Gives whether they were refused before.
    fn refuse(&self, route: Option<&str>, refuse: bool) -> Result<bool, NoSuchRoute> {
        let generation = self.current.load();
        let flag = match route {
            None => &self.draining,
            Some(name) => &generation.destination(name).ok_or(NoSuchRoute)?.draining,
        };
        let before = flag.swap(refuse, Ordering::SeqCst);
        // The end of the process has a status of its own.
        if route.is_none() && self.state() != State::Stopping {
            signals::notify_status(self.state().status());
        }
        Ok(before)
    }
}
