//! All sessions of the process, and what those have done that are over.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::backend::Target;
use crate::bridge::{Counters, Ended, Live, Stop};
use crate::config::Route;

/// Sessions begin and end on every thread: so many locks they share.
const SHARDS: usize = 16;

/// A session that runs.
#[derive(Debug)]
pub struct Session {
    /// The number of its connection.
    pub id: u64,
    /// The other end of its connection.
    pub peer: SocketAddr,
    /// Whom it is for, where trusted proxies said more: see [`Session::client`].
    pub named: Option<Box<SocketAddr>>,
    /// Its route, as it was when the session began.
    pub route: Arc<Route>,
    /// The target that was chosen.
    pub target: Arc<Target>,
    /// The address that was reached, if it has one.
    pub backend: Option<SocketAddr>,
    /// The subprotocol that was chosen.
    pub subprotocol: Option<Box<str>>,
    /// When it began.
    pub start: Instant,
    /// What it does.
    pub live: Arc<Live>,
    /// Where it is listed.
    pub list: Arc<Sessions>,
}

impl Session {
    /// Whom it is for: who is at the other end of its connection, unless trusted proxies said more.
    pub fn client(&self) -> SocketAddr {
        self.named.as_deref().copied().unwrap_or(self.peer)
    }
}

/// What the sessions of one route have done that are over.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// What they moved.
    pub counters: Counters,
    /// How many of them ended, by the label of the cause.
    pub ends: HashMap<&'static str, u64>,
}

#[derive(Debug, Default)]
struct Shard {
    live: HashMap<u64, Arc<Session>>,
    done: HashMap<String, Done>,
}

impl Shard {
    /// Takes the names of routes away that have sessions here.
    fn keep_running(&self, gone: &mut HashSet<String>) {
        for session in self.live.values() {
            if gone.is_empty() {
                return;
            }
            gone.remove(&session.route.name);
        }
    }
}

/// See the module's documentation.
#[derive(Default)]
pub struct Sessions {
    shards: [Mutex<Shard>; SHARDS],
    /// Held by whoever adds up or folds: what is folded halfway would be missing from the sums.
    adding: Mutex<()>,
}

/// The name under which routes are counted together that are no more. No route has it.
pub const REMOVED: &str = "";

/// A session's place in the list, until it is dropped.
#[derive(Debug)]
pub struct Listed(Arc<Session>);

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the sessions, which know their list.
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

impl Sessions {
    /// Lists a session.
    pub fn list(&self, session: Session) -> Listed {
        let session = Arc::new(session);
        self.shard(session.id)
            .live
            .insert(session.id, Arc::clone(&session));
        Listed(session)
    }

    /// Counts what came of a connection that never was a session, but had found its route.
    pub fn add(&self, id: u64, route: &str, counters: &Counters) {
        if *counters != Counters::default() {
            let mut shard = self.shard(id);
            shard.done.entry(route.to_owned()).or_default().counters += counters;
        }
    }

    /// One session, if it runs.
    pub fn get(&self, id: u64) -> Option<Arc<Session>> {
        self.shard(id).live.get(&id).cloned()
    }

    /// All that run, in the order of their beginning.
    pub fn all(&self) -> Vec<Arc<Session>> {
        self.those(|_| true)
    }

    /// These of all that run, in the order of their beginning.
    pub fn those(&self, which: impl Fn(&Session) -> bool) -> Vec<Arc<Session>> {
        let mut those: Vec<Arc<Session>> = Vec::new();
        for shard in &self.shards {
            let shard = lock(shard);
            those.extend(shard.live.values().filter(|session| which(session)).cloned());
        }
        those.sort_unstable_by_key(|session| session.id);
        those
    }

