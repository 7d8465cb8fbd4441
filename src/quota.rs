//! Who may have how many sessions: the process, a listener, a route, a client.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::addr::Prefix;
use crate::close::CloseReason;
use crate::config::Route;

/// The places that are taken, by sessions and by those that are about to be some.
#[derive(Debug, Default)]
pub struct Quota(Mutex<Taken>);

/// An entry is gone with its last session, so there are never more of them than sessions.
#[derive(Debug, Default)]
struct Taken {
    all: usize,
    listeners: HashMap<usize, usize>,
    routes: HashMap<String, usize>,
    clients: HashMap<IpAddr, usize>,
}

/// For whom a place is.
#[derive(Debug)]
pub struct Claim {
    /// The listener's number.
    pub listener: usize,
    /// The route.
    pub route: Arc<Route>,
    /// The client's own address.
    pub client: IpAddr,
}

/// How many places there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Most {
    /// In the process.
    pub all: usize,
    /// On this listener.
    pub listener: Option<usize>,
    /// On this route.
    pub route: Option<usize>,
    /// For one client.
    pub client: Option<usize>,
    /// How much of an address says who the client is.
    pub prefix: Prefix,
}

/// A place for a session, until it is dropped.
#[derive(Debug)]
pub struct Place(Box<Taking>);

// Most of it is wanted at the end only: a session need not carry it in its task.
#[derive(Debug)]
struct Taking {
    quota: Arc<Quota>,
    claim: Claim,
}

impl Quota {
    /// Takes a place, or tells of which kind there is none. What concerns the fewest is asked first: so a client that has enough is not
    /// told that everybody has to wait.
    pub fn reserve(self: &Arc<Self>, mut claim: Claim, most: &Most) -> Result<Place, CloseReason> {
        claim.client = most.prefix.of(claim.client);
        let mut taken = self.lock();
        let full = |count: usize, most: Option<usize>| most.is_some_and(|most| count >= most);
        let of = |count: Option<&usize>| count.copied().unwrap_or(0);
        if full(of(taken.clients.get(&claim.client)), most.client) {
            return Err(CloseReason::TooManyOfClient);
        }
        if full(of(taken.routes.get(&claim.route.name)), most.route) {
            return Err(CloseReason::TooManyOnRoute);
        }
        if full(of(taken.listeners.get(&claim.listener)), most.listener) {
            return Err(CloseReason::TooManyOnListener);
        }
        if taken.all >= most.all {
            return Err(CloseReason::TooManySessions);
        }
        taken.all += 1;
        *taken.clients.entry(claim.client).or_default() += 1;
        *taken.listeners.entry(claim.listener).or_default() += 1;
        // By hand: an entry would need the name as its own, each time.
        match taken.routes.get_mut(&claim.route.name) {
            Some(count) => *count += 1,
            None => drop(taken.routes.insert(claim.route.name.clone(), 1)),
        }
        Ok(Place(Box::new(Taking {
            quota: Arc::clone(self),
            claim,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Taking { quota, claim } = &*self.0;
        let mut taken = quota.lock();
        taken.all -= 1;
        give_back(&mut taken.clients, &claim.client);
        give_back(&mut taken.listeners, &claim.listener);
        give_back(&mut taken.routes, &claim.route.name);
    }
}

fn give_back<K, Q>(counts: &mut HashMap<K, usize>, key: &Q)
where
    K: Eq + Hash + std::borrow::Borrow<Q>,
    Q: Eq + Hash + ?Sized,
{
    match counts.get_mut(key) {
        Some(count) if *count > 1 => *count -= 1,
        _ => drop(counts.remove(key)),
    }
    // A burst must not hold its room for ever.
    if counts.capacity() > 64 && counts.len() < counts.capacity() / 8 {
        counts.shrink_to(counts.len() * 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes() -> [Arc<Route>; 2] {
        let file = "[[listener]]\nbind = \"127.0.0.1:0\"\nplaintext = \"loopback\"\n\
            [[route]]\nname = \"a\"\npath = \"/a\"\nbackend = \"tcp://a:1\"\nframing = \"raw\"\n\
            [[route]]\nname = \"b\"\npath = \"/b\"\nbackend = \"tcp://b:1\"\nframing = \"raw\"\n";
        let loaded = crate::config::parse(file, "file", std::path::Path::new(""), &|_| None).unwrap();
        let routes = loaded.config.routes.into_iter().map(Arc::new);
        routes.collect::<Vec<_>>().try_into().unwrap()
    }

    #[test]
    fn each_kind_has_its_own_limit_and_a_place_comes_back() {
        let routes = routes();
        let quota = Arc::new(Quota::default());
        let most = Most {
            all: 6,
            listener: Some(5),
            route: Some(4),
            client: Some(3),
            prefix: Prefix { v4: 24, v6: 64 },
        };
        let reserve = |listener, route: usize, client: &str| {
            let claim = Claim {
                listener,
                route: Arc::clone(&routes[route]),
                client: client.parse().unwrap(),
            };
            quota.reserve(claim, &most)
        };
        let mut places = Vec::new();
        for (listener, route, client, expected) in [
            (0, 0, "192.0.2.1", None),
            (0, 0, "192.0.2.2", None),
            // The same address in the other form.
            (0, 0, "::ffff:192.0.2.1", None),
            (0, 1, "192.0.2.255", Some(CloseReason::TooManyOfClient)),
            (0, 0, "2001:db8::1", None),
            (1, 0, "2001:db8::1", Some(CloseReason::TooManyOnRoute)),
            (0, 1, "2001:db8::ffff:1", None),
            (0, 1, "2001:db8::2", Some(CloseReason::TooManyOnListener)),
            (1, 1, "2001:db8::2", None),
            (1, 1, "2001:db8::3", Some(CloseReason::TooManyOfClient)),
            (1, 1, "2001:db8:0:1::3", Some(CloseReason::TooManySessions)),
        ] {
            match reserve(listener, route, client) {
                Ok(place) => {
                    places.push(place);
                    assert_eq!(expected, None, "{client}");
                }
                Err(reason) => assert_eq!(Some(reason), expected, "{client}"),
            }
        }
        drop(places.pop());
        assert!(reserve(1, 1, "2001:db8:0:1::3").is_ok());
        drop(places);
        let taken = quota.lock();
        assert_eq!(taken.all, 0);
        assert!(taken.clients.is_empty() && taken.listeners.is_empty() && taken.routes.is_empty());
    }

    #[test]
    fn what_a_burst_of_clients_took_is_given_back() {
        let [route, _] = routes();
        let quota = Arc::new(Quota::default());
        let most = Most {
            all: usize::MAX,
            listener: None,
            route: None,
            client: Some(1),
            prefix: Prefix { v4: 32, v6: 64 },
        };
        let places: Vec<_> = (0..10_000_u32)
            .map(|bits| {
                let claim = Claim {
                    listener: 0,
                    route: Arc::clone(&route),
                    client: std::net::Ipv4Addr::from_bits(bits).into(),
                };
                quota.reserve(claim, &most).unwrap()
            })
            .collect();
        assert_eq!(quota.lock().clients.len(), 10_000);
        drop(places);
        assert!(quota.lock().clients.capacity() < 100);
    }
}
