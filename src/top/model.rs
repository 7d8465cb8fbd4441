//! What two looks at a sealock tell together, pure. A field that is missing is left out: the daemon may be older or newer than this.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

/// What the daemon told at one time.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    /// `/api/v1/status`.
    pub(super) status: Value,
    /// The elements of `/api/v1/routes`.
    pub(super) routes: Vec<Value>,
    /// The elements of `/api/v1/sessions`, as many as were asked for.
    pub(super) sessions: Vec<Value>,
    /// How many there are.
    pub(super) found: u64,
}

/// What there is to show.
#[derive(Clone, Debug, Default)]
pub(super) struct Picture {
    pub(super) head: Head,
    pub(super) routes: Vec<Route>,
    pub(super) sessions: Vec<Session>,
    /// How many sessions there are: more than are listed, where there are very many.
    pub(super) found: u64,
}

/// The process.
#[derive(Clone, Debug, Default)]
pub(super) struct Head {
    pub(super) version: String,
    pub(super) state: String,
    pub(super) pid: Option<u64>,
    pub(super) started: Option<Timestamp>,
    pub(super) generation: Option<u64>,
    pub(super) sessions: Option<u64>,
    pub(super) max_sessions: Option<u64>,
    pub(super) opening: Option<u64>,
    pub(super) buffers: Option<u64>,
    pub(super) memory: Option<u64>,
    pub(super) files: Option<u64>,
    pub(super) max_files: Option<u64>,
    /// Connections that were refused so far, for whatever cause.
    pub(super) refused: u64,
    /// Bytes a second over all routes.
    pub(super) rates: Rates,
    /// The certificate that ends first: of which listener, and when.
    pub(super) certificate: Option<(String, Timestamp)>,
}

/// Bytes a second; none where there is nothing to compare with.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) up: Option<f64>,
    pub(super) down: Option<f64>,
}

#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) name: String,
    pub(super) state: &'static str,
    pub(super) sessions: u64,
    pub(super) queued: u64,
    /// How many targets are up or not known to be down, and how many there are.
    pub(super) targets: (usize, usize),
    pub(super) rates: Rates,
    /// Sessions that have ended, for whatever cause.
    pub(super) ends: u64,
    /// All that was told.
    pub(super) fields: Value,
}

#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) id: u64,
    pub(super) client: String,
    pub(super) route: String,
    pub(super) target: String,
    pub(super) age: Duration,
    pub(super) rates: Rates,
    pub(super) held: u64,
    pub(super) state: &'static str,
    /// All that was told.
    pub(super) fields: Value,
}

/// Bytes that were moved up and down.
type Moved = (u64, u64);

impl Rates {
    /// Both together.
    pub(super) fn sum(self) -> Option<f64> {
        Some(self.up? + self.down?)
    }

    /// What `now` is more than `before`. Counters that went back tell nothing.
    fn between(before: Moved, now: Moved, elapsed: Duration) -> Self {
        let seconds = elapsed.as_secs_f64();
        let rate = |before: u64, now: u64| {
            let more = now.checked_sub(before).filter(|_| seconds > 0.0)?;
            Some(more as f64 / seconds)
        };
        Self {
            up: rate(before.0, now.0),
            down: rate(before.1, now.1),
        }
    }

    fn add(&mut self, other: Self) {
        let sum = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (None, b) => b,
            (Some(a), b) => Some(a + b.unwrap_or(0.0)),
        };
        *self = Self {
            up: sum(self.up, other.up),
            down: sum(self.down, other.down),
        };
    }
}

