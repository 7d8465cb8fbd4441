//! Room for connections that are not sessions yet. Where it is used up and more wait, one has to go whose client keeps sealock waiting: to
//! connect and say nothing, or next to nothing, costs little, and must not keep others away until a deadline.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Pace;

/// What everybody has for the first byte, however many wait; and how often somebody is looked for who has to go.
const MOMENT: Duration = Duration::from_millis(100);

/// What who has sent that has for each of the rest, a handshake and a request: on a slow network, and on one that is very slow. Between
/// them it is learnt: if all have gone and nobody was fast enough, the next have twice as long; who is done in time shows how long it takes.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(4));

/// So many at once.
#[derive(Debug)]
pub struct Room {
    permits: Arc<Semaphore>,
    size: Mutex<Size>,
    /// Each listener holds a permit while it waits for a connection: the others must not be kept from accepting by that.
    waiting: usize,
    awaited: Mutex<Awaited>,
}

/// How much room there is.
#[derive(Debug, Default)]
struct Size {
    most: usize,
    /// Of what there was more before, what is still in use. The next permits that are taken are given up for that.
    debt: usize,
}

/// Those whose clients are waited for.
#[derive(Debug, Default)]
struct Awaited {
    last: u64,
    /// Of each client, in the order in which they have to go.
    clients: BTreeMap<IpAddr, BTreeMap<Turn, Waiting>>,
    /// Who has how many. The last is who has the most, and of those with as many the one with the first turn.
    ranks: BTreeSet<(usize, Reverse<Turn>, IpAddr)>,
    /// What there is of patience beyond the least.
    more: Duration,
    /// How many have gone that had begun, since one was done.
    in_vain: usize,
}

#[derive(Debug)]
struct Waiting {
    leave: CancellationToken,
    /// It has said something.
    begun: bool,
}

/// From when on one may have to go, and which one it is.
type Turn = (Instant, u64);

/// A connection that is not a session yet.
#[derive(Debug)]
pub struct Newcomer {
    room: Arc<Room>,
    id: u64,
    since: Instant,
    leave: CancellationToken,
    /// Where it is found while its client is waited for.
    listed: Mutex<Option<(IpAddr, Turn)>>,
}

/// A connection had to go, because others waited.
#[derive(Debug, PartialEq, Eq)]
pub struct CrowdedOut;

impl Room {
    /// For so many, of one listener.
    pub fn new(most: usize) -> Self {
        let room = Self::shared_by(1);
        room.resize(most);
        room
    }

    /// For nobody yet, of so many listeners.
    pub fn shared_by(listeners: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(0)),
            size: Mutex::default(),
            waiting: listeners.saturating_sub(1),
            awaited: Mutex::default(),
        }
    }

    /// For so many from now on. Those that are here stay, however many they are.
    pub fn resize(&self, most: usize) {
        let most = most.saturating_add(self.waiting).min(Semaphore::MAX_PERMITS);
        let mut size = self.size();
        let before = std::mem::replace(&mut size.most, most);
        let (more, less) = (most.saturating_sub(before), before.saturating_sub(most));
        let waived = more.min(size.debt);
        self.permits.add_permits(more - waived);
        size.debt = size.debt - waived + (less - self.permits.forget_permits(less));
    }

    /// Gives a permit up, if there is one too many.
    fn settle(&self, permit: OwnedSemaphorePermit) -> Option<OwnedSemaphorePermit> {
        let mut size = self.size();
        if size.debt == 0 {
            return Some(permit);
        }
        size.debt -= 1;
        permit.forget();
        None
    }

    fn size(&self) -> MutexGuard<'_, Size> {
        self.size.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One has come from a client, which is an address or the network that it is in, and has said nothing yet.
    pub fn enter(self: &Arc<Self>, client: IpAddr) -> Newcomer {
        let newcomer = Newcomer {
            room: Arc::clone(self),
            id: {
                let mut awaited = self.awaited();
                awaited.last += 1;
                awaited.last
            },
            since: Instant::now(),
            leave: CancellationToken::new(),
            listed: Mutex::default(),
        };
        newcomer.list(Some((client, false)));
        newcomer
    }

    /// Waits for a place, and makes one where `others_wait`. There is always one in the end: nobody closes the semaphore.
    pub(super) async fn permit(
        &self,
        pace: &Pace,
        others_wait: impl Fn() -> bool,
    ) -> Option<OwnedSemaphorePermit> {
        if let Some(permit) = self.try_permit() {
            return Some(permit);
        }
        pace.waits_for_room();
        let acquire = || Arc::clone(&self.permits).acquire_owned();
        let mut permit = pin!(acquire());
        loop {
            let now = Instant::now();
            let again = if others_wait() {
                let most = self.size().most;
                self.awaited().crowd_out(now, most)
            } else {
                now + MOMENT
            };
            tokio::select! {
                biased;
                acquired = &mut permit => {
                    let kept = self.settle(acquired.ok()?);
                    if kept.is_some() {
                        return kept;
                    }
                    permit.set(acquire());
                }
                () = sleep_until(again) => {}
            }
        }
    }

    pub(super) fn try_permit(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            let permit = Arc::clone(&self.permits).try_acquire_owned().ok()?;
            if let Some(permit) = self.settle(permit) {
                return Some(permit);
            }
        }
    }

    fn awaited(&self) -> MutexGuard<'_, Awaited> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Awaited {
    fn patience(&self) -> Duration {
        PATIENCE.0 + self.more
    }

    /// One was done, in this time.
    fn done(&mut self, took: Duration) {
        self.in_vain = 0;
        self.more = self.more.min((took * 2).saturating_sub(PATIENCE.0));
    }

    /// Sends one away of the client that has the most: the one whose turn came first, if it has come. Who has fewer never goes before
    /// that. There is room for so many. Returns when to look again.
    fn crowd_out(&mut self, now: Instant, most: usize) -> Instant {
        let Some(&(_, Reverse(turn), client)) = self.ranks.last() else {
            return now + MOMENT;
        };
        if turn.0 > now {
            return turn.0;
        }
        if let Some(Waiting { leave, begun }) = self.change(client, |held| held.remove(&turn)) {
            leave.cancel();
            self.in_vain += usize::from(begun);
        }
        if self.in_vain >= most.max(1) {
            self.in_vain = 0;
            self.more = (self.patience() * 2).min(PATIENCE.1) - PATIENCE.0;
        }
        now + MOMENT
    }

    fn change<T>(&mut self, client: IpAddr, change: impl FnOnce(&mut BTreeMap<Turn, Waiting>) -> T) -> T {
        let rank = |held: &BTreeMap<Turn, Waiting>| {
            let first = held.first_key_value();
            first.map(|(turn, _)| (held.len(), Reverse(*turn), client))
        };
        let held = self.clients.entry(client).or_default();
        let before = rank(held);
        let changed = change(held);
        let after = rank(held);
        if after.is_none() {
            self.clients.remove(&client);
        }
        if let Some(before) = before {
            self.ranks.remove(&before);
        }
        self.ranks.extend(after);
        changed
    }
}

