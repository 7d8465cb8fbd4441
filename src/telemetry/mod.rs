//! Logs: one span per connection, one record at its end.

mod record;

use std::io::IsTerminal;

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
    std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "a defect of sealock")));
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