impl Picture {
    /// What a look tells, beside the picture before it and the time between them.
    pub(super) fn new(look: Look, before: Option<(&Self, Duration)>) -> Self {
        let mut head = head(&look.status);
        // Another process counts from nothing.
        let before = before.filter(|(before, _)| head.is_same_process(&before.head));
        let elapsed = before.map(|(_, elapsed)| elapsed);
        let known: HashMap<&str, Moved> = before
            .iter()
            .flat_map(|(before, _)| &before.routes)
            .map(|route| (route.name.as_str(), moved(&route.fields)))
            .collect();
        let routes = look.routes.into_iter();
        let routes: Vec<Route> = routes.map(|fields| route(fields, &known, elapsed)).collect();
        let known: HashMap<u64, Moved> = before
            .iter()
            .flat_map(|(before, _)| &before.sessions)
            .map(|session| (session.id, moved(&session.fields)))
            .collect();
        let sessions = look.sessions.into_iter();
        let sessions = sessions.map(|fields| session(fields, &known, elapsed)).collect();
        for route in &routes {
            head.rates.add(route.rates);
        }
        Self {
            head,
            routes,
            sessions,
            found: look.found,
        }
    }
}

impl Head {
    fn is_same_process(&self, before: &Self) -> bool {
        (self.pid, self.started) == (before.pid, before.started)
    }
}

fn head(status: &Value) -> Head {
    let number = |pointer| number(status, pointer);
    let listeners = status["listeners"].as_array().into_iter().flatten();
    let certificates = listeners.filter_map(|listener| {
        let end = text(listener, "certificate_expires").parse().ok()?;
        Some((text(listener, "address").to_owned(), end))
    });
    let refusals = status["refusals"].as_object();
    Head {
        version: text(status, "version").to_owned(),
        state: text(status, "state").to_owned(),
        pid: number("/pid"),
        started: text(status, "started").parse().ok(),
        generation: number("/generation/number"),
        sessions: number("/sessions"),
        max_sessions: number("/max_sessions"),
        opening: number("/opening"),
        buffers: number("/buffer_bytes"),
        memory: number("/resident_bytes"),
        files: number("/open_files"),
        max_files: number("/max_open_files"),
        refused: refusals.map_or(0, |causes| causes.values().filter_map(Value::as_u64).sum()),
        rates: Rates::default(),
        certificate: certificates.min_by_key(|(_, end)| *end),
    }
}

fn route(fields: Value, known: &HashMap<&str, Moved>, elapsed: Option<Duration>) -> Route {
    let name = text(&fields, "name").to_owned();
    let targets = fields["targets"].as_array().map_or(&[][..], Vec::as_slice);
    let down = targets
        .iter()
        .filter(|target| target["condition"] == "down")
        .count();
    let state = match down {
        _ if flag(&fields, "removed") => "removed",
        _ if flag(&fields, "draining") => "draining",
        0 => "open",
        down if down == targets.len() => "down",
        _ => "partly down",
    };
    let rates = match (known.get(name.as_str()), elapsed) {
        (Some(before), Some(elapsed)) => Rates::between(*before, moved(&fields), elapsed),
        _ => Rates::default(),
    };
    let ends = fields["ends"].as_object();
    Route {
        state,
        sessions: number(&fields, "/sessions").unwrap_or(0),
        queued: number(&fields, "/queued").unwrap_or(0),
        targets: (targets.len() - down, targets.len()),
        rates,
        ends: ends.map_or(0, |causes| causes.values().filter_map(Value::as_u64).sum()),
        name,
        fields,
    }
}

fn session(fields: Value, known: &HashMap<u64, Moved>, elapsed: Option<Duration>) -> Session {
    let id = number(&fields, "/id").unwrap_or(0);
    let age = fields["age_seconds"].as_f64().unwrap_or(0.0);
    let age = Duration::try_from_secs_f64(age).unwrap_or_default();
    let before = known.get(&id).copied();
    let rates = match elapsed {
        // One that was not there before has done all of it in between.
        Some(elapsed) if before.is_some() || age <= elapsed => {
            Rates::between(before.unwrap_or_default(), moved(&fields), elapsed)
        }
        _ => Rates::default(),
    };
    let blocked = |side| flag(&fields, side);
    let state = match (blocked("client_blocked"), blocked("backend_blocked")) {
        _ if flag(&fields, "ending") => "ending",
        (false, false) => "open",
        (true, false) => "slow client",
        (false, true) => "slow backend",
        (true, true) => "both slow",
    };
    Session {
        id,
        client: text(&fields, "client").to_owned(),
        route: text(&fields, "route").to_owned(),
        target: text(&fields, "target").to_owned(),
        age,
        rates,
        held: number(&fields, "/held_bytes").unwrap_or(0),
        state,
        fields,
    }
}

