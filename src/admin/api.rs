//! What runs, as JSON.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use hyper::StatusCode;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::query::Query;
use super::serve::Answer;
use super::{Admin, process};
use crate::addr::Shown;
use crate::backend::{Condition, TargetStatus};
use crate::bridge::{Counters, held_bytes};
use crate::session::Service;
use crate::sessions::{Done, Session, Sessions};
use crate::telemetry::{self, counts, lost_lines};

/// How many sessions are listed, unless the query says so, and at most.
const SESSIONS: usize = 100;
const MOST_SESSIONS: usize = 1000;

/// The process.
pub(super) fn status(admin: &Admin) -> Answer {
    let service = &admin.service;
    let generation = service.current.load();
    let usage = process::usage();
    let reloads = service.reload.state();
    let last = reloads.last.as_ref().map(|last| {
        json!({
            "at": time(last.at),
            "cause": last.cause.name(),
            "problem": last.problem.as_deref(),
        })
    });
    let listeners = admin.listeners.iter().map(|bound| {
        let port = generation.ports.get(bound.listener);
        let not_after = port.and_then(|port| port.not_after);
        json!({
            "address": bound.address.to_string(),
            "tls": bound.tls,
            "certificate_expires": not_after.map(|time| time.to_string()),
        })
    });
    let status = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "state": service.state().name(),
        "started": time(admin.started),
        "now": time(SystemTime::now()),
        "generation": { "number": generation.number, "since": time(generation.since) },
        "reloads": {
            "succeeded": reloads.succeeded,
            "failed": reloads.failed,
            "last": last,
            "waits_for_restart": reloads.waiting,
            "cannot_look": reloads.blind.as_deref(),
        },
        "log_level": telemetry::level(),
        "log_lines_lost": lost_lines(),
        "listeners": listeners.collect::<Vec<_>>(),
        "sessions": service.sessions.count(),
        "max_sessions": generation.config.limits.max_sessions,
        "opening": counts::connections_opening(),
        "connections": counts::connections(),
        "accept_errors": crate::accept::errors(),
        "buffer_bytes": held_bytes(),
        "resident_bytes": usage.resident,
        "open_files": usage.open_files,
        "max_open_files": usage.most_open_files,
        "refusals": met(counts::refusals()),
    });
    Answer::json(StatusCode::OK, &status)
}

/// The file that is in force, with its secrets masked.
pub(super) fn config(service: &Service) -> Answer {
    let generation = service.current.load();
    let written = &generation.config.written;
    let told = json!({ "generation": generation.number, "name": written.name, "text": written.text });
    Answer::json(StatusCode::OK, &told)
}

/// Every route with its targets, and what its sessions have done; then those that a reload has removed and that have sessions still.
pub(super) fn routes(service: &Service) -> Answer {
    let generation = service.current.load();
    let mut totals: BTreeMap<String, (usize, Done)> = service.totals().into_iter().collect();
    let mut routes: Vec<Value> = Vec::new();
    for destination in &generation.destinations {
        let route = &destination.route;
        let (running, done) = totals.remove(&route.name).unwrap_or_default();
        let pool = destination.pool.snapshot();
        routes.push(json!({
            "name": route.name,
            "removed": false,
            "hosts": route.hosts.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "path": route.path.to_string(),
            "draining": service.is_draining(destination),
            "sessions": running,
            "queued": pool.queued,
            "moved": moved(&done.counters),
            "ends": met(done.ends.into_iter()),
            "targets": pool.targets.iter().map(target).collect::<Vec<_>>(),
        }));
    }
    let removed = totals.into_iter().filter(|(_, (running, _))| *running > 0);
    routes.extend(removed.map(|(name, (running, done))| {
        json!({
            "name": name,
            "removed": true,
            "hosts": [],
            "path": null,
            // Nobody finds it any more.
            "draining": true,
            "sessions": running,
            "queued": 0,
            "moved": moved(&done.counters),
            "ends": met(done.ends.into_iter()),
            "targets": [],
        })
    }));
    Answer::json(StatusCode::OK, &json!({ "routes": routes }))
}

