//! Logs: one span per connection, one record at its end. Beside them, what the process counts.
//!
//! A session idles for hours, and has at most two lines to log. So it keeps the number of its connection, and no span: that is made
//! anew around what is logged.

pub mod counts;
pub mod ends;
mod level;
mod log;
mod record;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use tokio::task::futures::TaskLocalFuture;
use tracing::instrument::{Instrument, Instrumented};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

pub use level::{LogLevel, check_level, level, set_level};
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
    match current() {
        Some(id) => span(id).in_scope(log),
        None => log(),
    }
}

/// The connection of the current session.
fn current() -> Option<u64> {
    CONNECTION.try_with(|id| *id).ok()
}

/// The queue of the process's log lines.
static QUEUE: LazyLock<Arc<Queue>> = LazyLock::new(Arc::default);

/// Sends log lines to a file, or to standard error. `level` is what the command line says: a level (`info`) or a list of `target=level`.
/// The lines are written as long as the log is kept that is returned.
pub fn init(
    format: LogFormat,
    level: Option<&str>,
    file: Option<&Path>,
) -> Result<(Log, LogLevel), InitError> {
    let (level, filter) = LogLevel::new(level).map_err(InitError::Level)?;
    let log = Log::start(&QUEUE, file).map_err(|error| match file {
        Some(file) => InitError::File(file.to_owned(), error),
        None => InitError::Other(error.to_string()),
    })?;
    let terminal = file.is_none() && std::io::stderr().is_terminal();
    let format = match format {
        LogFormat::Auto if terminal => LogFormat::Human,
        LogFormat::Auto => LogFormat::Json,
        chosen => chosen,
    };
    let lines = lines(format, terminal, Arc::clone(&QUEUE));
    let done = tracing_subscriber::registry().with(filter).with(lines).try_init();
    done.map_err(|error| InitError::Other(error.to_string()))?;
    level.publish();
    // A panic is a defect, and a record like any other; what panics ends alone.
    std::panic::set_hook(Box::new(|panic| {
        in_connection(|| tracing::error!(%panic, "a defect of sealock"));
    }));
    Ok((log, level))
}

/// What formats the lines.
fn lines<S>(format: LogFormat, color: bool, queue: Arc<Queue>) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    let lines = tracing_subscriber::fmt::layer()
        // A line that cannot be written is lost. To complain of it on the same stream would panic, and end the session that logs.
        .log_internal_errors(false)
        .with_writer(queue);
    match format {
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
        LogFormat::Auto | LogFormat::Human => lines.with_ansi(color).with_target(false).boxed(),
    }
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The level is none.
    #[error("log level: {0}")]
    Level(String),
    /// The file cannot be opened.
    #[error("cannot open the log file {0}: {1}")]
    File(PathBuf, std::io::Error),
    /// Something else.
    #[error("cannot start to log: {0}")]
    Other(String),
}

/// Log lines that were lost because they came faster than they could be written, or could not be.
pub fn lost_lines() -> u64 {
    QUEUE.lost()
}
