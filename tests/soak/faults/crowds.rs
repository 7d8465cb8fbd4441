//! Clients that are too many together.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::{Door, End, Step, Visit};
use crate::stage::Stage;
use crate::support::Request;
use crate::wire::{Told, next_client};

/// What there is.
pub const NAMES: [&str; KINDS] = [
    "a crowd of one client",
    "a crowd on a route",
    "a crowd at a target",
];
pub const KINDS: usize = 3;

const STAYED: End = ("client_closed", Told::Close(1000));
const OF_CLIENT: &[End] = &[STAYED, ("too_many_of_client", Told::Status(429))];
const ON_ROUTE: &[End] = &[STAYED, ("too_many_on_route", Told::Status(503))];
const AT_TARGET: &[End] = &[
    STAYED,
    ("backend_full", Told::Status(503)),
    ("queue_timeout", Told::Status(503)),
];

/// Comes as a crowd: so many clients, of which at most so many may stay.
pub async fn one(stage: &Stage, which: usize) {
    let (path, expected, clients, most) = match which {
        0 => ("/wrong-lines", OF_CLIENT, 10, 8),
        1 => ("/limited", ON_ROUTE, 6, 4),
        _ => ("/full", AT_TARGET, 6, 4),
    };
    let kind = NAMES[which];
    let (begin, one_address) = (Instant::now(), next_client());
    let mut crowd = JoinSet::new();
    for _ in 0..clients {
        let from = if which == 0 { one_address } else { next_client() };
        let visit = Visit::begin(stage, from, Door::Plain, false, false).await;
        let mut visit = match visit {
            Ok(visit) => visit,
            Err(error) => return stage.books.complain(format!("{kind}: cannot connect: {error}")),
        };
        (visit.view.kind, visit.view.expected) = (kind, expected);
        crowd.spawn(async move {
            let status = visit.connection.request(&Request::get(path)).await;
            if let Ok((status @ 102.., _)) = status {
                visit.view.told = Told::Status(status);
            }
            (visit, matches!(status, Ok((101, _))))
        });
    }
    let mut visits = crowd.join_all().await;
    let stayed = visits.iter().filter(|(_, stays)| *stays).count();
    // Where places pass from one to the next, those who wait may come in one after another.
    if stayed > most && which != 2 && stage.books.calm_since(begin) {
        stage.books.complain(format!(
            "{kind}: {stayed} stayed of {clients}, since {:?}",
            begin.elapsed()
        ));
    }
    sleep(Duration::from_millis(200)).await;
    for (visit, stays) in &mut visits {
        if *stays {
            // It may have been told to go.
            drop(visit.step(Step::Close).await);
            visit.read_to_end().await;
        }
    }
    for (visit, _) in visits {
        visit.end(stage);
    }
}
