//! Room for connections that are not sessions yet. Where it is used up and more wait, one has to go that has said nothing yet: to connect
//! and be silent costs nothing, and must not keep others away until a deadline.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

use super::Pace;

/// What everybody has for the first byte, however many wait; and how often somebody is looked for who has to go.
const MOMENT: Duration = Duration::from_millis(100);

/// So many at once.
#[derive(Debug)]
pub struct Room {
    permits: Arc<Semaphore>,
    silent: Mutex<Silent>,
}

/// Those that have said nothing yet.
#[derive(Debug, Default)]
struct Silent {
    last: u64,
    /// Of each client, the oldest first.
    clients: BTreeMap<IpAddr, BTreeMap<u64, Waiting>>,
    /// Who has how many. The last is who has the most, and of those with as many the one with the oldest.
    ranks: BTreeSet<(usize, Reverse<u64>, IpAddr)>,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    leave: oneshot::Sender<()>,
}

/// A connection that has said nothing yet.
#[derive(Debug)]
pub struct Newcomer {
    room: Arc<Room>,
    client: IpAddr,
    id: u64,
    leave: oneshot::Receiver<()>,
}

/// A connection had to go, because others waited.
#[derive(Debug, PartialEq, Eq)]
pub struct CrowdedOut;

impl Room {
    /// For so many.
    pub fn new(most: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
            silent: Mutex::default(),
        }
    }

    /// One has come from a client, which is an address or the network that it is in.
    pub fn enter(self: &Arc<Self>, client: IpAddr) -> Newcomer {
        let (sender, leave) = oneshot::channel();
        let id = self.silent().enter(client, Instant::now(), sender);
        Newcomer {
            room: Arc::clone(self),
            client,
            id,
            leave,
        }
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
        let mut permit = pin!(Arc::clone(&self.permits).acquire_owned());
        loop {
            let now = Instant::now();
            let again = if others_wait() {
                self.silent().crowd_out(now)
            } else {
                now + MOMENT
            };
            tokio::select! {
                biased;
                permit = &mut permit => return permit.ok(),
                () = sleep_until(again) => {}
            }
        }
    }

    pub(super) fn try_permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).try_acquire_owned().ok()
    }

    fn silent(&self) -> MutexGuard<'_, Silent> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Silent {
    fn enter(&mut self, client: IpAddr, since: Instant, leave: oneshot::Sender<()>) -> u64 {
        self.last += 1;
        let id = self.last;
        self.change(client, |held| held.insert(id, Waiting { since, leave }));
        id
    }

    fn leave(&mut self, client: IpAddr, id: u64) -> Option<Waiting> {
        self.change(client, |held| held.remove(&id))
    }

    /// Sends the oldest one away of the client that has the most, once it has had its moment. Who has fewer never goes before that.
    /// Returns when to look again.
    fn crowd_out(&mut self, now: Instant) -> Instant {
        let Some(&(_, Reverse(id), client)) = self.ranks.last() else {
            return now + MOMENT;
        };
        let oldest = self.clients.get(&client).and_then(|held| held.get(&id));
        if let Some(early) = oldest
            .map(|oldest| oldest.since + MOMENT)
            .filter(|due| *due > now)
        {
            return early;
        }
        if let Some(waiting) = self.leave(client, id) {
            // It may just have been heard.
            waiting.leave.send(()).unwrap_or_default();
        }
        now + MOMENT
    }

    fn change<T>(&mut self, client: IpAddr, change: impl FnOnce(&mut BTreeMap<u64, Waiting>) -> T) -> T {
        let rank = |held: &BTreeMap<u64, Waiting>| {
            let oldest = held.first_key_value();
            oldest.map(|(id, _)| (held.len(), Reverse(*id), client))
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
    /// Returns when the connection has something to be read, if it is its end, or after `limit`.
    pub async fn until_heard(mut self, stream: &TcpStream, limit: Duration) -> Result<(), CrowdedOut> {
        // A new socket is taken for readable until it was tried.
        let mut first = [0];
        tokio::select! {
            biased;
            // What is wrong with it tells who reads.
            _ = stream.peek(&mut first) => Ok(()),
            _ = &mut self.leave => Err(CrowdedOut),
            () = sleep(limit) => Ok(()),
        }
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        self.room.silent().leave(self.client, self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn enter(silent: &mut Silent, client: IpAddr, since: Instant) -> oneshot::Receiver<()> {
        let (sender, leave) = oneshot::channel();
        silent.enter(client, since, sender);
        leave
    }

    #[test]
    fn the_oldest_goes_of_who_has_the_most_and_nobody_before_a_moment_is_over() {
        let mut silent = Silent::default();
        let start = Instant::now();
        let mut here = [B, A, A, B, A].map(|client| enter(&mut silent, client, start));
        let mut left = || -> Vec<usize> {
            let left = here.iter_mut().enumerate();
            left.filter_map(|(at, leave)| leave.try_recv().is_ok().then_some(at))
                .collect()
        };
        let late = start + MOMENT;
        let early = late - Duration::from_nanos(1);
        assert_eq!(silent.crowd_out(early), late);
        assert!(left().is_empty());
        // Three, then two each, of which B has the oldest, then those that are left.
        for expected in [1, 0, 2, 3, 4] {
            assert_eq!(silent.crowd_out(late), late + MOMENT);
            assert_eq!(left(), [expected]);
        }
        assert_eq!(silent.crowd_out(late), late + MOMENT);
        assert!(silent.clients.is_empty() && silent.ranks.is_empty());
    }

    #[test]
    fn who_has_fewer_does_not_go_before_a_crowd_that_is_new() {
        let mut silent = Silent::default();
        let start = Instant::now();
        let late = start + MOMENT;
        let mut slow = enter(&mut silent, B, start);
        let mut crowd = [A, A].map(|client| enter(&mut silent, client, late));
        assert_eq!(silent.crowd_out(late), late + MOMENT);
        assert!(slow.try_recv().is_err() && crowd[0].try_recv().is_err());
        silent.crowd_out(late + MOMENT);
        assert!(slow.try_recv().is_err() && crowd[0].try_recv().is_ok());
    }

    #[tokio::test]
    async fn who_has_spoken_stays() {
        let room = Arc::new(Room::new(1));
        let (mut client, stream) = {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            (client, listener.accept().await.unwrap().0)
        };
        let mut newcomer = room.enter(A);
        let silent = newcomer.until_heard(&stream, MOMENT);
        tokio::select! {
            biased;
            _ = silent => panic!("nothing was said"),
            () = std::future::ready(()) => {}
        }
        newcomer = room.enter(A);
        tokio::io::AsyncWriteExt::write_all(&mut client, b"x")
            .await
            .unwrap();
        assert_eq!(
            newcomer.until_heard(&stream, Duration::from_secs(10)).await,
            Ok(())
        );
        assert!(room.silent().ranks.is_empty());
    }
}
