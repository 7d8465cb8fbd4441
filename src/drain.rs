//! Takes the whole process, or one route, out of service and back, while it runs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::bridge::Stop;
use crate::generation::{Destination, Generation};
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
        } else if self.draining.is_on() {
            State::Draining
        } else {
            State::Ready
        }
    }

    /// True when no sessions are begun there.
    pub(crate) fn is_draining(&self, destination: &Destination) -> bool {
        self.draining.is_on() || destination.draining.is_on()
    }

    /// Refuses new sessions, of one route or of all, and tells those that run to come back (1012), spread over `drain_window`. Each has
    /// its own time for that, and is ended wherever it is when that is over. Gives how many run. Asked again, it does nothing more; but
    /// of a route that a reload has removed it tells again those that are still there.
    pub fn drain(&self, route: Option<&str>) -> Result<usize, NoSuchRoute> {
        let generation = self.current.load();
        // First, so that a session is either refused, or listed and found, or finds this itself when it is listed.
        let begun = self.switch(&generation, route).map(Switch::turn_on);
        let only = route.map(str::to_owned);
        let chosen = move |session: &Session| only.as_ref().is_none_or(|only| *only == session.route.name);
        let all = self.sessions.those(&chosen);
        let until = match begun {
            Ok(Some(until)) => until,
            Ok(None) => return Ok(all.len()),
            Err(none) if all.is_empty() => return Err(none),
            // A reload has removed it under its sessions: nothing is left there to refuse, or to take back.
            Err(NoSuchRoute) => CancellationToken::new(),
        };
        self.tell(route);
        let sessions = Arc::clone(&self.sessions);
        let window = generation.config.drain_window;
        let closing = self.closing.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = sessions.drain(Stop::Drain, window, chosen) => {}
                () = until.cancelled() => {}
                // The shutdown has its own window for all that are left.
                () = closing.cancelled() => {}
            }
        });
        Ok(all.len())
    }

    /// Takes sessions again. Those that were told to end do so all the same; others are not told any more.
    pub fn undrain(&self, route: Option<&str>) -> Result<(), NoSuchRoute> {
        let generation = self.current.load();
        self.switch(&generation, route)?.turn_off();
        self.tell(route);
        Ok(())
    }

    /// Tells the service manager; the end of the process has a status of its own.
    fn tell(&self, route: Option<&str>) {
        if route.is_none() && self.state() != State::Stopping {
            signals::notify_status(self.state().status());
        }
    }

    fn switch<'a>(
        &'a self,
        generation: &'a Generation,
        route: Option<&str>,
    ) -> Result<&'a Switch, NoSuchRoute> {
        match route {
            None => Ok(&self.draining),
            Some(name) => Ok(&generation.destination(name).ok_or(NoSuchRoute)?.draining),
        }
    }
}

/// Whether something is drained.
#[derive(Debug, Default)]
pub struct Switch {
    on: AtomicBool,
    /// Ends the drain that is under way.
    under_way: Mutex<CancellationToken>,
}

impl Switch {
    /// True while it is drained.
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::SeqCst)
    }

    /// What ends the drain that begins with this, unless it was drained already.
    fn turn_on(&self) -> Option<CancellationToken> {
        let mut under_way = self.under_way();
        if self.on.swap(true, Ordering::SeqCst) {
            return None;
        }
        *under_way = CancellationToken::new();
        Some(under_way.clone())
    }

    fn turn_off(&self) {
        let under_way = self.under_way();
        self.on.store(false, Ordering::SeqCst);
        under_way.cancel();
    }

    fn under_way(&self) -> MutexGuard<'_, CancellationToken> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
