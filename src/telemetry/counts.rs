//! What the process counts beside its sessions: connections on their way to be one, refusals, and how long things take.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use crate::bridge::Sizes;
use crate::close::CloseReason;

/// Connections that were accepted, and those of them that are not sessions yet.
static CONNECTIONS: AtomicU64 = AtomicU64::new(0);
static OPENING: AtomicU64 = AtomicU64::new(0);

/// Refusals by the label of their cause: every label that there is, so that nothing from outside can add one.
static REFUSALS: LazyLock<BTreeMap<&'static str, AtomicU64>> = LazyLock::new(|| {
    let labels = CloseReason::all().into_iter().map(|reason| reason.row().label);
    labels.map(|label| (label, AtomicU64::new(0))).collect()
});

static TLS_HANDSHAKES: LazyLock<Histogram> = LazyLock::new(|| Histogram::new(MOMENTS));

/// By the names of the routes: [`fold_routes`] bounds them.
static ROUTES: Mutex<BTreeMap<String, Arc<Times>>> = Mutex::new(BTreeMap::new());

/// Seconds: what a person waits for.
const MOMENTS: &[f64] = &[
    0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// Seconds: what lasts, up to days.
const SPANS: &[f64] = &[
    1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0, 604_800.0,
];

/// How long things took.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One for each bound, and one for what is above them all.
    counts: Box<[AtomicU64]>,
    microseconds: AtomicU64,
}

/// What a [`Histogram`] has seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// All together, in seconds.
    pub sum: f64,
    /// How many.
    pub count: u64,
    /// Upper bounds in seconds, the last without end, and how many lie below each and above the one before.
    pub buckets: Vec<(f64, u64)>,
}

/// How long things took on one route, and how long its messages were.
#[derive(Debug)]
pub struct Times {
    /// To find a session its backend, with the wait for a place.
    pub dial: Histogram,
    /// A session.
    pub session: Histogram,
    /// Its messages and records, in bytes. They are counted as they are moved.
    pub sizes: Arc<Sizes>,
}

/// A connection that is not a session yet, until it is dropped.
pub(crate) struct Opening(());

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            microseconds: AtomicU64::new(0),
        }
    }

    /// Counts one that took so long.
    pub(crate) fn observe(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let at = self.bounds.partition_point(|bound| *bound < seconds);
        if let Some(count) = self.counts.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let microseconds = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.microseconds.fetch_add(microseconds, Ordering::Relaxed);
    }

    /// Counts what another one with the same bounds has seen.
    fn add(&self, other: &Self) {
        for (count, more) in self.counts.iter().zip(&other.counts) {
            count.fetch_add(more.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        let microseconds = other.microseconds.load(Ordering::Relaxed);
        self.microseconds.fetch_add(microseconds, Ordering::Relaxed);
    }

    /// What it has seen so far.
    pub fn seen(&self) -> Seen {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        Seen {
            sum: self.microseconds.load(Ordering::Relaxed) as f64 / 1e6,
            count: buckets.iter().map(|(_, count)| count).sum(),
            buckets,
        }
    }
}

impl Default for Times {
    fn default() -> Self {
        Self {
            dial: Histogram::new(MOMENTS),
            session: Histogram::new(SPANS),
            sizes: Arc::default(),
        }
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        OPENING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts a connection that was accepted. Gives its number, which its log lines share.
pub(crate) fn accepted() -> u64 {
    CONNECTIONS.fetch_add(1, Ordering::Relaxed) + 1
}

/// Counts a connection that is on its way to be a session.
pub(crate) fn opening() -> Opening {
    OPENING.fetch_add(1, Ordering::Relaxed);
    Opening(())
}

/// Counts a connection that did not become a session, by the label of the cause.
pub(super) fn refused(label: &str) {
    if let Some(count) = REFUSALS.get(label) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// How many connections were accepted.
pub fn connections() -> u64 {
    CONNECTIONS.load(Ordering::Relaxed)
}

/// How many of them are on their way to be sessions, or to be refused.
pub fn connections_opening() -> u64 {
    OPENING.load(Ordering::Relaxed)
}

/// How many connections did not become sessions, by the label of the cause.
pub fn refusals() -> impl Iterator<Item = (&'static str, u64)> {
    REFUSALS
        .iter()
        .map(|(label, count)| (*label, count.load(Ordering::Relaxed)))
}

/// How long TLS handshakes took that succeeded.
pub fn tls_handshakes() -> &'static Histogram {
    &TLS_HANDSHAKES
}

/// How long things took on this route.
pub(crate) fn route(name: &str) -> Arc<Times> {
    let mut routes = ROUTES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(times) = routes.get(name) {
        return Arc::clone(times);
    }
    let times = Arc::<Times>::default();
    routes.insert(name.to_owned(), Arc::clone(&times));
    times
}

/// Counts those routes together, under this name, that are none of the `known`.
pub(crate) fn fold_routes(known: impl Fn(&str) -> bool, together: &str) {
    let mut routes = ROUTES.lock().unwrap_or_else(PoisonError::into_inner);
    // What somebody has in hand to add to it is left to the next time.
    let gone = routes.extract_if(.., |name, times| {
        let held = Arc::strong_count(times) + Arc::strong_count(&times.sizes) > 2;
        name != together && !held && !known(name)
    });
    let gone: Vec<_> = gone.map(|(_, times)| times).collect();
    if gone.is_empty() {
        return;
    }
    let sum = routes.entry(together.to_owned()).or_default();
    for times in gone {
        sum.dial.add(&times.dial);
        sum.session.add(&times.session);
        sum.sizes.add(&times.sizes);
    }
}

/// How long things took, by the names of the routes.
pub fn routes() -> BTreeMap<String, Arc<Times>> {
    ROUTES.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_lie_below_their_bounds() {
        let histogram = Histogram::new(&[0.5, 2.0]);
        for milliseconds in [0, 500, 501, 2000, 9000] {
            histogram.observe(Duration::from_millis(milliseconds));
        }
        let seen = Seen {
            sum: 12.001,
            count: 5,
            buckets: vec![(0.5, 2), (2.0, 2), (f64::INFINITY, 1)],
        };
        assert_eq!(histogram.seen(), seen);
    }

    #[test]
    fn routes_that_are_no_more_are_counted_together() {
        let count = |name: &str| routes().get(name).map_or(0, |times| times.dial.seen().count);
        let second = Duration::from_secs(1);
        // Nobody else in this process has such names.
        let ours = |name: &str| name.starts_with("fold-");
        for name in ["fold-kept", "fold-gone", "fold-gone", "fold-held"] {
            route(name).dial.observe(second);
        }
        let held = route("fold-held");
        fold_routes(|name| !ours(name) || name == "fold-kept", "fold together");
        assert_eq!(
            ["fold-kept", "fold-gone", "fold-held", "fold together"].map(count),
            [1, 0, 1, 2]
        );
        assert!(!routes().contains_key("fold-gone"));
        held.dial.observe(second);
        drop(held);
        for _ in 0..2 {
            fold_routes(|name| !ours(name) || name == "fold-kept", "fold together");
            assert_eq!(["fold-kept", "fold-held", "fold together"].map(count), [1, 0, 4]);
        }
    }

    #[test]
    fn only_known_causes_are_counted() {
        let of = |label: &str| {
            refusals()
                .find(|(known, _)| *known == label)
                .map(|(_, count)| count)
        };
        let before = of("internal").unwrap();
        refused("internal");
        refused("made up");
        assert!(of("internal").unwrap() > before);
        assert_eq!(of("made up"), None);
    }
}
