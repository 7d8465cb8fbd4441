//! A session's way to a target: from one to the next, through the queue, until one is reached or none is left.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::Instrument;

use super::Target;
use super::dial::{self, DialError, HEAD_START};
use super::health::Attempt;
use super::places::{Seeker, Verdict};
use super::pool::{Caller, Opened, Place, Shared, now, tell};
use super::refused::Refused;

/// What a dial has come to.
type Dialled = Result<Opened, (Arc<Target>, DialError)>;

/// A session that looks for a target. Whoever drops it has left.
struct Search<'a> {
    shared: &'a Arc<Shared>,
    seeker: Seeker,
    /// Written to a target before anything else.
    greeting: Arc<[u8]>,
    /// How long may still be dialled, and waited.
    dialling: Duration,
    waiting: Duration,
    told: Arc<Notify>,
    /// Of targets that are down. They are run to their end, even where the session has found another target or has left: that a target
    /// does not answer must be learnt once, not by one session after another.
    trials: FuturesUnordered<JoinHandle<Option<Dialled>>>,
    /// The last dial that has failed, with the target.
    failure: Option<(Arc<Target>, DialError)>,
}

/// Finds a target for the client with this key and dials it. `waits` is told once, where it has to wait.
pub(super) async fn run(
    shared: &Arc<Shared>,
    client: u64,
    caller: &Caller<'_>,
    waits: impl FnOnce(),
) -> Result<Opened, Refused> {
    let greeting = shared.greeting(Some(caller));
    let greeting =
        greeting.map_err(|error| Refused::Dial(Arc::clone(&shared.targets[0]), DialError::Failed(error)))?;
    let mut search = Search {
        shared,
        seeker: shared.state().places.seeker(client),
        greeting: greeting.into(),
        dialling: shared.plan.dial_timeout,
        waiting: shared.plan.queue_timeout,
        told: Arc::default(),
        trials: FuturesUnordered::new(),
        failure: None,
    };
    let mut waits = Some(waits);
    loop {
        // None of them has any more to say: the time is over.
        if search.dialling.is_zero() {
            return search.end().await;
        }
        let reached = match search.enter() {
            Verdict::Go { index, attempt, .. } if attempt.is_trial() => {
                search.try_out(index, attempt).await?
            }
            Verdict::Go {
                index,
                attempt,
                others,
            } => search.dial(index, attempt, others).await?,
            Verdict::Wait(_) if search.waiting.is_zero() => {
                let late = Refused::QueueTimeout(shared.plan.queue_timeout);
                return search.last_trial().await?.ok_or(late);
            }
            Verdict::Wait(until) => {
                if let Some(waits) = waits.take() {
                    tracing::debug!(route = shared.route, "a session waits for a place");
                    waits();
                }
                search.wait(until).await?
            }
            Verdict::Full => {
                let full = Refused::QueueFull(shared.plan.queue);
                return search.last_trial().await?.ok_or(full);
            }
            Verdict::Down => return search.end().await,
        };
        if let Some(opened) = reached {
            return Ok(opened);
        }
    }
}

