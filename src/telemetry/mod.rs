//! Logs: one span per connection, one record at its end. Beside them, what the process counts.
//!
//! A session idles for hours, and has at most two lines to log. So it keeps the number of its connection, and no span: that is made
//! anew around what is logged.

pub mod counts;
pub mod ends;
mod record;

use std::io::IsTerminal;

use tokio::task::futures::TaskLocalFuture;
use tracing::instrument::{Instrument, Instrumented};
use tracing_subscriber::EnvFilter;

pub use record::{Refusal, SessionEnd, log_refusal, log_session};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people on a terminal, JSON lines elsewhere.
    #[default]
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

tokio::task_local! {
    /// The connection of the session that is polled.
    static CONNECTION: u64;
}

fn span(id: u64) -> tracing::Span {
    tracing::info_span!("connection", id)
}

/// Opens a connection in its span.
pub fn connection<F: Future>(id: u64, opening: F) -> Instrumented<F> {
    opening.instrument(span(id))
}

/// Runs a session so that its record, and the report of a panic, have the span of its connection.
pub fn session<F: Future>(id: u64, session: F) -> TaskLocalFuture<u64, F> {
    CONNECTION.scope(id, session)
}

/// Logs in the span of the current session's connection. Outside of a session there is one already, or none is wanted.
fn in_connection(log: impl FnOnce()) {
    match current() {
        Some(id) => span(id).in_scope(log),
        None => log(),
    }
}

/// The connection of the current session.
fn current() -> Option<u64> {
    CONNECTION.try_with(|id| *id).ok()
}

/// Sends log lines to standard error. `filter` is a level (`info`) or a list of `target=level`.
pub fn init(format: LogFormat, filter: &str) -> Result<(), String> {
    let parsed = EnvFilter::try_new(filter).map_err(|error| format!("log level {filter:?}: {error}"))?;
    let filter = pinned(parsed);
    let terminal = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // A line that cannot be written is lost. To complain of it on the same stream would panic, and end the session that logs.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    let done = if format == LogFormat::Json || (format == LogFormat::Auto && !terminal) {
        builder
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .try_init()
    } else {
        builder.with_ansi(terminal).with_target(false).try_init()
    };
    // A panic is a defect, and a record like any other; what panics ends alone.
    std::panic::set_hook(Box::new(|panic| {
        in_connection(|| tracing::error!(%panic, "a defect of sealock"));
    }));
    done.map_err(|error| error.to_string())
}

/// These print payloads at their lowest levels, which must not happen by asking for more of ours.
fn pinned(filter: EnvFilter) -> EnvFilter {
    [
        "tungstenite=off",
        "tokio_tungstenite=off",
        "rustls=warn",
        "hyper=warn",
    ]
    .iter()
    .filter_map(|directive| directive.parse().ok())
    .fold(filter, EnvFilter::add_directive)
}
