//! The targets of a route, with what is known of them: finds each session its target and dials it.

use std::fmt::Display;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::balance;
use super::dial::{DialError, Opening, Reached};
use super::health::{Attempt, Condition, Health, Rule};
use super::places::{Places, Room};
use super::refused::Refused;
use super::{Plan, Secure, Target, check, search};

/// Who wants to reach a backend.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The client's address.
    pub client: SocketAddr,
    /// The address that it has connected to.
    pub destination: SocketAddr,
    /// The host that it has asked for.
    pub host: &'a str,
    /// The number of its connection in the log.
    pub id: u64,
}

/// The targets of one route.
///
/// It is shared by those who open sessions, not by the sessions: they hold [`Place`]s. So a new pool can take over from an old one
/// while sessions of that are still running.
pub struct Pool {
    shared: Arc<Shared>,
    checking: Once,
    /// Ends the checks, and dials that outlive their sessions.
    _stop: DropGuard,
}

/// A backend that was reached, with the place there.
pub struct Opened {
    /// The connection.
    pub reached: Reached,
    /// To be kept as long as the session lives.
    pub place: Place,
}

/// What is known of a pool.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// In the order of the configuration.
    pub targets: Vec<TargetStatus>,
    /// Sessions that wait for a place.
    pub queued: usize,
}

/// What is known of a target.
#[derive(Clone, Debug)]
pub struct TargetStatus {
    /// As it is written.
    pub target: Arc<Target>,
    /// What its name stood for when it was last looked up.
    pub addresses: Vec<SocketAddr>,
    /// Whether it takes sessions.
    pub condition: Condition,
    /// Its sessions, and dials under way.
    pub sessions: usize,
    /// Its last failure, and how long ago that was.
    pub last_failure: Option<(String, Duration)>,
}

/// What a pool shares with its places.
pub(super) struct Shared {
    /// The route's name, for logs.
    pub(super) route: String,
    pub(super) plan: Plan,
    pub(super) targets: Vec<Arc<Target>>,
    secure: Option<Secure>,
    /// For each target, the permit of a dial whose session has left.
    pub(super) left_alone: Vec<Arc<Semaphore>>,
    /// Trials, and those dials, outlive the session that they were begun for.
    pub(super) tasks: TaskTracker,
    /// Ends them and the checks.
    pub(super) stop: CancellationToken,
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) places: Places<Arc<Notify>>,
    notes: Vec<Notes>,
}

/// What is remembered of a target only to be told.
#[derive(Clone, Debug, Default)]
struct Notes {
    addresses: Vec<SocketAddr>,
    last_failure: Option<(String, Instant)>,
}

impl Pool {
    /// The targets of this plan, of which nothing is known yet. `secure` makes TLS, where one of them speaks it. What runs for them runs
    /// among `tasks`, until `stop` at the latest.
    pub fn new(
        route: &str,
        plan: Plan,
        secure: Option<Secure>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        let targets: Vec<Arc<Target>> = plan.targets.iter().cloned().map(Arc::new).collect();
        let room = Room {
            places: plan.max_sessions.unwrap_or(usize::MAX),
            queue: plan.queue,
        };
        let rule = Rule {
            fall: plan.fall,
            rise: plan.check.as_ref().map(|check| check.rise),
            pause: plan.retry_after,
        };
        let keys = targets
            .iter()
            .map(|target| balance::key(target.to_string().as_bytes()));
        let state = State {
            places: Places::new(plan.balance, room, rule, keys),
            notes: vec![Notes::default(); targets.len()],
        };
        let stop = stop.child_token();
        let shared = Arc::new(Shared {
            route: route.to_owned(),
            plan,
            left_alone: targets.iter().map(|_| Arc::new(Semaphore::new(1))).collect(),
            targets,
            secure,
            tasks: tasks.clone(),
            stop: stop.clone(),
            state: Mutex::new(state),
        });
        Self {
            shared,
            checking: Once::new(),
            _stop: stop.drop_guard(),
        }
    }

    /// Begins to check the targets, where the plan says so, until the end of the pool. Once: a pool outlives reloads.
    pub fn begin_checks(&self) {
        self.checking.call_once(|| {
            let Some(check) = &self.shared.plan.check else {
                return;
            };
            for index in 0..self.shared.targets.len() {
                let checks = check::run(Arc::clone(&self.shared), index, check.clone());
                let stop = self.shared.stop.clone();
                let checks = async move { stop.run_until_cancelled(checks).await };
                self.shared.tasks.spawn(checks);
            }
        });
    }