    /// How many run.
    pub fn count(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).live.len()).sum()
    }

    /// What each route's sessions have done, those that run included. No session is missing, and none counts twice, so that no sum
    /// ever falls.
    pub fn totals(&self) -> HashMap<String, (usize, Done)> {
        let _adding = lock(&self.adding);
        let mut totals: HashMap<String, (usize, Done)> = HashMap::new();
        for shard in &self.shards {
            let shard = lock(shard);
            for (route, done) in &shard.done {
                totals.entry(route.clone()).or_default().1.add(done);
            }
            for session in shard.live.values() {
                let route = &session.route.name;
                // By hand: an entry would need the name as its own, for each session, while others wait.
                if !totals.contains_key(route) {
                    totals.insert(route.clone(), Default::default());
                }
                if let Some((live, done)) = totals.get_mut(route) {
                    *live += 1;
                    done.counters += &session.live.state().settled();
                }
            }
        }
        totals
    }

    /// How many have ended by each cause, on whatever route: those of routes that are no more count too.
    pub fn ended(&self) -> BTreeMap<&'static str, u64> {
        let mut ended = BTreeMap::new();
        for shard in &self.shards {
            for (label, count) in lock(shard).done.values().flat_map(|done| &done.ends) {
                *ended.entry(*label).or_default() += count;
            }
        }
        ended
    }

    /// Counts routes together that are not `known` and have no sessions.
    pub fn fold(&self, known: impl Fn(&str) -> bool) {
        let stays = |name: &str| name == REMOVED || known(name);
        let _adding = lock(&self.adding);
        let mut gone = HashSet::new();
        for shard in &self.shards {
            let shard = lock(shard);
            gone.extend(shard.done.keys().filter(|name| !stays(name)).cloned());
        }
        // Those that run stay. They are looked for in one shard after another first: while there are some, nobody waits for all shards.
        for shard in &self.shards {
            lock(shard).keep_running(&mut gone);
        }
        if gone.is_empty() {
            return;
        }
        // All at once: a session that begins in one of them meanwhile would have a part of its route's sums only.
        let mut shards: Vec<_> = self.shards.iter().map(lock).collect();
        for shard in &shards {
            shard.keep_running(&mut gone);
        }
        for shard in &mut shards {
            for name in &gone {
                if let Some(done) = shard.done.remove(name) {
                    shard.done.entry(REMOVED.to_owned()).or_default().add(&done);
                }
            }
        }
    }

    /// Whether a route of this name has sessions.
    pub fn any_on(&self, route: &str) -> bool {
        let on = |session: &Arc<Session>| session.route.name == route;
        self.shards.iter().any(|shard| lock(shard).live.values().any(on))
    }

    /// Asks these sessions to end at their next good moment, one after another within `window`, in an order that has nothing to do
    /// with their age: their clients come back, and should not come together.
    pub async fn drain(&self, stop: Stop, window: Duration, which: impl Fn(&Session) -> bool) {
        let mut chosen = self.those(which);
        fastrand::shuffle(&mut chosen);
        let pace = window / u32::try_from(chosen.len().max(1)).unwrap_or(u32::MAX);
        let start = Instant::now();
        for (at, session) in (0_u32..).zip(chosen) {
            session.live.drain(stop);
            // ±50 %, without drifting.
            let due = start + pace * at + pace.mul_f64(0.5 + fastrand::f64());
            tokio::time::sleep_until(due).await;
        }
    }

    /// Ends all sessions now.
    pub fn end(&self, stop: Stop) {
        for session in self.all() {
            session.live.end(stop);
        }
    }

    /// Ends all sessions without waiting for anybody.
    pub fn cut(&self, stop: Stop) {
        for session in self.all() {
            session.live.cut(stop);
        }
    }

    fn shard(&self, id: u64) -> MutexGuard<'_, Shard> {
        lock(&self.shards[id as usize % SHARDS])
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Listed {
    /// The session.
    pub fn session(&self) -> &Arc<Session> {
        &self.0
    }

    /// Takes a session off that has ended so.
    pub fn ended(self, ended: &Ended) {
        self.take_off(&ended.counters, Some(ended.reason.row().label));
    }

    fn take_off(&self, counters: &Counters, label: Option<&'static str>) {
        let session = &self.0;
        let mut shard = session.list.shard(session.id);
        if shard.live.remove(&session.id).is_none() {
            return;
        }
        let route = &session.route.name;
        // By hand: an entry would need the name as its own, each time.
        if !shard.done.contains_key(route) {
            shard.done.insert(route.clone(), Done::default());
        }
        if let Some(done) = shard.done.get_mut(route) {
            done.counters += counters;
            if let Some(label) = label {
                *done.ends.entry(label).or_default() += 1;
            }
        }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        // One that was cut without an end of its own.
        self.take_off(&self.0.live.state().settled(), None);
    }
}

impl Done {
    fn add(&mut self, other: &Self) {
        self.counters += &other.counters;
        for (label, count) in &other.ends {
            *self.ends.entry(label).or_default() += count;
        }
    }
}
