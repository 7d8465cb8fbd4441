//! The record of a connection's end.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use super::{counts, ends};
use crate::addr::Shown;
use crate::bridge::{Edges, Ended};
use crate::close::{CloseReason, Level};
use crate::escape::Printable;
use crate::websocket::CloseCode;

/// A connection that did not become a session.
#[derive(Debug)]
pub struct Refusal<'a> {
    /// Why.
    pub reason: CloseReason,
    /// It could be told so in the answer to its request.
    pub told: bool,
    /// The close code, where it was told over an open WebSocket.
    pub code: Option<CloseCode>,
    /// What it had sent there, and reached nobody.
    pub lost_up: u64,
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// Whom it speaks for: itself, unless it is a proxy that is trusted.
    pub client: SocketAddr,
    /// The route's name, where one was found.
    pub route: Option<&'a str>,
    /// What exactly; may quote the client, and is escaped.
    pub detail: &'a str,
    /// From accept to end.
    pub duration: Duration,
}

impl Refusal<'_> {
    /// The status that the client was told, if it was told one.
    pub(super) fn status(&self) -> Option<u16> {
        self.reason.row().status.filter(|_| self.told)
    }
}

/// A session.
pub struct SessionEnd<'a> {
    /// How it ended.
    pub ended: Ended,
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// Whom it speaks for: itself, unless it is a proxy that is trusted.
    pub client: SocketAddr,
    /// The route's name.
    pub route: &'a str,
    /// The backend's address.
    pub backend: &'a dyn Display,
    /// What exactly went wrong, where the cause does not say it all.
    pub detail: &'a str,
    /// The chosen subprotocol.
    pub subprotocol: Option<&'a str>,
    /// From the 101 to the end.
    pub duration: Duration,
}

/// The target of both records, for filters.
const TARGET: &str = "sealock::session";

/// Logs an event at a level that is only known at run time.
macro_rules! at_level {
    ($level:expr, $($fields:tt)*) => {
        match $level {
            Level::Debug => tracing::debug!(target: TARGET, $($fields)*),
            Level::Info => tracing::info!(target: TARGET, $($fields)*),
            Level::Warn => tracing::warn!(target: TARGET, $($fields)*),
            Level::Error => tracing::error!(target: TARGET, $($fields)*),
        }
    };
}

/// Writes the record of a connection that did not become a session, and counts it.
pub fn log_refusal(refusal: &Refusal<'_>) {
    let row = refusal.reason.row();
    counts::refused(row.label);
    ends::refused(refusal);
    at_level!(
        row.level,
        cause = row.label,
        state = row.state,
        status = refusal.status(),
        code = refusal.code.map(|code| code.0),
        route = refusal.route,
        peer = %refusal.peer,
        client = %Shown(refusal.client),
        detail = shown(refusal.detail),
        lost_up = met(refusal.lost_up),
        duration_ms = millis(refusal.duration),
        "refused: {}",
        row.text
    );
}

/// Writes the record of a session, and counts how long it was.
pub fn log_session(end: &SessionEnd<'_>) {
    let row = end.ended.reason.row();
    counts::route(end.route).session.observe(end.duration);
    ends::ended(end, super::current());
    let moved = &end.ended.counters;
    let Edges {
        embedded,
        oversized_up,
        oversized_down,
        empty_up,
        empty_down,
        partial_delivered,
        partial_dropped,
        invalid_replaced,
        invalid_binary,
        unmappable_replaced,
        unmappable_escaped,
        outside,
        throttled,
    } = moved.edges();
    super::in_connection(|| {
        at_level!(
            row.level,
            cause = row.label,
            state = row.state,
            code = end.ended.code.map(|code| code.0),
            route = end.route,
            peer = %end.peer,
            client = %Shown(end.client),
            backend = %end.backend,
            detail = shown(end.detail),
            subprotocol = end.subprotocol,
            messages_up = moved.messages_up,
            bytes_up = moved.bytes_up,
            messages_down = moved.messages_down,
            bytes_down = moved.bytes_down,
            lost_up = moved.lost_up,
            lost_down = moved.lost_down,
            embedded = met(embedded),
            oversized_up = met(oversized_up),
            oversized_down = met(oversized_down),
            empty_up = met(empty_up),
            empty_down = met(empty_down),
            partial_delivered = met(partial_delivered),
            partial_dropped = met(partial_dropped),
            invalid_replaced = met(invalid_replaced),
            invalid_binary = met(invalid_binary),
            unmappable_replaced = met(unmappable_replaced),
            unmappable_escaped = met(unmappable_escaped),
            outside = met(outside),
            throttled = met(throttled),
            held_max = end.ended.held_max,
            duration_ms = millis(end.duration),
            "session ended: {}",
            row.text
        )
    });
}

