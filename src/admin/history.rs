//! What the last hour was like: a sample each ten seconds, in a ring. Pure: sums and the time go in.
//!
//! It takes at most 9 KB for each of the first [`MOST_ROUTES`] routes, and 40 KB besides.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How often a sample is taken.
pub(super) const INTERVAL: Duration = Duration::from_secs(10);
/// How many are kept: an hour.
pub(super) const KEPT: usize = 360;
/// Routes that have a history of their own, the first of the file.
pub(super) const MOST_ROUTES: usize = 100;

/// What only grows, since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) messages_up: u64,
    pub(super) messages_down: u64,
    pub(super) bytes_up: u64,
    pub(super) bytes_down: u64,
    /// Sessions that ended between records, by somebody's will.
    pub(super) orderly_ends: u64,
    /// All others.
    pub(super) other_ends: u64,
    pub(super) refusals: u64,
}

/// How things are at a moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Moment {
    pub(super) sums: Sums,
    pub(super) sessions: u64,
    pub(super) held_bytes: u64,
    /// In the order of the file.
    pub(super) routes: Vec<RouteMoment>,
}

/// The same of one route.
#[derive(Clone, Debug, Default)]
pub(super) struct RouteMoment {
    pub(super) name: String,
    pub(super) sessions: u64,
    pub(super) bytes_up: u64,
    pub(super) bytes_down: u64,
}

/// What happened up to a moment, since the one before, and how things were then.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    /// In seconds of Unix time.
    pub(super) at: u64,
    /// The time since the one before.
    pub(super) passed: Duration,
    pub(super) grown: Sums,
    pub(super) sessions: u64,
    pub(super) held_bytes: u64,
}

/// The same of one route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RouteSample {
    pub(super) sessions: u64,
    pub(super) bytes_up: u64,
    pub(super) bytes_down: u64,
}

#[derive(Debug, Default)]
struct RouteHistory {
    /// May be fewer than there are of the process; the last of both are of the same moment.
    samples: VecDeque<RouteSample>,
    bytes_up: u64,
    bytes_down: u64,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct History {
    samples: VecDeque<Sample>,
    routes: BTreeMap<String, RouteHistory>,
    sums: Sums,
}

impl Sums {
    fn since(self, before: Self) -> Self {
        Self {
            messages_up: self.messages_up.saturating_sub(before.messages_up),
            messages_down: self.messages_down.saturating_sub(before.messages_down),
            bytes_up: self.bytes_up.saturating_sub(before.bytes_up),
            bytes_down: self.bytes_down.saturating_sub(before.bytes_down),
            orderly_ends: self.orderly_ends.saturating_sub(before.orderly_ends),
            other_ends: self.other_ends.saturating_sub(before.other_ends),
            refusals: self.refusals.saturating_sub(before.refusals),
        }
    }
}

impl History {
    /// Takes a sample of this moment, so long after the one before.
    pub(super) fn take(&mut self, at: u64, passed: Duration, moment: Moment) {
        let sample = Sample {
            at,
            passed,
            grown: moment.sums.since(self.sums),
            sessions: moment.sessions,
            held_bytes: moment.held_bytes,
        };
        self.sums = moment.sums;
        push(&mut self.samples, sample);

        let mut before = std::mem::take(&mut self.routes);
        for route in moment.routes.into_iter().take(MOST_ROUTES) {
            // A route that is new here has moved its first bytes before anybody looked.
            let mut history = before.remove(&route.name).unwrap_or(RouteHistory {
                samples: VecDeque::new(),
                bytes_up: route.bytes_up,
                bytes_down: route.bytes_down,
            });
            let sample = RouteSample {
                sessions: route.sessions,
                bytes_up: route.bytes_up.saturating_sub(history.bytes_up),
                bytes_down: route.bytes_down.saturating_sub(history.bytes_down),
            };
            push(&mut history.samples, sample);
            (history.bytes_up, history.bytes_down) = (route.bytes_up, route.bytes_down);
            self.routes.insert(route.name, history);
        }
    }

    /// The samples, the oldest first.
    pub(super) fn samples(&self) -> &VecDeque<Sample> {
        &self.samples
    }

