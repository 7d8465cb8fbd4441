//! Logs: one span per connection, one record at its end.
//!
//! A session idles for hours, and has at most two lines to log. So it keeps the number of its connection, and no span: that is made
//! anew around what is logged.

mod log;
mod record;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, OnceLock};

use tokio::task::futures::TaskLocalFuture;
use tracing::instrument::{Instrument, Instrumented};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

pub use log::Log;
use log::Queue;
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
    match CONNECTION.try_with(|id| *id) {
        Ok(id) => span(id).in_scope(log),
        Err(_) => log(),
    }
}

/// The queue of the process's log lines, and its filter.
static QUEUE: LazyLock<Arc<Queue>> = LazyLock::new(Arc::default);
static FILTER: OnceLock<Filter> = OnceLock::new();

/// Sends log lines to a file, or to standard error. `filter` is a level (`info`) or a list of `target=level`. The lines are written as
/// long as what is returned is kept.
pub fn init(format: LogFormat, filter: &str, file: Option<&Path>) -> Result<Log, InitError> {
    let filter = parse(filter).map_err(InitError::Level)?;
    let log = Log::start(&QUEUE, file).map_err(|error| match file {
        Some(file) => InitError::File(file.to_owned(), error),
        None => InitError::Other(error.to_string()),
    })?;
    let terminal = file.is_none() && std::io::stderr().is_terminal();
    let json = format == LogFormat::Json || (format == LogFormat::Auto && !terminal);
    let (subscriber, handle) = subscriber(filter, (json, terminal), Arc::clone(&QUEUE));
    let done = subscriber.try_init();
    done.map_err(|error| InitError::Other(error.to_string()))?;
    drop(FILTER.set(handle));
    // A panic is a defect, and a record like any other; what panics ends alone.
    std::panic::set_hook(Box::new(|panic| {
        in_connection(|| tracing::error!(%panic, "a defect of sealock"));
    }));
    Ok(log)
}

type Filter = reload::Handle<EnvFilter, Registry>;

/// What formats the lines, and the handle on what it lets through.
fn subscriber(
    filter: EnvFilter,
    (json, color): (bool, bool),
    queue: Arc<Queue>,
) -> (impl tracing::Subscriber + Send + Sync, Filter) {
    let (filter, handle) = reload::Layer::new(filter);
    let lines = tracing_subscriber::fmt::layer()
        // A line that cannot be written is lost. To complain of it on the same stream would panic, and end the session that logs.
        .log_internal_errors(false)
        .with_writer(queue);
    let lines = if json {
        lines.json().flatten_event(true).with_span_list(false).boxed()
    } else {
        lines.with_ansi(color).with_target(false).boxed()
    };
    (tracing_subscriber::registry().with(filter).with(lines), handle)
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The level is none.
    #[error("{0}")]
    Level(String),
    /// The file cannot be opened.
    #[error("cannot open the log file {0}: {1}")]
    File(PathBuf, std::io::Error),
    /// Something else.
    #[error("cannot start to log: {0}")]
    Other(String),
}

/// Changes what is logged from now on: a level, or a list of `target=level`, as at the start.
pub fn set_level(filter: &str) -> Result<(), String> {
    change(FILTER.get().ok_or("nothing is logged by this process")?, filter)
}

fn change(handle: &Filter, filter: &str) -> Result<(), String> {
    handle.reload(parse(filter)?).map_err(|error| error.to_string())
}

/// Log lines that were lost because they came faster than they could be written.
pub fn lost_lines() -> u64 {
    QUEUE.lost()
}

fn parse(filter: &str) -> Result<EnvFilter, String> {
    let parsed = EnvFilter::try_new(filter).map_err(|error| format!("log level {filter:?}: {error}"))?;
    Ok(pinned(parsed))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_changes_at_run_time() {
        let queue = Arc::<Queue>::default();
        let (subscriber, handle) = subscriber(parse("warn").unwrap(), (true, false), Arc::clone(&queue));
        tracing::subscriber::with_default(subscriber, || {
            let logged = || {
                tracing::debug!(target: "sealock::session", "of a session");
                tracing::debug!(target: "sealock::other", "of another");
                tracing::trace!(target: "tungstenite", "payload");
                queue.take().lines().count()
            };
            for (level, lines) in [
                (None, 0),
                (Some("debug"), 2),
                (Some("info,sealock::session=debug"), 1),
                (Some("trace"), 2),
                (Some("info"), 0),
            ] {
                if let Some(level) = level {
                    change(&handle, level).unwrap();
                }
                assert_eq!(logged(), lines, "{level:?}");
            }
            change(&handle, "debug").unwrap();
            let error = change(&handle, "sealock=loud").unwrap_err();
            assert!(error.contains("sealock=loud"), "{error}");
            assert_eq!(logged(), 2, "what cannot be read changes nothing");
        });
    }
}