/// A detail, if there is one, made safe to print.
fn shown(detail: &str) -> Option<tracing::field::DisplayValue<Printable<'_>>> {
    (!detail.is_empty()).then(|| tracing::field::display(Printable(detail)))
}

/// A count, if there is anything to tell.
fn met(count: u64) -> Option<u64> {
    (count > 0).then_some(count)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::{Context, SubscriberExt};
    use tracing_subscriber::{Layer, Registry};

    use super::*;
    use crate::bridge::Counters;

    /// The names of the fields of whatever is logged, those included that have no value this time.
    #[derive(Clone, Default)]
    struct Fields(Arc<Mutex<BTreeSet<&'static str>>>);

    impl Layer<Registry> for Fields {
        fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, Registry>) {
            let fields = event.metadata().fields();
            self.0
                .lock()
                .unwrap()
                .extend(fields.iter().map(|field| field.name()));
        }
    }

    fn fields(log: impl FnOnce()) -> BTreeSet<String> {
        let fields = Fields::default();
        let subscriber = tracing_subscriber::registry().with(fields.clone());
        tracing::subscriber::with_default(subscriber, log);
        let names = std::mem::take(&mut *fields.0.lock().unwrap());
        // What every line has is the format's.
        let own = names.into_iter().filter(|name| *name != "message");
        own.map(str::to_owned).collect()
    }

    /// The fields that the page says a record has: those of the rows with a word in this column.
    fn on_the_page(column: usize) -> BTreeSet<String> {
        let page = include_str!("../../docs/OPERATIONS.md");
        let rows = page
            .lines()
            .skip_while(|line| !line.starts_with("| field |"))
            .skip(2)
            .take_while(|line| line.starts_with('|'));
        rows.filter_map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            (!cells[column].is_empty()).then(|| cells[1].trim_matches('`').to_owned())
        })
        .collect()
    }

    #[test]
    fn a_status_that_nobody_was_told_is_in_no_list() {
        let reason = CloseReason::OutOfDescriptors;
        for (port, told, status) in [(1, true, reason.row().status), (2, false, None)] {
            let client = SocketAddr::from(([192, 0, 2, 77], port));
            log_refusal(&Refusal {
                reason,
                told,
                code: None,
                lost_up: 0,
                peer: client,
                client,
                route: None,
                detail: "",
                duration: Duration::ZERO,
            });
            let kept = ends::refusals(0)
                .into_iter()
                .find(|(_, end)| end.client == client);
            assert_eq!(kept.unwrap().1.status, status);
        }
    }

    #[test]
    fn the_page_has_every_field_of_the_records() {
        let peer = "127.0.0.1:1".parse().unwrap();
        let refused = fields(|| {
            log_refusal(&Refusal {
                reason: CloseReason::Shutdown,
                told: false,
                code: None,
                lost_up: 0,
                peer,
                client: peer,
                route: None,
                detail: "",
                duration: Duration::ZERO,
            });
        });
        let ended = fields(|| {
            log_session(&SessionEnd {
                ended: Ended {
                    reason: CloseReason::Shutdown,
                    detail: None,
                    code: None,
                    counters: Counters::default(),
                    held_max: 0,
                },
                peer,
                client: peer,
                route: "a",
                backend: &peer,
                detail: "",
                subprotocol: None,
                duration: Duration::ZERO,
            });
        });
        for (column, fields) in [(2, ended), (3, refused)] {
            let differ: Vec<_> = fields
                .symmetric_difference(&on_the_page(column))
                .cloned()
                .collect();
            assert!(
                differ.is_empty(),
                "on the page or in the record, but not both: {differ:?}"
            );
        }
    }
}
