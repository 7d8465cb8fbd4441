//! What is logged, which can be changed while sealock runs.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tracing_subscriber::{EnvFilter, Registry, reload};

/// What is logged where nobody says.
const USUAL: &str = "info";

/// The filter of the process's log.
static FILTER: OnceLock<Arc<Filter>> = OnceLock::new();

/// What is let through, and what it was made of.
struct Filter {
    layer: reload::Handle<EnvFilter, Registry>,
    level: Mutex<String>,
}

/// What is logged: what the command line says, or the configuration in force, until somebody changes it.
pub struct LogLevel {
    /// What the file says. None: the command line has said it; the file does not count.
    file: Option<Mutex<String>>,
    filter: Arc<Filter>,
}

impl LogLevel {
    /// Reads what the command line says: a level (`info`) or a list of `target=level`.
    pub(super) fn new(level: Option<&str>) -> Result<(Self, reload::Layer<EnvFilter, Registry>), String> {
        let file = level.is_none().then(|| Mutex::new(USUAL.to_owned()));
        let level = level.unwrap_or(USUAL);
        let (layer, filter) = Filter::new(parse(level)?, level);
        Ok((Self { file, filter }, layer))
    }

    /// Makes it the one that [`set_level`] changes.
    pub(super) fn publish(&self) {
        drop(FILTER.set(Arc::clone(&self.filter)));
    }

    /// The level of a log that nobody reads.
    #[cfg(test)]
    pub(crate) fn unheard() -> Self {
        let (_, filter) = Filter::new(EnvFilter::default(), USUAL);
        Self { file: None, filter }
    }

    /// Logs what the file says, or what is usual, unless the command line has said it. A file that says what it said before changes
    /// nothing: a certificate that is renewed must not end what an operator has asked for.
    pub fn follow(&self, level: Option<&str>) {
        let Some(file) = &self.file else {
            return;
        };
        let (mut said, level) = (lock(file), level.unwrap_or(USUAL));
        if *said == level {
            return;
        }
        match self.filter.change(level) {
            Ok(()) => level.clone_into(&mut said),
            Err(error) => tracing::error!(%error, "the log level stays as it is"),
        }
    }
}

impl Filter {
    fn new(parsed: EnvFilter, level: &str) -> (reload::Layer<EnvFilter, Registry>, Arc<Self>) {
        let (made, layer) = reload::Layer::new(parsed);
        let level = Mutex::new(level.to_owned());
        (made, Arc::new(Self { layer, level }))
    }

    fn change(&self, level: &str) -> Result<(), String> {
        let parsed = parse(level)?;
        // Kept until both are changed: what is told is what is let through.
        let mut told = lock(&self.level);
        self.layer.reload(parsed).map_err(|error| error.to_string())?;
        level.clone_into(&mut told);
        Ok(())
    }
}

fn lock(text: &Mutex<String>) -> MutexGuard<'_, String> {
    text.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Changes what is logged from now on, until the file says something else than before: a level, or a list of `target=level`.
pub fn set_level(level: &str) -> Result<(), String> {
    FILTER
        .get()
        .ok_or("nothing is logged by this process")?
        .change(level)
}

/// What is logged. None where the process has no log.
pub fn level() -> Option<String> {
    FILTER.get().map(|filter| lock(&filter.level).clone())
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
                    level.filter.change(filter).unwrap();
                }
                assert_eq!(logged(), count, "{filter:?}");
            }
            level.filter.change("debug").unwrap();
            for bad in ["sealock=loud", "debgu", "[", ""] {
                assert!(level.filter.change(bad).is_err(), "{bad}");
                assert_eq!(*lock(&level.filter.level), "debug");
                assert_eq!(logged(), 2, "what cannot be read changes nothing");
            }
            level.follow(Some("info"));
            assert_eq!(logged(), 2, "the command line stands over the file");
            let free = LogLevel {
                file: Some(Mutex::new(USUAL.to_owned())),
                filter: Arc::clone(&level.filter),
            };
            free.follow(None);
            assert_eq!(logged(), 2, "the file says what it said before");
            free.follow(Some("sealock::other=debug"));
            assert_eq!(logged(), 1);
            level.filter.change("warn").unwrap();
            free.follow(Some("sealock::other=debug"));
            assert_eq!((logged(), lock(&level.filter.level).as_str()), (0, "warn"));
            free.follow(Some("debug"));
            assert_eq!(logged(), 2);
            free.follow(None);
            assert_eq!((logged(), lock(&level.filter.level).as_str()), (0, USUAL));
        });
    }
}
