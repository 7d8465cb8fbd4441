//! What is logged, which can be changed while sealock runs.

use std::sync::OnceLock;

use tracing_subscriber::{EnvFilter, Registry, reload};

/// What is logged where nobody says.
const USUAL: &str = "info";

/// The filter of the process's log.
static FILTER: OnceLock<Filter> = OnceLock::new();

pub(super) type Filter = reload::Handle<EnvFilter, Registry>;

/// What is logged: what the command line says, or the configuration in force.
pub struct LogLevel {
    /// The command line has said it; the file does not count.
    fixed: bool,
    filter: Filter,
}

impl LogLevel {
    /// Reads what the command line says: a level (`info`) or a list of `target=level`.
    pub(super) fn new(level: Option<&str>) -> Result<(Self, reload::Layer<EnvFilter, Registry>), String> {
        let parsed = parse(level.unwrap_or(USUAL))?;
        let (layer, filter) = reload::Layer::new(parsed);
        let fixed = level.is_some();
        Ok((Self { fixed, filter }, layer))
    }

    /// Makes it the one that [`set_level`] changes.
    pub(super) fn publish(&self) {
        drop(FILTER.set(self.filter.clone()));
    }

    /// The level of a log that nobody reads.
    #[cfg(test)]
    pub(crate) fn unheard() -> Self {
        let (_, filter) = reload::Layer::new(EnvFilter::default());
        Self { fixed: true, filter }
    }

    /// Logs what the file says, or what is usual, unless the command line has said it.
    pub fn follow(&self, level: Option<&str>) {
        if self.fixed {
            return;
        }
        if let Err(error) = change(&self.filter, level.unwrap_or(USUAL)) {
            tracing::error!(%error, "the log level stays as it is");
        }
    }
}

/// Changes what is logged from now on, until a reload says otherwise: a level, or a list of `target=level`.
pub fn set_level(level: &str) -> Result<(), String> {
    change(FILTER.get().ok_or("nothing is logged by this process")?, level)
}

fn change(filter: &Filter, level: &str) -> Result<(), String> {
    filter.reload(parse(level)?).map_err(|error| error.to_string())
}

/// Says what is wrong with a level. A single word must be one: the filter would take a slip of the pen for the name of a target, and
/// log nothing else from then on.
pub fn check_level(level: &str) -> Result<(), String> {
    parse(level).map(drop)
}

fn parse(level: &str) -> Result<EnvFilter, String> {
    let words = level.split(',');
    for word in words.filter(|word| !word.contains(['=', '['])) {
        if !["off", "error", "warn", "info", "debug", "trace"].contains(&word) {
            return Err(format!("{word:?} is not one"));
        }
    }
    EnvFilter::try_new(level)
        .map(pinned)
        .map_err(|error| error.to_string())
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
    use crate::telemetry::{LogFormat, lines, log::Queue};
    use std::sync::Arc;
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn the_level_changes_at_run_time() {
        let queue = Arc::<Queue>::default();
        let (level, layer) = LogLevel::new(Some("warn")).unwrap();
        let lines = lines(LogFormat::Json, false, Arc::clone(&queue));
        let subscriber = tracing_subscriber::registry().with(layer).with(lines);
        tracing::subscriber::with_default(subscriber, || {
            let logged = || {
                tracing::debug!(target: "sealock::session", "of a session");
                tracing::debug!(target: "sealock::other", "of another");
                tracing::trace!(target: "tungstenite", "payload");
                queue.take().lines().count()
            };
            for (filter, count) in [
                (None, 0),
                (Some("debug"), 2),
                (Some("info,sealock::session=debug"), 1),
                (Some("trace"), 2),
                (Some("info"), 0),
            ] {
                if let Some(filter) = filter {
                    change(&level.filter, filter).unwrap();
                }
                assert_eq!(logged(), count, "{filter:?}");
            }
            change(&level.filter, "debug").unwrap();
            for bad in ["sealock=loud", "debgu", "[", ""] {
                assert!(change(&level.filter, bad).is_err(), "{bad}");
                assert_eq!(logged(), 2, "what cannot be read changes nothing");
            }
            level.follow(Some("info"));
            assert_eq!(logged(), 2, "the command line stands over the file");
            let free = LogLevel {
                fixed: false,
                filter: level.filter.clone(),
            };
            free.follow(Some("sealock::other=debug"));
            assert_eq!(logged(), 1);
            free.follow(None);
            assert_eq!(logged(), 0);
        });
    }
}
