//! What an operator may change.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::StatusCode;
use serde_json::json;
use tokio::time::timeout;

use super::serve::{Answer, PATIENCE};
use super::{Admin, api};
use crate::bridge::Stop;
use crate::drain::{NoSuchRoute, State};
use crate::reload::Outcome;
use crate::session::Service;
use crate::telemetry;

/// Ends a session, wherever it is: an operator who does that may have to do with one that no longer comes to a good moment.
/// `started`: of the process that the session was seen in, since the next one gives its id to another.
pub(super) fn close(admin: &Admin, id: &str, started: Option<&str>) -> Answer {
    if started.is_some() && started != api::time(admin.started).as_deref() {
        let text = "sealock was restarted: this id is not that of the same session any more";
        return Answer::error(StatusCode::CONFLICT, text);
    }
    match id.parse().ok().and_then(|id| admin.service.sessions.get(id)) {
        Some(session) => {
            session.live.end(Stop::Operator);
            Answer::json(StatusCode::ACCEPTED, &json!({ "closing": session.id }))
        }
        None => Answer::error(StatusCode::NOT_FOUND, "there is no such session"),
    }
}

/// Takes a route, or everything, out of service or back.
pub(super) fn drain(service: &Service, route: Option<&str>, drain: bool) -> Answer {
    let done = if drain {
        service
            .drain(route)
            .map(|running| json!({ "draining": true, "route": route, "sessions": running }))
    } else {
        service.undrain(route).map(|()| match service.state() {
            State::Draining if route.is_some() => json!({
                "draining": true,
                "route": route,
                "note": "the whole process is drained: POST /-/undrain without a route",
            }),
            _ => json!({ "draining": false, "route": route }),
        })
    };
    match done {
        Ok(done) => Answer::json(StatusCode::ACCEPTED, &done),
        Err(NoSuchRoute) => Answer::error(StatusCode::NOT_FOUND, "there is no such route"),
    }
}

/// Changes what is logged.
pub(super) fn log_level(level: Option<&str>, peer: SocketAddr) -> Answer {
    let Some(level) = level else {
        return Answer::error(
            StatusCode::BAD_REQUEST,
            "level is missing: ?level=info, or a list such as info,sealock::session=debug",
        );
    };
    let level = match telemetry::check_level(level) {
        Ok(level) => level,
        Err(problem) => return Answer::error(StatusCode::BAD_REQUEST, &format!("level: {problem}")),
    };
    let before = telemetry::level();
    let tell = || tracing::info!(%peer, log_level = level.as_str(), before = before.as_deref(), "admin: the log level is another");
    // Told by the old level, or else by the new one: a log that becomes quiet says why.
    let told = tracing::enabled!(tracing::Level::INFO);
    if told {
        tell();
    }
    if let Err(problem) = telemetry::set_level(&level) {
        return Answer::error(StatusCode::SERVICE_UNAVAILABLE, &problem);
    }
    if !told {
        tell();
    }
    Answer::json(StatusCode::OK, &json!({ "log_level": level }))
}

/// Reads the configuration again.
pub(super) async fn reload(service: &Arc<Service>) -> Answer {
    let service = Arc::clone(service);
    // A task of its own: whoever asks may leave, and what it asked for is done all the same.
    let asked = tokio::spawn(async move {
        let asked = service.closing.run_until_cancelled(service.reload.request());
        asked.await.unwrap_or(Outcome::Unavailable)
    });
    match timeout(PATIENCE, asked).await {
        Ok(outcome) => answer(outcome.unwrap_or(Outcome::Unavailable)),
        Err(_) => Answer::error(
            StatusCode::GATEWAY_TIMEOUT,
            "the files are still being read: `reloads` in /api/v1/status will tell how it went",
        ),
    }
}

fn answer(outcome: Outcome) -> Answer {
    match outcome {
        Outcome::Done { generation, waiting } => Answer::json(
            StatusCode::OK,
            &json!({ "generation": generation, "waits_for_restart": waiting }),
        ),
        Outcome::Refused(problem) => Answer::error(StatusCode::UNPROCESSABLE_ENTITY, &problem),
        Outcome::ReadOnce => Answer::error(
            StatusCode::SERVICE_UNAVAILABLE,
            "the configuration is not from a regular file, and was read once: start sealock again",
        ),
        Outcome::Unavailable => Answer::error(
            StatusCode::SERVICE_UNAVAILABLE,
            "there is no file to read again, or the process is about to end",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_says_how_it_went() {
        let done = Outcome::Done {
            generation: 3,
            waiting: vec!["log_file is another".to_owned()],
        };
        for (outcome, status, body) in [
            (
                done,
                200,
                json!({ "generation": 3, "waits_for_restart": ["log_file is another"] }),
            ),
            (Outcome::Refused("bad".into()), 422, json!({ "error": "bad" })),
        ] {
            let answer = answer(outcome);
            assert_eq!(answer.status.as_u16(), status);
            assert_eq!(answer.body, format!("{body}\n"));
        }
        for outcome in [Outcome::ReadOnce, Outcome::Unavailable] {
            assert_eq!(answer(outcome).status.as_u16(), 503);
        }
    }
}
