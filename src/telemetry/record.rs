//! The record of a connection's end.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use super::{counts, ends};
use crate::addr::Shown;
use crate::bridge::{Edges, Ended};
use crate::close::{CloseReason, Level};
use crate::escape::Printable;

/// A connection that did not become a session.
#[derive(Debug)]
pub struct Refusal<'a> {
    /// Why.
    pub reason: CloseReason,
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
    /// The backend's address, where it was reached.
    pub backend: Option<&'a dyn Display>,
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
        status = row.status,
        route = refusal.route,
        peer = %refusal.peer,
        client = %Shown(refusal.client),
        detail = shown(refusal.detail),
        duration_ms = millis(refusal.duration),
        "refused: {}",
        row.text
    );
}

/// Writes the record of a session, and counts how long it was. One without a backend was a refusal.
pub fn log_session(end: &SessionEnd<'_>) {
    let row = end.ended.reason.row();
    match end.backend {
        Some(_) => counts::route(end.route).session.observe(end.duration),
        None => counts::refused(row.label),
    }
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
            backend = end.backend.map(tracing::field::display),
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

/// The count of an edge, if the session has met it.
fn met(count: u64) -> Option<u64> {
    (count > 0).then_some(count)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