impl Newcomer {
    /// Something has come of the client, which is this one, and more is waited for.
    pub fn await_client(&self, client: IpAddr) {
        self.list(Some((client, true)));
    }

    /// The client has done its part. What it takes now is not its fault: it does not have to go.
    pub fn work(&self) {
        self.list(None);
        self.room.awaited().done(self.since.elapsed());
    }

    /// Returns when it has to go.
    pub async fn crowded_out(&self) {
        self.leave.cancelled().await;
    }

    /// What the client is waited for, unless it has to go before.
    pub async fn unless_crowded_out<T>(&self, awaited: impl Future<Output = T>) -> Result<T, CrowdedOut> {
        tokio::select! {
            biased;
            done = awaited => Ok(done),
            () = self.crowded_out() => Err(CrowdedOut),
        }
    }

    /// Lists it anew, as one that has begun or not, or nowhere. Who has been sent away stays so.
    fn list(&self, anew: Option<(IpAddr, bool)>) {
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut awaited = self.room.awaited();
        if let Some((client, turn)) = listed.take() {
            awaited.change(client, |held| held.remove(&turn));
        }
        if let Some((client, begun)) = anew.filter(|_| !self.leave.is_cancelled()) {
            let patience = if begun { awaited.patience() } else { MOMENT };
            let turn = (Instant::now() + patience, self.id);
            let leave = self.leave.clone();
            awaited.change(client, |held| held.insert(turn, Waiting { leave, begun }));
            *listed = Some((client, turn));
        }
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        self.list(None);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn room() -> Arc<Room> {
        Arc::new(Room::new(1))
    }

    /// Who goes, one after another.
    fn leave(room: &Room, newcomers: &[Newcomer]) -> Vec<usize> {
        let mut left = Vec::new();
        let now = Instant::now();
        loop {
            room.awaited().crowd_out(now, 1);
            let mut gone = (0..newcomers.len()).filter(|at| newcomers[*at].leave.is_cancelled());
            match gone.find(|at| !left.contains(at)) {
                Some(at) => left.push(at),
                None => return left,
            }
        }
    }

    #[tokio::test]
    async fn room_grows_at_once_and_shrinks_as_it_becomes_free() {
        let room = Room::new(2);
        let mut held: Vec<_> = std::iter::from_fn(|| room.try_permit()).collect();
        assert_eq!(held.len(), 2);
        room.resize(5);
        held.extend(std::iter::from_fn(|| room.try_permit()));
        assert_eq!(held.len(), 5);
        // Two are free, and go at once; two more are owed, of which one is waived.
        held.truncate(3);
        room.resize(1);
        room.resize(2);
        held.pop();
        assert!(room.try_permit().is_none());
        held.pop();
        held.extend(std::iter::from_fn(|| room.try_permit()));
        assert_eq!(held.len(), 2);
        // Who waits gets what is left when all is paid.
        room.resize(1);
        let pace = Pace::default();
        let mut waits = pin!(room.permit(&pace, || false));
        held.pop();
        assert!(waits.as_mut().now_or_never().is_none());
        held.pop();
        assert!(waits.await.is_some());
        assert_eq!((room.permits.available_permits(), room.size().debt), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_goes_of_who_has_the_most_and_nobody_before_a_moment_is_over() {
        let room = room();
        let mut silent = Vec::new();
        for client in [B, A, A, B, A] {
            silent.push(room.enter(client));
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert!(room.awaited().crowd_out(Instant::now(), 1) < Instant::now() + MOMENT);
        assert!(leave(&room, &silent).is_empty());
        tokio::time::advance(MOMENT).await;
        // Of three, then of two each, of which B has the oldest, then those that are left.
        assert_eq!(leave(&room, &silent), [1, 0, 2, 3, 4]);
        drop(silent);
        let nobody = room.awaited();
        assert!(nobody.clients.is_empty() && nobody.ranks.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_fewer_does_not_go_before_a_crowd_that_is_new() {
        let room = room();
        let slow = room.enter(B);
        tokio::time::advance(MOMENT).await;
        let crowd = [A, A].map(|client| room.enter(client));
        let late = Instant::now() + MOMENT;
        assert_eq!(room.awaited().crowd_out(Instant::now(), 1), late);
        assert!(leave(&room, &crowd).is_empty());
        tokio::time::advance(MOMENT).await;
        room.awaited().crowd_out(late, 1);
        assert!(!slow.leave.is_cancelled() && crowd[0].leave.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_spoken_has_longer_and_may_have_to_go_then() {
        let room = room();
        let crowd = [A, A, A].map(|client| room.enter(client));
        crowd[0].await_client(A);
        tokio::time::advance(MOMENT).await;
        assert_eq!(leave(&room, &crowd), [1, 2]);
        assert_eq!(
            room.awaited().crowd_out(Instant::now(), 1),
            Instant::now() + PATIENCE.0 - MOMENT
        );
        tokio::time::advance(PATIENCE.0).await;
        assert_eq!(
            crowd[0].unless_crowded_out(std::future::ready(7)).await,
            Ok(7),
            "not yet"
        );
        room.awaited().crowd_out(Instant::now(), 1);
        let never = crowd[0].unless_crowded_out(std::future::pending::<()>());
        assert_eq!(never.await, Err(CrowdedOut));
        // Whatever it says now.
        crowd[0].await_client(A);
        assert!(room.awaited().ranks.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_sealock_stays() {
        let room = room();
        let crowd = [A, A].map(|client| room.enter(client));
        crowd[0].await_client(A);
        crowd[0].work();
        tokio::time::advance(PATIENCE.0).await;
        assert_eq!(leave(&room, &crowd), [1]);
        // It is the client's turn again, with all the time there is for that.
        crowd[0].await_client(B);
        let worked = &crowd[..1];
        assert!(leave(&room, worked).is_empty());
        assert_eq!(room.awaited().clients.keys().collect::<Vec<_>>(), [&B]);
        tokio::time::advance(PATIENCE.0).await;
        assert_eq!(leave(&room, worked), [0]);
    }

    /// Or a crowd on a slow network would be sent away again and again, each just before it is done.
    #[tokio::test(start_paused = true)]
    async fn patience_grows_until_somebody_is_done_in_time() {
        const MANY: usize = 10;
        let room = Arc::new(Room::new(MANY));
        let mut rounds = 0;
        let mut served = 0;
        while served < 5 * MANY {
            rounds += 1;
            let crowd: Vec<_> = (0..MANY).map(|_| room.enter(A)).collect();
            crowd.iter().for_each(|one| one.await_client(A));
            // Others wait all the time.
            for _ in 0..18 {
                tokio::time::advance(MOMENT).await;
                for _ in 0..MANY {
                    room.awaited().crowd_out(Instant::now(), MANY);
                }
            }
            let done = crowd.iter().filter(|one| !one.leave.is_cancelled());
            served += done.inspect(|one| one.work()).count();
            assert!(rounds < 10, "{served}");
        }
        assert_eq!(rounds, 6);
        // Where others are fast, who is slow has little time again.
        let fast = room.enter(B);
        tokio::time::advance(MOMENT).await;
        fast.work();
        assert_eq!(room.awaited().patience(), PATIENCE.0);
        // And nobody has more than that.
        for _ in 0..10 * MANY {
            let one = room.enter(A);
            one.await_client(A);
            tokio::time::advance(PATIENCE.1).await;
            room.awaited().crowd_out(Instant::now(), MANY);
        }
        assert_eq!(room.awaited().patience(), PATIENCE.1);
    }
}