fn target(status: &TargetStatus) -> Value {
    let failure = status.last_failure.as_ref();
    json!({
        "target": status.target.to_string(),
        "addresses": status.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "condition": condition(status.condition),
        "sessions": status.sessions,
        "last_failure": failure.map(|(what, ago)| json!({ "error": what, "seconds_ago": ago.as_secs_f64() })),
    })
}

pub(super) fn condition(condition: Condition) -> &'static str {
    match condition {
        Condition::Unknown => "unknown",
        Condition::Up => "up",
        Condition::Down => "down",
    }
}

/// Which sessions are asked for.
struct Filter {
    route: Option<String>,
    client: Option<IpAddr>,
    after: u64,
}

impl Filter {
    fn fits(&self, session: &Session) -> bool {
        let route = self.route.as_ref();
        let client = session.client().ip().to_canonical();
        session.id > self.after
            && route.is_none_or(|route| *route == session.route.name)
            && self.client.is_none_or(|wanted| wanted.to_canonical() == client)
    }
}

/// The sessions that run, in the order of their beginning, as far as the query asks for them.
pub(super) fn sessions(
    sessions: &Sessions,
    query: &mut Query,
    unknown: impl Fn(&Query) -> Option<Answer>,
) -> Answer {
    let bad = |text: &str| Answer::error(StatusCode::BAD_REQUEST, text);
    let route = query.take("route");
    let client = query.take("client").map(|client| client.parse::<IpAddr>());
    let after = query.take("after").map_or(Ok(0), |after| after.parse());
    let limit = query.take("limit").map_or(Ok(SESSIONS), |limit| limit.parse());
    if let Some(unknown) = unknown(query) {
        return unknown;
    }
    let Ok(client) = client.transpose() else {
        return bad("`client` is an IP address");
    };
    let Ok(after) = after else {
        return bad("`after` is the id of a session");
    };
    let Some(limit) = limit.ok().filter(|limit| (1..=MOST_SESSIONS).contains(limit)) else {
        return bad(&format!("`limit` is a number from 1 to {MOST_SESSIONS}"));
    };
    let filter = Filter { route, client, after };
    let found = sessions.those(|session| filter.fits(session));
    let listed: Vec<Value> = found.iter().take(limit).map(session).collect();
    Answer::json(
        StatusCode::OK,
        &json!({ "found": found.len(), "sessions": listed }),
    )
}

fn session(session: &Arc<Session>) -> Value {
    let state = session.live.state();
    json!({
        "id": session.id,
        "peer": session.peer.to_string(),
        "client": Shown(session.client()).to_string(),
        "route": session.route.name,
        "target": session.target.to_string(),
        "backend": session.backend.map(|address| address.to_string()),
        "subprotocol": session.subprotocol,
        "age_seconds": session.start.elapsed().as_secs_f64(),
        "moved": moved(&state.counters),
        "held_bytes": state.held,
        "client_blocked": state.client_blocked,
        "backend_blocked": state.backend_blocked,
        "ending": state.ending,
    })
}

fn moved(counters: &Counters) -> Value {
    json!({
        "messages_up": counters.messages_up,
        "bytes_up": counters.bytes_up,
        "messages_down": counters.messages_down,
        "bytes_down": counters.bytes_down,
        "lost_up": counters.lost_up,
        "lost_down": counters.lost_down,
        "edges": met(counters.edges().named().into_iter()),
    })
}

/// What has happened at all.
fn met(counts: impl Iterator<Item = (&'static str, u64)>) -> Map<String, Value> {
    let met = counts.filter(|(_, count)| *count > 0);
    met.map(|(name, count)| (name.to_owned(), count.into())).collect()
}

pub(super) fn time(time: SystemTime) -> Option<String> {
    let time = Timestamp::try_from(time).ok()?;
    Some(time.round(jiff::Unit::Second).ok()?.to_string())
}
