//! Who is connected to the admin listener, and who goes where there are too many: never one whose request is being answered, so that
//! connections on which nothing is asked keep nobody away.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::addr::{Prefix, is_loopback};

/// Connections at once.
pub(super) const MOST: usize = 256;
/// Those of one peer, unless it is this machine.
const MOST_OF_PEER: usize = 64;
/// Who a peer is: whoever has an IPv6 address has a network of them.
const PEER: Prefix = Prefix { v4: 32, v6: 64 };

/// The connections.
#[derive(Default)]
pub(super) struct Places(Mutex<State>);

#[derive(Default)]
struct State {
    /// The oldest first.
    held: Vec<Held>,
    last: u64,
}

struct Held {
    id: u64,
    /// None for this machine.
    peer: Option<IpAddr>,
    answering: bool,
    left: CancellationToken,
}

/// The place of one, which it gives back when it is dropped.
pub(super) struct Place {
    places: Arc<Places>,
    id: u64,
    left: CancellationToken,
}

impl Places {
    /// Takes a place. Where that is one too many, the oldest has to leave that is not being answered: of this peer, if those are too
    /// many, or of all.
    pub(super) fn take(self: &Arc<Self>, peer: IpAddr) -> Place {
        let peer = (!is_loopback(peer)).then(|| PEER.of(peer));
        let left = CancellationToken::new();
        let mut state = self.state();
        state.last += 1;
        let id = state.last;
        state.held.push(Held {
            id,
            peer,
            answering: false,
            left: left.clone(),
        });
        if peer.is_some() {
            state.make_room(MOST_OF_PEER, |held| held.peer == peer);
        }
        state.make_room(MOST, |_| true);
        drop(state);
        Place {
            places: Arc::clone(self),
            id,
            left,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Lets go until there are no more than `most` of these.
    fn make_room(&mut self, most: usize, these: impl Fn(&Held) -> bool) {
        while self.held.iter().filter(|held| these(held)).count() > most {
            let idle = |held: &Held| these(held) && !held.answering;
            let Some(oldest) = self.held.iter().position(idle) else {
                return;
            };
            self.held.remove(oldest).left.cancel();
        }
    }
}

impl Place {
    /// The request is there, and is answered from now on; or it has been.
    pub(super) fn answering(&self, answering: bool) {
        let mut state = self.places.state();
        if let Some(held) = state.held.iter_mut().find(|held| held.id == self.id) {
            held.answering = answering;
        }
    }

    /// Cancelled once it has to leave.
    pub(super) fn left(&self) -> &CancellationToken {
        &self.left
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.state().held.retain(|held| held.id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(places: &Arc<Places>, peer: &str, count: usize) -> Vec<Place> {
        (0..count).map(|_| places.take(peer.parse().unwrap())).collect()
    }

    fn left(places: &[Place]) -> Vec<usize> {
        let left = places
            .iter()
            .enumerate()
            .filter(|(_, place)| place.left().is_cancelled());
        left.map(|(at, _)| at).collect()
    }

    #[test]
    fn the_oldest_goes_that_is_not_being_answered() {
        let places = Arc::default();
        let mut held = take(&places, "127.0.0.1", MOST);
        assert!(left(&held).is_empty());
        held[0].answering(true);
        held[2].answering(true);
        held[2].answering(false);
        held.extend(take(&places, "::1", 2));
        assert_eq!(left(&held), [1, 2]);
        // A place that was given back is free.
        drop(held.remove(5));
        held.extend(take(&places, "127.0.0.1", 1));
        assert_eq!(left(&held), [1, 2]);
        // Nobody is cut off for somebody who has asked nothing yet.
        for place in &held {
            place.answering(true);
        }
        let late = take(&places, "127.0.0.1", 1);
        assert_eq!((left(&held), left(&late)), (vec![1, 2], vec![0]));
    }

    #[test]
    fn no_peer_keeps_others_away() {
        let places = Arc::default();
        let others = take(&places, "192.0.2.2", 1);
        for peers in [
            ["192.0.2.1", "::ffff:192.0.2.1"],
            ["2001:db8::1", "2001:db8::2:0:0:1"],
        ] {
            let mut held = take(&places, peers[0], MOST_OF_PEER);
            assert!(left(&held).is_empty());
            held.extend(take(&places, peers[1], 2));
            assert_eq!(left(&held), [0, 1]);
        }
        assert!(left(&others).is_empty());
    }
}
