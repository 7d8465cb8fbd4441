//! What an operator may change.

use hyper::StatusCode;
use serde_json::json;

use super::Reload;
use super::serve::Answer;
use crate::bridge::Stop;
use crate::drain::NoSuchRoute;
use crate::session::Service;
use crate::sessions::Sessions;

/// Ends a session, wherever it is: an operator who does that may have to do with one that no longer comes to a good moment.
pub(super) fn close(sessions: &Sessions, id: &str) -> Answer {
    match id.parse().ok().and_then(|id| sessions.get(id)) {
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
        service
            .undrain(route)
            .map(|()| json!({ "draining": false, "route": route }))
    };
    match done {
        Ok(done) => Answer::json(StatusCode::ACCEPTED, &done),
        Err(NoSuchRoute) => Answer::error(StatusCode::NOT_FOUND, "there is no such route"),
    }
}

/// Reads the configuration again.
pub(super) async fn reload(reload: Option<&Reload>) -> Answer {
    let Some(reload) = reload else {
        return Answer::error(StatusCode::NOT_FOUND, "there is no file to read again");
    };
    // A task of its own: whoever asks may leave, and nothing stays half done.
    match tokio::spawn(reload()).await {
        Ok(Ok(said)) => Answer::json(StatusCode::OK, &json!({ "reloaded": true, "message": said })),
        Ok(Err(problem)) => Answer::error(StatusCode::UNPROCESSABLE_ENTITY, &problem),
        Err(_) => Answer::error(StatusCode::INTERNAL_SERVER_ERROR, "internal error"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reload_says_how_it_went() {
        for (outcome, status, body) in [
            (Ok("good"), 200, json!({ "reloaded": true, "message": "good" })),
            (Err("bad"), 422, json!({ "error": "bad" })),
        ] {
            let outcome = outcome.map(str::to_owned).map_err(str::to_owned);
            let handle: Reload = Box::new(move || Box::pin(std::future::ready(outcome.clone())));
            let answer = reload(Some(&handle)).await;
            assert_eq!(answer.status.as_u16(), status);
            assert_eq!(answer.body, format!("{body}\n"));
        }
        assert_eq!(reload(None).await.status.as_u16(), 404);
    }
}
