//! Puts another configuration in force while sealock runs: on SIGHUP, when somebody asks for it, and when the content of a file has
//! changed.
//!
//! ```text
//! timer -> files: what is in them -> watch: rest, look again, reload ─┐
//! SIGHUP, a request ──────────────────────────────────────────────────┤
//!                                                                     v
//!               run: load, check, make the next generation; beside the runtime's threads, within a deadline
//!                      |-> good: it comes into force as a whole
//!                      '-> bad: said, shown in the state, and the old one stays
//! ```

mod files;
mod run;
mod watch;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};

pub use run::{Source, run};

/// Those who ask wait in line; each gets a reload of its own, which begins after it asked.
const WAITING: usize = 4;

/// What all who want a reload, or want to know how one went, have in hand.
pub struct Reloader {
    /// None where nobody will ever reload.
    asks: Option<mpsc::Sender<Ask>>,
    /// Until somebody takes it who answers.
    requests: Mutex<Option<mpsc::Receiver<Ask>>>,
    state: ArcSwap<ReloadState>,
}

/// Someone who asks, and waits for the answer.
pub(crate) type Ask = oneshot::Sender<Outcome>;

/// How a reload went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The new configuration is in force.
    Done {
        /// Its number.
        generation: u64,
        /// What of it has to wait for a restart.
        waiting: Vec<String>,
    },
    /// The old one stays. The text is what `sealock check` says, for a person, of several lines.
    Refused(Arc<str>),
    /// The configuration came from a pipe or a device, which can be read once.
    ReadOnce,
    /// There is no file to read, or sealock is about to end.
    Unavailable,
}

/// What there is to know of reloads so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReloadState {
    /// Attempts that succeeded.
    pub succeeded: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// The last attempt, of either kind.
    pub last: Option<Attempt>,
    /// What of the file in force has to wait for a restart.
    pub waiting: Vec<String>,
    /// Why nobody can look for a change, as long as that is so. What is in force is not affected.
    pub blind: Option<Arc<str>>,
}

/// One attempt to reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When it ended.
    pub at: SystemTime,
    /// What it was made for.
    pub cause: Cause,
    /// Why it failed: all that there is to say, of several lines. `None`: it succeeded.
    pub problem: Option<Arc<str>>,
}

/// What makes for a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// SIGHUP.
    Signal,
    /// Somebody asked.
    Request,
    /// The content of a file is another.
    Change,
}

impl Cause {
    /// Its name in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Request => "request",
            Self::Change => "change",
        }
    }
}

impl Reloader {
    /// `reloads`: somebody is going to answer requests.
    pub fn new(reloads: bool) -> Self {
        let (asks, requests) = reloads.then(|| mpsc::channel(WAITING)).unzip();
        Self {
            asks,
            requests: Mutex::new(requests),
            state: ArcSwap::default(),
        }
    }

    /// Reloads, whether a file has changed or not, and tells how it went. That takes no longer than the deadlines of a look for changes
    /// that has begun, of those who asked before, and its own.
    pub async fn request(&self) -> Outcome {
        let Some(asks) = &self.asks else {
            return Outcome::Unavailable;
        };
        let (ask, answer) = oneshot::channel();
        // Either fails when nobody is there any more to reload.
        drop(asks.send(ask).await);
        answer.await.unwrap_or(Outcome::Unavailable)
    }

    /// What there is to know now.
    pub fn state(&self) -> Arc<ReloadState> {
        self.state.load_full()
    }

    /// From here on requests are answered by whoever has this. `None` to all but the first who wants it.
    pub(crate) fn requests(&self) -> Option<mpsc::Receiver<Ask>> {
        self.requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Writes down how an attempt went.
    pub(crate) fn record(&self, cause: Cause, outcome: &Outcome) {
        let mut state = (*self.state()).clone();
        let problem = match outcome {
            Outcome::Done { waiting, .. } => {
                state.waiting.clone_from(waiting);
                state.succeeded += 1;
                None
            }
            Outcome::Refused(problem) => {
                state.failed += 1;
                Some(Arc::clone(problem))
            }
            Outcome::ReadOnce | Outcome::Unavailable => return,
        };
        state.last = Some(Attempt {
            at: SystemTime::now(),
            cause,
            problem,
        });
        self.state.store(Arc::new(state));
    }

    /// Writes down whether the files can be looked at, and why not. Gives whether that is another thing than before.
    pub(crate) fn record_look(&self, problem: Option<Arc<str>>) -> bool {
        let mut state = (*self.state()).clone();
        if state.blind.is_some() == problem.is_some() {
            return false;
        }
        state.blind = problem;
        self.state.store(Arc::new(state));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_asks_is_answered_or_told_that_nobody_is_there() {
        let nobody = Reloader::new(false);
        assert_eq!(nobody.request().await, Outcome::Unavailable);
        let reloader = Reloader::new(true);
        // Who asks early is answered as soon as somebody is there.
        let (outcome, ()) = tokio::join!(biased; reloader.request(), async {
            let ask = reloader.requests().unwrap().recv().await.unwrap();
            ask.send(Outcome::ReadOnce).unwrap();
        });
        assert_eq!(outcome, Outcome::ReadOnce);

        let reloader = Reloader::new(true);
        let mut requests = reloader.requests().unwrap();
        assert!(reloader.requests().is_none());
        let refused = Outcome::Refused("error: no\n --> file\n".into());
        let answering = async { requests.recv().await.unwrap().send(refused.clone()).unwrap() };
        assert_eq!(tokio::join!(reloader.request(), answering).0, refused);
        drop(requests);
        assert_eq!(reloader.request().await, Outcome::Unavailable);
    }

    #[test]
    fn the_state_tells_of_the_last_attempt_and_of_what_waits() {
        let reloader = Reloader::new(true);
        let done = |waiting: &[&str]| Outcome::Done {
            generation: 1,
            waiting: waiting.iter().map(|&one| one.to_owned()).collect(),
        };
        reloader.record(Cause::Signal, &done(&["the listener"]));
        let problem: Arc<str> = "error: no\n --> file\n".into();
        reloader.record(Cause::Change, &Outcome::Refused(Arc::clone(&problem)));
        let state = reloader.state();
        assert_eq!((state.succeeded, state.failed), (1, 1));
        assert_eq!(state.waiting, ["the listener"]);
        let last = state.last.as_ref().unwrap();
        assert_eq!((last.cause, &last.problem), (Cause::Change, &Some(problem)));
        reloader.record(Cause::Request, &done(&[]));
        let state = reloader.state();
        assert_eq!(state.last.as_ref().unwrap().problem, None);
        assert!(state.waiting.is_empty() && state.succeeded == 2);
    }
}