impl Search<'_> {
    /// What is to be done next. Who has to wait stands in the queue from here on.
    fn enter(&mut self) -> Verdict {
        let mut state = self.shared.state();
        let verdict = state.places.enter(now(), &mut self.seeker);
        match verdict {
            Verdict::Wait(_) => state.places.join(&mut self.seeker, Arc::clone(&self.told)),
            // There may be more than one place, or the next one may want another target.
            Verdict::Go { .. } => tell(&state),
            Verdict::Down | Verdict::Full => {}
        }
        verdict
    }

    /// Finds out whether a target that is down still is. That has a head start over what else there is to do, unless it has to be waited
    /// for anyway.
    async fn try_out(&mut self, index: usize, attempt: Attempt) -> Result<Option<Opened>, Refused> {
        let place = self.shared.place(index, attempt);
        let (shared, greeting, limit) = (Arc::clone(self.shared), Arc::clone(&self.greeting), self.dialling);
        let stop = shared.stop.clone();
        let trial = async move {
            let dialled = dial(&shared, place, &greeting, limit);
            stop.run_until_cancelled(dialled).await
        };
        self.trials.push(self.shared.tasks.spawn(trial.in_current_span()));
        if self.shared.state().places.waits(&self.seeker) {
            return Ok(None);
        }
        match timeout(HEAD_START, self.trials.next()).await {
            Ok(Some(ended)) => self.hear(ended),
            Ok(None) | Err(_) => Ok(None),
        }
    }

    /// Dials a target. Each of those that are left gets its share of the time, so that one which does not answer leaves some for the
    /// others.
    async fn dial(
        &mut self,
        index: usize,
        attempt: Attempt,
        others: usize,
    ) -> Result<Option<Opened>, Refused> {
        let place = self.shared.place(index, attempt);
        let share = self.dialling / u32::try_from(others + 1).unwrap_or(u32::MAX);
        let (shared, greeting) = (Arc::clone(self.shared), Arc::clone(&self.greeting));
        let begin = Instant::now();
        let mut dialling = Dialling {
            shared: self.shared,
            index,
            dial: Some(async move { dial(&shared, place, &greeting, share).await }.boxed()),
        };
        let dialled = loop {
            tokio::select! {
                dialled = &mut dialling => break dialled,
                Some(ended) = self.trials.next() => {
                    if let Some(opened) = self.hear(ended)? {
                        return Ok(Some(opened));
                    }
                }
            }
        };
        self.dialling = self.dialling.saturating_sub(begin.elapsed());
        self.learn(dialled)
    }

    /// Waits until it is told something, but not longer than until then.
    async fn wait(&mut self, until: Option<std::time::Instant>) -> Result<Option<Opened>, Refused> {
        let begin = Instant::now();
        let end = begin + self.waiting;
        let until = until.map_or(end, |until| end.min(until.into()));
        let ended = tokio::select! {
            () = self.told.notified() => None,
            () = sleep_until(until) => None,
            Some(ended) = self.trials.next() => Some(ended),
        };
        self.waiting = self.waiting.saturating_sub(begin.elapsed());
        ended.map_or(Ok(None), |ended| self.hear(ended))
    }

    /// There is nothing left but the trials that are under way. Whoever still stood in the queue would keep places from others now.
    async fn last_trial(&mut self) -> Result<Option<Opened>, Refused> {
        self.leave();
        while let Some(ended) = self.trials.next().await {
            if let Some(opened) = self.hear(ended)? {
                return Ok(Some(opened));
            }
        }
        Ok(None)
    }

    /// There is no target left.
    async fn end(&mut self) -> Result<Opened, Refused> {
        match self.last_trial().await? {
            Some(opened) => Ok(opened),
            None => Err(match self.failure.take() {
                Some((target, error)) => Refused::Dial(target, error),
                None => Refused::Down(self.shared.last_failure()),
            }),
        }
    }

    /// Leaves the queue, if it stands there.
    fn leave(&self) {
        let mut state = self.shared.state();
        if state.places.waits(&self.seeker) {
            state.places.leave(&self.seeker);
            tell(&state);
        }
    }

    /// What a trial has come to; nothing where it was stopped.
    fn hear(
        &mut self,
        ended: Result<Option<Dialled>, tokio::task::JoinError>,
    ) -> Result<Option<Opened>, Refused> {
        match ended {
            Ok(Some(dialled)) => self.learn(dialled),
            Ok(None) | Err(_) => Ok(None),
        }
    }

    /// What a dial has come to; an error where no other one can be better.
    fn learn(&mut self, dialled: Dialled) -> Result<Option<Opened>, Refused> {
        let (target, error) = match dialled {
            Ok(opened) => return Ok(Some(opened)),
            Err(failure) => failure,
        };
        match error.shortage() {
            Some(shortage) if !shortage.is_of_target() => return Err(Refused::Dial(target, error)),
            // What a target itself says tells more.
            Some(_) => drop(self.failure.get_or_insert((target, error))),
            None => self.failure = Some((target, error)),
        }
        Ok(None)
    }
}

impl Drop for Search<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// A dial that is run to its end even where nobody waits for it any more. That a target does not answer would otherwise never be learnt
/// from clients who are less patient than the dial.
struct Dialling<'a> {
    shared: &'a Shared,
    index: usize,
    /// Until it has ended.
    dial: Option<BoxFuture<'static, Dialled>>,
}

impl Future for Dialling<'_> {
    type Output = Dialled;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Dialled> {
        let Some(dial) = &mut self.dial else {
            return Poll::Pending;
        };
        let dialled = ready!(dial.poll_unpin(cx));
        self.dial = None;
        Poll::Ready(dialled)
    }
}

impl Drop for Dialling<'_> {
    fn drop(&mut self) {
        // There is no runtime where it has ended, and all that it ran with it.
        let (Some(dial), Ok(runtime)) = (self.dial.take(), Handle::try_current()) else {
            return;
        };
        // One is enough to learn from; more would let clients who come and go pile up dials.
        let Ok(only) = Arc::clone(&self.shared.left_alone[self.index]).try_acquire_owned() else {
            return;
        };
        let stop = self.shared.stop.clone();
        let rest = async move {
            drop(stop.run_until_cancelled(dial).await);
            drop(only);
        };
        self.shared.tasks.spawn_on(rest.in_current_span(), &runtime);
    }
}

/// Dials the target of a place, and tells how that went.
async fn dial(shared: &Shared, mut place: Place, greeting: &[u8], limit: Duration) -> Dialled {
    let target = Arc::clone(place.target());
    let noted = |addresses: &[_]| shared.note(place.index(), addresses);
    match dial::dial(&target, shared.opening(greeting), limit, noted).await {
        Ok(reached) => {
            place.passed();
            Ok(Opened { reached, place })
        }
        Err(error) => {
            tracing::debug!(route = shared.route, backend = %target, %error, "a dial has failed");
            if error.shortage().is_none() {
                place.failed(&error);
            }
            Err((target, error))
        }
    }
}
