//! The last ends: what an operator looks at first when something is wrong.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::record::{Refusal, SessionEnd};
use crate::close::{CloseReason, Level};

/// How many are kept, of sessions and of refusals each: a flood of the one does not wash the others away.
pub const KEPT: usize = 200;

static SESSIONS: Recent = Recent::new();
static REFUSALS: Recent = Recent::new();

/// How a session ended, or why a connection did not become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// When.
    pub at: SystemTime,
    /// The number of its connection, where it was a session.
    pub id: Option<u64>,
    /// Whom it was for.
    pub client: SocketAddr,
    /// The route's name, where one was found.
    pub route: Option<Box<str>>,
    /// The backend's address, where it was reached.
    pub backend: Option<Box<str>>,
    /// The first cause.
    pub reason: CloseReason,
    /// The close code, where there was one.
    pub code: Option<u16>,
    /// The status of a refusal, where the client could be told one.
    pub status: Option<u16>,
    /// How long it was.
    pub lasted: Duration,
    /// Payload from the client.
    pub bytes_up: u64,
    /// Payload from the backend.
    pub bytes_down: u64,
}

/// The last ones, each with its place in the row of all that ever were.
struct Recent(Mutex<(u64, VecDeque<End>)>);

impl Recent {
    const fn new() -> Self {
        Self(Mutex::new((0, VecDeque::new())))
    }

    fn push(&self, end: End) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, ends) = &mut *all;
        *count += 1;
        let oldest = if ends.len() < KEPT { None } else { ends.pop_front() };
        ends.push_back(end);
        // Others need not wait until that is dropped.
        drop(all);
        drop(oldest);
    }

    fn after(&self, after: u64) -> Vec<(u64, End)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, ends) = &*all;
        let newest_first = (1..=*count).rev().zip(ends.iter().rev());
        newest_first
            .take_while(|(number, _)| *number > after)
            .map(|(number, end)| (number, end.clone()))
            .collect()
    }
}

/// Keeps the end of a session.
pub(super) fn ended(end: &SessionEnd<'_>, id: Option<u64>) {
    let moved = &end.ended.counters;
    SESSIONS.push(End {
        at: SystemTime::now(),
        id,
        client: end.client,
        route: Some(end.route.into()),
        backend: Some(end.backend.to_string().into()),
        reason: end.ended.reason,
        code: end.ended.code.map(|code| code.0),
        status: None,
        lasted: end.duration,
        bytes_up: moved.bytes_up,
        bytes_down: moved.bytes_down,
    });
}

/// Keeps a refusal, unless it is no more than the noise of the internet.
pub(super) fn refused(refusal: &Refusal<'_>) {
    if refusal.reason.row().level == Level::Debug {
        return;
    }
    REFUSALS.push(End {
        at: SystemTime::now(),
        id: None,
        client: refusal.client,
        route: refusal.route.map(Into::into),
        backend: None,
        reason: refusal.reason,
        code: refusal.code.map(|code| code.0),
        status: refusal.status(),
        lasted: refusal.duration,
        bytes_up: 0,
        bytes_down: 0,
    });
}

/// The last sessions that ended, the newest first, each with its number; those up to the `after`-th are left out.
pub fn sessions(after: u64) -> Vec<(u64, End)> {
    SESSIONS.after(after)
}

/// The same of connections that did not become sessions.
pub fn refusals(after: u64) -> Vec<(u64, End)> {
    REFUSALS.after(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_kept_the_newest_first() {
        let recent = Recent::new();
        let end = |port| End {
            at: SystemTime::UNIX_EPOCH,
            id: None,
            client: SocketAddr::from(([127, 0, 0, 1], port)),
            route: None,
            backend: None,
            reason: CloseReason::ClientClosed,
            code: None,
            status: None,
            lasted: Duration::ZERO,
            bytes_up: 0,
            bytes_down: 0,
        };
        let numbers = |after| -> Vec<u64> {
            let ends = recent.after(after);
            assert!(ends.iter().all(|(number, kept)| *kept == end(*number as u16)));
            ends.into_iter().map(|(number, _)| number).collect()
        };
        assert!(numbers(0).is_empty());
        let last = KEPT as u16 + 3;
        for port in 1..=last {
            recent.push(end(port));
        }
        let last = u64::from(last);
        assert_eq!(numbers(0), (4..=last).rev().collect::<Vec<_>>());
        assert_eq!(numbers(last - 2), [last, last - 1]);
        assert!(numbers(last).is_empty());
    }
}