    /// Finds a target for a session and dials it. Where that fails, the next one is tried, or waited for where it is only full, as long
    /// as the deadlines allow. `waits` is told once, if it comes to that.
    pub async fn open(&self, caller: Caller<'_>, waits: impl FnOnce()) -> Result<Opened, Refused> {
        let client = key_of(caller.client.ip());
        search::run(&self.shared, client, &caller, waits).await
    }

    /// What is known of the targets now.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.shared.state();
        let of = |((target, slot), notes): ((&Arc<Target>, &super::places::Slot), &Notes)| TargetStatus {
            target: Arc::clone(target),
            addresses: notes.addresses.clone(),
            condition: slot.health.condition(),
            sessions: slot.sessions,
            last_failure: notes
                .last_failure
                .as_ref()
                .map(|(what, when)| (what.clone(), when.elapsed())),
        };
        let slots = self.shared.targets.iter().zip(state.places.slots());
        Snapshot {
            targets: slots.zip(&state.notes).map(of).collect(),
            queued: state.places.queued(),
        }
    }
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that is done with it can stop in the middle.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place that was taken for a dial that begins.
    pub(super) fn place(self: &Arc<Self>, index: usize, attempt: Attempt) -> Place {
        Place {
            shared: Arc::clone(self),
            index,
            attempt: Some(Box::new(attempt)),
        }
    }

    /// What is written to a target before anything else, for a session or for a check.
    pub(super) fn greeting(&self, caller: Option<&Caller<'_>>) -> io::Result<Vec<u8>> {
        match self.plan.proxy_protocol {
            Some(version) => version.header(caller),
            None => Ok(Vec::new()),
        }
    }

    /// What is done with each connection: `greeting` is written before anything else.
    pub(super) fn opening<'a>(&'a self, greeting: &'a [u8]) -> Opening<'a> {
        Opening {
            secure: self.secure.as_ref(),
            greeting,
        }
    }

    /// A check has failed so, or passed.
    pub(super) fn checked(&self, index: usize, failure: Option<&dyn Display>) {
        self.learn(index, failure, |health| health.checked(failure.is_none(), now()));
    }

    pub(super) fn note(&self, index: usize, addresses: &[SocketAddr]) {
        if let Some(notes) = self.state().notes.get_mut(index) {
            addresses.clone_into(&mut notes.addresses);
        }
    }

    /// The newest failure, with the target that it is of.
    pub(super) fn last_failure(&self) -> String {
        let state = self.state();
        let failures = self.targets.iter().zip(&state.notes);
        let newest = failures
            .filter_map(|(target, notes)| Some((target, notes.last_failure.as_ref()?)))
            .max_by_key(|(_, (_, when))| *when);
        newest.map_or(String::new(), |(target, (what, _))| format!("{target}: {what}"))
    }

    /// Changes what is known of a target, tells who waits, and logs when it goes down or comes back.
    fn learn(&self, index: usize, failure: Option<&dyn Display>, change: impl FnOnce(&mut Health)) {
        let mut state = self.state();
        let Some(slot) = state.places.slot(index) else {
            return;
        };
        let before = slot.health.condition();
        change(&mut slot.health);
        let after = slot.health.condition();
        if let (Some(failure), Some(notes)) = (failure, state.notes.get_mut(index)) {
            notes.last_failure = Some((failure.to_string(), Instant::now()));
        }
        tell(&state);
        drop(state);
        if before == after {
            return;
        }
        let (route, backend) = (&self.route, &self.targets[index]);
        match (after, failure) {
            (Condition::Down, Some(failure)) => {
                tracing::warn!(route, %backend, failure = %failure, "backend is down");
            }
            _ if before == Condition::Down => tracing::info!(route, %backend, "backend is up again"),
            _ => tracing::debug!(route, %backend, "backend is up"),
        }
    }
}

/// Tells those who wait, and whom it may concern, that something has changed.
pub(super) fn tell(state: &State) {
    state.places.next().for_each(|told| told.notify_one());
}

/// A session's place at a target. Given back when it is dropped.
pub struct Place {
    shared: Arc<Shared>,
    index: usize,
    /// While it is dialled.
    attempt: Option<Box<Attempt>>,
}

impl Place {
    /// Where it stands in the list.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// The target.
    pub fn target(&self) -> &Arc<Target> {
        &self.shared.targets[self.index]
    }