    /// Those of the routes, by name.
    pub(super) fn routes(&self) -> impl Iterator<Item = (&str, &VecDeque<RouteSample>)> {
        let routes = self.routes.iter();
        routes.map(|(name, history)| (name.as_str(), &history.samples))
    }
}

fn push<T>(ring: &mut VecDeque<T>, new: T) {
    // All at once: a ring that grows by doubling would take more than it keeps.
    if ring.is_empty() {
        ring.reserve_exact(KEPT);
    }
    if ring.len() == KEPT {
        ring.pop_front();
    }
    ring.push_back(new);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(bytes_up: u64, sessions: u64, routes: &[(&str, u64)]) -> Moment {
        let routes = routes.iter().map(|(name, bytes_up)| RouteMoment {
            name: (*name).to_owned(),
            sessions,
            bytes_up: *bytes_up,
            bytes_down: 2 * bytes_up,
        });
        Moment {
            sums: Sums {
                bytes_up,
                refusals: bytes_up / 10,
                ..Sums::default()
            },
            sessions,
            held_bytes: 7,
            routes: routes.collect(),
        }
    }

    #[test]
    fn samples_tell_what_was_added_and_what_is_there() {
        let mut history = History::default();
        let at = 1_800_000_000;
        history.take(at, Duration::ZERO, moment(100, 3, &[]));
        history.take(at + 10, INTERVAL, moment(250, 2, &[]));
        // A sum that falls is a defect elsewhere, and no reason to panic here.
        history.take(at, INTERVAL, moment(0, 2, &[]));
        let told: Vec<_> = history
            .samples()
            .iter()
            .map(|sample| (sample.grown.bytes_up, sample.grown.refusals, sample.sessions))
            .collect();
        assert_eq!(told, [(100, 10, 3), (150, 15, 2), (0, 0, 2)]);
        assert_eq!(history.samples()[1].held_bytes, 7);
        assert_eq!(history.samples()[1].passed, INTERVAL);
    }

    #[test]
    fn an_hour_is_kept() {
        let mut history = History::default();
        for n in 1..=KEPT as u64 + 5 {
            history.take(10 * n, INTERVAL, moment(n, n, &[("a", n)]));
        }
        assert_eq!(history.samples().len(), KEPT);
        assert_eq!(history.samples()[0].sessions, 6);
        let (_, samples) = history.routes().next().unwrap();
        assert_eq!((samples.len(), samples[0].sessions), (KEPT, 6));
        // What the documentation says of its memory.
        assert!(history.samples().capacity() * size_of::<Sample>() <= 40 << 10);
        assert!(samples.capacity() * size_of::<RouteSample>() <= 9 << 10);
    }

    #[test]
    fn routes_come_and_go() {
        let mut history = History::default();
        let take = |history: &mut History, routes: &[(&str, u64)]| {
            history.take(0, INTERVAL, moment(0, 1, routes));
            let told = history.routes().map(|(name, samples)| {
                let bytes = samples.iter().map(|sample| (sample.bytes_up, sample.bytes_down));
                (name.to_owned(), bytes.collect::<Vec<_>>())
            });
            told.collect::<Vec<_>>()
        };
        let told = |name: &str, bytes: &[(u64, u64)]| (name.to_owned(), bytes.to_vec());
        assert_eq!(take(&mut history, &[("a", 5)]), [told("a", &[(0, 0)])]);
        let both = take(&mut history, &[("b", 40), ("a", 6)]);
        assert_eq!(both, [told("a", &[(0, 0), (1, 2)]), told("b", &[(0, 0)])]);
        let one = take(&mut history, &[("b", 50)]);
        assert_eq!(one, [told("b", &[(0, 0), (10, 20)])]);
        // What it was is forgotten; what it moves from here on counts.
        let back = take(&mut history, &[("a", 9), ("b", 50)]);
        assert_eq!(back[0], told("a", &[(0, 0)]));
    }

    #[test]
    fn only_so_many_routes_have_one() {
        let mut history = History::default();
        let names: Vec<String> = (0..MOST_ROUTES + 9).map(|n| format!("route {n}")).collect();
        let routes: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
        for _ in 0..3 {
            history.take(0, INTERVAL, moment(0, 1, &routes));
            assert_eq!(history.routes().count(), MOST_ROUTES);
        }
    }
}
