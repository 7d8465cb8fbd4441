//! Logs: one span per connection, one record at its end.
//!
//! A session idles for hours, and has at most two lines to log. So it keeps the number of its connection, and no span: that is made
//! anew around what is logged.

mod record;

use std::io::IsTerminal;

use tokio::task::futures::TaskLocalFuture;
use tracing::instrument::{Instrument, Instrumented};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

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

/// What is logged where nobody says.
const DEFAULT_LEVEL: &str = "info";

/// What is logged, which can be changed.
pub struct LogLevel {
    /// The command line has said it; the file does not count.
    fixed: bool,
    handle: reload::Handle<EnvFilter, Registry>,
}

impl LogLevel {
    /// The level of a log that nobody reads.
    #[cfg(test)]
    pub(crate) fn unheard() -> Self {
        let (_, handle) = reload::Layer::new(EnvFilter::default());
        Self { fixed: true, handle }
    }

    /// Logs what the file says, or what is usual, unless the command line has said it.
    pub fn follow(&self, level: Option<&str>) {
        if self.fixed {
            return;
        }
        let filter = EnvFilter::builder().parse_lossy(level.unwrap_or(DEFAULT_LEVEL));
        if let Err(error) = self.handle.reload(pinned(filter)) {
            tracing::error!(%error, "the log level stays as it is");
        }
    }
}

/// Says what is wrong with a level. A single word must be one: the filter would take a slip of the pen for the name of a target, and
/// log nothing else from then on.
pub fn check_level(level: &str) -> Result<(), String> {
    let words = level.split(',');
    for word in words.filter(|word| !word.contains(['=', '['])) {
        if !["off", "error", "warn", "info", "debug", "trace"].contains(&word) {
            return Err(format!("{word:?} is not one"));
        }
    }
    EnvFilter::try_new(level)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Sends log lines to standard error. `level` is what the command line says: a level (`info`) or a list of `target=level`.
pub fn init(format: LogFormat, level: Option<&str>) -> Result<LogLevel, String> {
    let filter = level.unwrap_or(DEFAULT_LEVEL);
    let parsed = EnvFilter::try_new(filter).map_err(|error| format!("log level {filter:?}: {error}"))?;
    let (filter, handle) = reload::Layer::new(pinned(parsed));
    let terminal = std::io::stderr().is_terminal();
    let lines = fmt::layer()
        // A line that cannot be written is lost. To complain of it on the same stream would panic, and end the session that logs.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    let done = if format == LogFormat::Json || (format == LogFormat::Auto && !terminal) {
        let lines = lines.json().flatten_event(true).with_span_list(false);
        tracing_subscriber::registry().with(filter).with(lines).try_init()
    } else {
        let lines = lines.with_ansi(terminal).with_target(false);
        tracing_subscriber::registry().with(filter).with(lines).try_init()
    };
    // A panic is a defect, and a record like any other; what panics ends alone.
    std::panic::set_hook(Box::new(|panic| {
        in_connection(|| tracing::error!(%panic, "a defect of sealock"));
    }));
    done.map_err(|error| error.to_string())?;
    Ok(LogLevel {
        fixed: level.is_some(),
        handle,
    })
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