    /// It was reached.
    pub(super) fn passed(&mut self) {
        if let Some(attempt) = self.attempt.take() {
            self.shared
                .learn(self.index, None, |health| health.passed(*attempt));
        }
    }

    /// It was not, by its own fault.
    pub(super) fn failed(&mut self, error: &DialError) {
        if let Some(attempt) = self.attempt.take() {
            let change = |health: &mut Health| health.failed(*attempt, now());
            self.shared.learn(self.index, Some(error), change);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        if let (Some(attempt), Some(slot)) = (self.attempt.take(), state.places.slot(self.index)) {
            slot.health.abandoned(*attempt);
        }
        state.places.release(self.index);
        tell(&state);
    }
}

fn key_of(client: IpAddr) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(address) => balance::key(&address.octets()),
        IpAddr::V6(address) => balance::key(&address.octets()),
    }
}

pub(super) fn now() -> std::time::Instant {
    Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Balance, Check};
    use tokio::net::TcpListener;

    fn plan(targets: &[&str]) -> Plan {
        Plan {
            targets: targets.iter().map(|text| text.parse().unwrap()).collect(),
            balance: Balance::RoundRobin,
            dial_timeout: Duration::from_secs(5),
            max_sessions: None,
            queue: 0,
            queue_timeout: Duration::from_secs(5),
            fall: 1,
            retry_after: Duration::from_secs(60),
            proxy_protocol: None,
            check: None,
        }
    }

    fn caller() -> Caller<'static> {
        Caller {
            client: "192.0.2.1:1".parse().unwrap(),
            destination: "192.0.2.2:443".parse().unwrap(),
            host: "example.com",
            id: 1,
        }
    }

    #[tokio::test]
    async fn what_was_learnt_of_targets_can_be_seen() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let plan = plan(&["unix:/nonexistent/socket", &format!("tcp://{address}")]);
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let pool = Pool::new("test", plan, None, &tasks, &stop);
        let see = || {
            let snapshot = pool.snapshot();
            assert_eq!(snapshot.queued, 0);
            let of = |status: TargetStatus| (status.condition, status.sessions, status.addresses);
            let [one, other] = snapshot.targets.try_into().unwrap();
            assert_eq!(one.target.to_string(), "unix:/nonexistent/socket");
            (one.last_failure.clone(), of(one), of(other))
        };
        let nothing = || (Condition::Unknown, 0, vec![]);
        assert_eq!(see(), (None, nothing(), nothing()));

        let opened = pool.open(caller(), || ()).await.unwrap();
        assert_eq!(opened.place.target().to_string(), format!("tcp://{address}"));
        let (failure, one, other) = see();
        assert!(failure.unwrap().0.contains("No such file"));
        assert_eq!(one, (Condition::Down, 0, vec![]));
        assert_eq!(other, (Condition::Up, 1, vec![address]));
        drop(opened);
        assert_eq!(see().2, (Condition::Up, 0, vec![address]));
        pool.begin_checks();
        assert!(tasks.is_empty(), "nobody asked for checks");
    }

    #[tokio::test]
    async fn checks_begin_once_and_end_with_their_pool_and_places_do_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let check = Check {
            interval: Duration::from_millis(1),
            timeout: Duration::from_secs(5),
            rise: 1,
            exchange: None,
        };
        let plan = Plan {
            check: Some(check),
            ..plan(&[&format!("tcp://{}", listener.local_addr().unwrap())])
        };
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let pool = Pool::new("test", plan, None, &tasks, &stop);
        assert!(tasks.is_empty(), "it may never come into force");
        for _ in 0..2 {
            pool.begin_checks();
            assert_eq!(tasks.len(), 1);
        }
        for _ in 0..3 {
            listener.accept().await.unwrap();
        }
        let opened = pool.open(caller(), || ()).await.unwrap();
        drop(pool);
        tasks.close();
        tasks.wait().await;
        assert!(!stop.is_cancelled());
        drop(opened);
    }

    #[tokio::test]
    async fn who_leaves_the_queue_takes_nothing_along() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let plan = Plan {
            max_sessions: Some(1),
            queue: 2,
            ..plan(&[&format!("tcp://{}", listener.local_addr().unwrap())])
        };
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let pool = Pool::new("test", plan, None, &tasks, &stop);
        let first = pool.open(caller(), || ()).await.unwrap();
        let mut second = Box::pin(pool.open(caller(), || ()));
        let mut third = Box::pin(pool.open(caller(), || ()));
        assert!(futures_util::poll!(&mut second).is_pending());
        assert!(futures_util::poll!(&mut third).is_pending());
        assert_eq!(pool.snapshot().queued, 2);
        assert!(matches!(
            pool.open(caller(), || ()).await,
            Err(Refused::QueueFull(2))
        ));
        // The second is told, and leaves before it has heard.
        drop(first);
        drop(second);
        let third = third.await.unwrap();
        assert_eq!(pool.snapshot().queued, 0);
        assert_eq!(pool.snapshot().targets[0].sessions, 1);
        drop(third);
    }

    /// A unix socket whose queue is full: dials wait until they may no longer.
    async fn silent(path: &std::path::Path) -> (socket2::Socket, Vec<tokio::net::UnixStream>) {
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        socket.bind(&socket2::SockAddr::unix(path).unwrap()).unwrap();
        socket.listen(1).unwrap();
        let mut queued = Vec::new();
        while let Ok(stream) = tokio::net::UnixStream::connect(path).await {
            queued.push(stream);
            assert!(queued.len() < 64, "the queue never filled");
        }
        (socket, queued)
    }

    /// A pool of one such target, what runs for it, and what keeps it silent.
    async fn silent_pool() -> (Pool, TaskTracker, impl Sized) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let silent = silent(&path).await;
        let plan = plan(&[&format!("unix:{}", path.display())]);
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        tasks.close();
        let pool = Pool::new("test", plan, None, &tasks, &stop);
        (pool, tasks, (dir, silent))
    }

    #[tokio::test(start_paused = true)]
    async fn that_a_target_does_not_answer_is_learnt_from_those_who_leave_before() {
        let (pool, tasks, _silent) = silent_pool().await;
        for _ in 0..3 {
            assert!(futures_util::poll!(Box::pin(pool.open(caller(), || ()))).is_pending());
            assert_eq!(tasks.len(), 1, "one dial is enough");
            assert_eq!(pool.snapshot().targets[0].sessions, 1);
        }
        tasks.wait().await;
        let [target] = pool.snapshot().targets.try_into().unwrap();
        assert_eq!((target.condition, target.sessions), (Condition::Down, 0));
        assert_eq!(target.last_failure.unwrap().0, "no answer within 5s");
    }

    #[tokio::test(start_paused = true)]
    async fn a_dial_that_was_left_alone_ends_with_its_pool() {
        let (pool, tasks, _silent) = silent_pool().await;
        assert!(futures_util::poll!(Box::pin(pool.open(caller(), || ()))).is_pending());
        assert_eq!(tasks.len(), 1);
        drop(pool);
        let begin = Instant::now();
        tasks.wait().await;
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }

    #[tokio::test]
    async fn who_has_only_a_trial_left_keeps_no_place_from_others() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let plan = Plan {
            max_sessions: Some(1),
            queue: 2,
            queue_timeout: Duration::from_millis(300),
            dial_timeout: Duration::from_secs(60),
            retry_after: Duration::from_millis(16),
            ..plan(&[
                &format!("tcp://{}", listener.local_addr().unwrap()),
                &format!("unix:{}", path.display()),
            ])
        };
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let pool = Pool::new("test", plan, None, &tasks, &stop);
        let first = pool.open(caller(), || ()).await.unwrap();
        // The socket is not there: it is down, and the other one is only full.
        let late = pool.open(caller(), || ()).await;
        assert!(matches!(late, Err(Refused::QueueTimeout(_))));
        // And now it is there, and says nothing.
        let (socket, queued) = silent(&path).await;
        let waits = std::cell::Cell::new(false);
        let mut third = Box::pin(pool.open(caller(), || waits.set(true)));
        let leaves = async {
            while !waits.get() || pool.snapshot().queued > 0 {
                tokio::select! {
                    biased;
                    _ = &mut third => panic!("its trial is under way"),
                    () = tokio::time::sleep(Duration::from_millis(1)) => {}
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), leaves)
            .await
            .unwrap();
        drop(first);
        let other = pool.open(caller(), || ()).await.unwrap();
        assert!(other.reached.peer.is_some());
        for _ in 0..queued.len() {
            socket.accept().unwrap();
        }
        let third = third.await.unwrap();
        assert!(third.reached.peer.is_none());
    }
}