fn moved(fields: &Value) -> Moved {
    let count = |pointer| number(fields, pointer).unwrap_or(0);
    (count("/moved/bytes_up"), count("/moved/bytes_down"))
}

fn text<'a>(fields: &'a Value, name: &str) -> &'a str {
    fields[name].as_str().unwrap_or_default()
}

fn number(fields: &Value, pointer: &str) -> Option<u64> {
    fields.pointer(pointer)?.as_u64()
}

fn flag(fields: &Value, name: &str) -> bool {
    fields[name].as_bool().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn route(name: &str, up: u64, down: u64) -> Value {
        json!({ "name": name, "moved": { "bytes_up": up, "bytes_down": down } })
    }

    fn session(id: u64, age: f64, up: u64, down: u64) -> Value {
        json!({ "id": id, "age_seconds": age, "moved": { "bytes_up": up, "bytes_down": down } })
    }

    fn look(pid: u64, routes: Vec<Value>, sessions: Vec<Value>) -> Look {
        Look {
            status: json!({ "pid": pid, "started": "2026-01-01T00:00:00Z" }),
            found: sessions.len() as u64,
            routes,
            sessions,
        }
    }

    /// A picture of it, with none before.
    fn first(pid: u64, routes: Vec<Value>, sessions: Vec<Value>) -> Picture {
        Picture::new(look(pid, routes, sessions), None)
    }

    fn rates(up: f64, down: f64) -> Rates {
        Rates {
            up: Some(up),
            down: Some(down),
        }
    }

    #[test]
    fn rates_are_what_came_between_two_looks() {
        let before = first(
            1,
            vec![route("a", 100, 1000), route("b", 0, 0)],
            vec![session(1, 9.0, 10, 20), session(2, 9.0, 5, 5)],
        );
        let now = look(
            1,
            vec![route("a", 300, 1000), route("b", 2, 4), route("new", 7, 7)],
            // The second one went; the third came since; the fourth was there, but not looked at.
            vec![
                session(1, 11.0, 30, 60),
                session(3, 1.5, 8, 4),
                session(4, 99.0, 8, 4),
            ],
        );
        let picture = Picture::new(now.clone(), Some((&before, 2 * SECOND)));
        let of_routes: Vec<Rates> = picture.routes.iter().map(|route| route.rates).collect();
        assert_eq!(of_routes, [rates(100.0, 0.0), rates(1.0, 2.0), Rates::default()]);
        let of_sessions: Vec<Rates> = picture.sessions.iter().map(|session| session.rates).collect();
        assert_eq!(
            of_sessions,
            [rates(10.0, 20.0), rates(4.0, 2.0), Rates::default()]
        );
        assert_eq!(picture.head.rates, rates(101.0, 2.0));
        assert_eq!(picture.sessions[0].rates.sum(), Some(30.0));

        let alone = Picture::new(now.clone(), None);
        assert_eq!(alone.head.rates, Rates::default());
        let in_no_time = Picture::new(now, Some((&before, Duration::ZERO)));
        assert_eq!(in_no_time.head.rates, Rates::default());
    }

    #[test]
    fn a_restart_is_not_taken_for_traffic() {
        let before = first(1, vec![route("a", 100, 100)], vec![session(1, 5.0, 100, 100)]);
        // Another process, whose counters happen to be higher.
        let now = look(2, vec![route("a", 500, 500)], vec![session(1, 0.5, 500, 500)]);
        let picture = Picture::new(now, Some((&before, SECOND)));
        assert_eq!(picture.head.rates, Rates::default());
        assert_eq!(picture.sessions[0].rates, Rates::default());
        // Counters that went back although it seems to be the same.
        let back = look(1, vec![route("a", 99, 150)], vec![]);
        let picture = Picture::new(back, Some((&before, SECOND)));
        assert_eq!(picture.head.rates.up, None);
        assert_eq!(picture.head.rates.down, Some(50.0));
    }

    #[test]
    fn states_are_words() {
        let state = |fields: Value| super::session(fields, &HashMap::new(), None).state;
        for (fields, expected) in [
            (json!({}), "open"),
            (json!({ "client_blocked": true }), "slow client"),
            (json!({ "backend_blocked": true }), "slow backend"),
            (
                json!({ "client_blocked": true, "backend_blocked": true }),
                "both slow",
            ),
            (json!({ "client_blocked": true, "ending": true }), "ending"),
        ] {
            assert_eq!(state(fields.clone()), expected, "{fields}");
        }
        let up = json!({ "condition": "up" });
        let down = json!({ "condition": "down" });
        let unknown = json!({ "condition": "unknown" });
        for (targets, draining, expected, usable) in [
            (json!([]), false, "open", (0, 0)),
            (json!([up, unknown]), false, "open", (2, 2)),
            (json!([up, down]), false, "partly down", (1, 2)),
            (json!([down, down]), false, "down", (0, 2)),
            (json!([down]), true, "draining", (0, 1)),
        ] {
            let fields = json!({ "targets": targets, "draining": draining, "removed": false });
            let route = super::route(fields.clone(), &HashMap::new(), None);
            assert_eq!((route.state, route.targets), (expected, usable), "{fields}");
        }
        let removed = json!({ "targets": [], "draining": true, "removed": true });
        assert_eq!(super::route(removed, &HashMap::new(), None).state, "removed");
    }

    #[test]
    fn the_head_tells_which_certificate_ends_first() {
        let status = json!({
            "version": "9.9.9", "state": "ready", "started": "2026-01-01T00:00:00Z",
            "generation": { "number": 3 }, "sessions": 5, "max_sessions": 10,
            "refusals": { "a": 2, "b": 3 },
            "listeners": [
                { "address": "[::]:1", "certificate_expires": "2027-01-01T00:00:00Z" },
                { "address": "[::]:2", "certificate_expires": null },
                { "address": "[::]:3", "certificate_expires": "2026-12-01T00:00:00Z" },
                { "address": "[::]:4", "certificate_expires": "nonsense" },
                { "address": "[::]:5" },
            ],
        });
        let head = head(&status);
        let (listener, end) = head.certificate.unwrap();
        assert_eq!(
            (listener.as_str(), end.to_string()),
            ("[::]:3", "2026-12-01T00:00:00Z".into())
        );
        assert_eq!((head.generation, head.refused), (Some(3), 5));
    }

    #[test]
    fn what_is_missing_or_of_another_type_is_left_out() {
        let odd = || {
            vec![
                json!(null),
                json!(7),
                json!({ "name": 7, "id": -1, "moved": [], "age_seconds": -1e300, "targets": {} }),
            ]
        };
        for status in [
            json!(null),
            json!([]),
            json!({ "sessions": "many", "listeners": {}, "refusals": [] }),
        ] {
            let look = Look {
                status,
                routes: odd(),
                sessions: odd(),
                found: 3,
            };
            let before = Picture::new(look.clone(), None);
            let picture = Picture::new(look, Some((&before, SECOND)));
            assert_eq!((picture.routes.len(), picture.sessions.len()), (3, 3));
            assert_eq!(picture.head.sessions, None);
            assert_eq!(picture.sessions[2].age, Duration::ZERO);
        }
    }
}
