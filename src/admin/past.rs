//! What was, as JSON: the last hour, and the last ends.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use hyper::StatusCode;
use jiff::{Timestamp, Unit};
use serde_json::{Map, Value, json};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Admin;
use super::history::{History, INTERVAL, Moment, RouteMoment, RouteSample, Sample, Sums};
use super::query::Query;
use super::serve::Answer;
use crate::addr::Shown;
use crate::bridge::held_bytes;
use crate::close::{CloseReason, Level};
use crate::session::Service;
use crate::telemetry::counts;
use crate::telemetry::ends::{self, End};

/// The labels of the ends that are nobody's fault.
static ORDERLY: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    let rows = CloseReason::all().into_iter().map(CloseReason::row);
    rows.filter(|row| row.is_orderly()).map(|row| row.label).collect()
});

/// Takes samples until `stop`.
pub(super) async fn watch(admin: Arc<Admin>, stop: CancellationToken) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = Instant::now();
    let watching = async {
        loop {
            ticks.tick().await;
            // It looks at every session: elsewhere, so that none of them waits for it.
            let service = Arc::clone(&admin.service);
            let Ok(moment) = spawn_blocking(move || moment(&service)).await else {
                continue;
            };
            let now = Instant::now();
            lock(&admin.history).take(unix_seconds(), now - before, moment);
            before = now;
        }
    };
    let _stopped: Option<()> = stop.run_until_cancelled(watching).await;
}

fn lock(history: &Mutex<History>) -> MutexGuard<'_, History> {
    history.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How things are now.
fn moment(service: &Service) -> Moment {
    let mut moment = Moment {
        held_bytes: held_bytes(),
        ..Moment::default()
    };
    moment.sums.refusals = counts::refusals().map(|(_, count)| count).sum();
    let totals = service.sessions.totals();
    for (running, done) in totals.values() {
        moment.sessions += *running as u64;
        let (sums, moved) = (&mut moment.sums, &done.counters);
        sums.messages_up += moved.messages_up;
        sums.messages_down += moved.messages_down;
        sums.bytes_up += moved.bytes_up;
        sums.bytes_down += moved.bytes_down;
        for (label, count) in &done.ends {
            if ORDERLY.contains(label) {
                sums.orderly_ends += count;
            } else {
                sums.other_ends += count;
            }
        }
    }
    let generation = service.current.load();
    let routes = generation.destinations.iter().map(|destination| {
        let name = &destination.route.name;
        let moved = totals.get(name);
        RouteMoment {
            name: name.clone(),
            sessions: moved.map_or(0, |(running, _)| *running as u64),
            bytes_up: moved.map_or(0, |(_, done)| done.counters.bytes_up),
            bytes_down: moved.map_or(0, |(_, done)| done.counters.bytes_down),
        }
    });
    moment.routes = routes.collect();
    moment
}

/// The last hour: column by column, of all columns the newest last.
pub(super) fn history(admin: &Admin) -> Answer {
    let history = lock(&admin.history);
    let samples = history.samples();
    let column = |value: fn(&Sample) -> Value| samples.iter().map(value).collect::<Vec<_>>();
    let grown = |value: fn(&Sums) -> u64| {
        samples
            .iter()
            .map(|sample| value(&sample.grown))
            .collect::<Vec<_>>()
    };
    let routes = history.routes().map(|(name, samples)| {
        let column = |value: fn(&RouteSample) -> u64| samples.iter().map(value).collect::<Vec<_>>();
        json!({
            "name": name,
            "sessions": column(|sample| sample.sessions),
            "bytes_up": column(|sample| sample.bytes_up),
            "bytes_down": column(|sample| sample.bytes_down),
        })
    });
    let told = json!({
        "interval_seconds": INTERVAL.as_secs(),
        "at": column(|sample| sample.at.into()),
        "passed_seconds": column(|sample| sample.passed.as_secs_f64().into()),
        "sessions": column(|sample| sample.sessions.into()),
        "buffer_bytes": column(|sample| sample.held_bytes.into()),
        "messages_up": grown(|sums| sums.messages_up),
        "messages_down": grown(|sums| sums.messages_down),
        "bytes_up": grown(|sums| sums.bytes_up),
        "bytes_down": grown(|sums| sums.bytes_down),
        "orderly_ends": grown(|sums| sums.orderly_ends),
        "other_ends": grown(|sums| sums.other_ends),
        "refusals": grown(|sums| sums.refusals),
        "routes": routes.collect::<Vec<_>>(),
    });
    drop(history);
    Answer::json(StatusCode::OK, &told)
}

fn unix_seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// The last ends of sessions and the last refusals, how sessions have ended since the start, and of every cause what can be done about
/// it.
pub(super) fn ends(
    service: &Service,
    query: &mut Query,
    unknown: impl Fn(&Query) -> Option<Answer>,
) -> Answer {
    let mut after = |name| query.take(name).map_or(Ok(0), |after| after.parse());
    let (sessions, refusals) = (after("sessions_after"), after("refusals_after"));
    if let Some(unknown) = unknown(query) {
        return unknown;
    }
    let (Ok(sessions), Ok(refusals)) = (sessions, refusals) else {
        let text = "`sessions_after` and `refusals_after` are the `number` of an end";
        return Answer::error(StatusCode::BAD_REQUEST, text);
    };
    let list = |ends: Vec<(u64, End)>| {
        ends.iter()
            .map(|(number, one)| end(*number, one))
            .collect::<Vec<_>>()
    };
    let told = json!({
        "sessions": list(ends::sessions(sessions)),
        "refusals": list(ends::refusals(refusals)),
        "ended": service.sessions.ended(),
        "causes": causes(),
    });
    Answer::json(StatusCode::OK, &told)
}

fn end(number: u64, end: &End) -> Value {
    let row = end.reason.row();
    json!({
        "number": number,
        "time": Timestamp::try_from(end.at).and_then(|at| at.round(Unit::Millisecond)).ok().map(|at| at.to_string()),
        "id": end.id,
        "client": Shown(end.client).to_string(),
        "route": end.route,
        "backend": end.backend,
        "cause": row.label,
        "text": row.text,
        "code": end.code,
        "status": end.status,
        "seconds": end.lasted.as_secs_f64(),
        "bytes_up": end.bytes_up,
        "bytes_down": end.bytes_down,
    })
}

/// Every cause, by its label.
fn causes() -> Map<String, Value> {
    let mut causes = BTreeMap::new();
    for reason in CloseReason::all() {
        causes.entry(reason.row().label).or_insert(reason);
    }
    let told = causes.into_iter().map(|(label, reason)| {
        let row = reason.row();
        let level = match row.level {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        };
        let about = json!({ "level": level, "orderly": row.is_orderly(), "advice": reason.advice() });
        (label.to_owned(), about)
    });
    told.collect()
}
