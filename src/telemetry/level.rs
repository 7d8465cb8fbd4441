//! What is logged, which can be changed while sealock runs.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::alike::closest;

/// What is logged where nobody says.
const USUAL: &str = "info";

/// The levels, by name.
const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];

/// What stands in front of every target.
const ROOT: &str = "sealock::";

/// The targets of what is logged.
const PARTS: &[&str] = &[
    "sealock::accept",
    "sealock::admin::change",
    "sealock::admin::serve",
    "sealock::app",
    "sealock::backend::dial",
    "sealock::backend::pool",
    "sealock::backend::search",
    "sealock::cli",
    "sealock::limits",
    "sealock::reload::run",
    "sealock::session",
    "sealock::signals",
    "sealock::telemetry",
    "sealock::telemetry::level",
    "sealock::telemetry::log",
];

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
        let (parsed, level) = parse(level)?;
        let (layer, filter) = Filter::new(parsed, level);
        Ok((Self { file, filter }, layer))
    }

    /// Makes it the one that [`set_level`] changes.
    pub(super) fn publish(&self) {
        drop(FILTER.set(Arc::clone(&self.filter)));
    }

    /// The level of a log that nobody reads.
    #[cfg(test)]
    pub(crate) fn unheard() -> Self {
        let (_, filter) = Filter::new(EnvFilter::default(), USUAL.to_owned());
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
    fn new(parsed: EnvFilter, level: String) -> (reload::Layer<EnvFilter, Registry>, Arc<Self>) {
        let (made, layer) = reload::Layer::new(parsed);
        let level = Mutex::new(level);
        (made, Arc::new(Self { layer, level }))
    }

    fn change(&self, level: &str) -> Result<(), String> {
        let (parsed, level) = parse(level)?;
        // Kept until both are changed: what is told is what is let through.
        let mut told = lock(&self.level);
        self.layer.reload(parsed).map_err(|error| error.to_string())?;
        *told = level;
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

/// The level as it is told, without the blanks around its words, or what is wrong with it. The filter would take much more: a slip of
/// the pen for the name of a target, which logs nothing else from then on, or a target that nothing has, which does nothing.
pub fn check_level(level: &str) -> Result<String, String> {
    parse(level).map(|(_, level)| level)
}

fn parse(level: &str) -> Result<(EnvFilter, String), String> {
    // Ends of lines are not for a word that is told and logged.
    let words: Vec<&str> = level.split(',').map(|word| word.trim_matches(' ')).collect();
    words.iter().try_for_each(|word| check(word))?;
    let level = words.join(",");
    let parsed = EnvFilter::try_new(&level).map_err(|error| error.to_string())?;
    Ok((pinned(parsed), level))
}

fn check(word: &str) -> Result<(), String> {
    let (part, level) = match word.split_once('=') {
        Some((part, level)) => (Some(part), level),
        None => (None, word),
    };
    if !LEVELS.contains(&level) {
        return Err(format!("{level:?} is not one: they are {}", LEVELS.join(", ")));
    }
    // The filter looks how a target begins.
    match part {
        Some(part) if part.is_empty() || !PARTS.iter().any(|known| known.starts_with(part)) => {
            Err(unknown(part))
        }
        _ => Ok(()),
    }
}

fn unknown(part: &str) -> String {
    let names = || PARTS.iter().map(|known| &known[ROOT.len()..]);
    let remedy = match closest(part.trim_start_matches(ROOT), names()) {
        Some(known) => format!("did you mean {ROOT}{known}?"),
        None => {
            let names: Vec<&str> = names().collect();
            format!("behind {ROOT} stands one of {}", names.join(", "))
        }
    };
    format!("no part of sealock that logs is called {part:?}: {remedy}")
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
    use std::path::Path;
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
                tracing::debug!(target: "sealock::backend::pool", "of another");
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
            for bad in ["sealock=loud", "debgu", "[", "", "sealock::sesion=debug"] {
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
            free.follow(Some("sealock::backend=debug"));
            assert_eq!(logged(), 1);
            level.filter.change("warn").unwrap();
            free.follow(Some("sealock::backend=debug"));
            assert_eq!((logged(), lock(&level.filter.level).as_str()), (0, "warn"));
            free.follow(Some("debug"));
            assert_eq!(logged(), 2);
            free.follow(None);
            assert_eq!((logged(), lock(&level.filter.level).as_str()), (0, USUAL));
        });
    }

    #[test]
    fn what_would_do_nothing_is_refused_with_what_was_meant() {
        for good in [
            "off",
            "info,sealock=debug",
            "warn, sealock::backend::pool=trace",
            "sealock::ba=off",
        ] {
            assert_eq!(check_level(good), Ok(good.replace(' ', "")), "{good}");
        }
        for (bad, says) in [
            ("sealock::sesion=debug", "did you mean sealock::session?"),
            ("info,session=debug", "did you mean sealock::session?"),
            (
                "sealock::backend::pol=debug",
                "did you mean sealock::backend::pool?",
            ),
            ("hyper=debug", "stands one of accept, admin::change, "),
            ("=debug", "stands one of accept, admin::change, "),
            ("sealock=5", "\"5\" is not one: they are off, "),
            ("sealock=", "\"\" is not one"),
            ("3", "\"3\" is not one"),
            ("INFO", "\"INFO\" is not one"),
            ("debug\n", "\"debug\\n\" is not one"),
            ("info,\tsealock=debug", "called \"\\tsealock\""),
            ("in fo", "\"in fo\" is not one"),
            ("info,[connection{id=1}]=debug", "is not one: they are "),
            ("sealock::session", "is not one"),
        ] {
            let problem = check_level(bad).unwrap_err();
            assert!(problem.contains(says), "{bad}: {problem}");
        }
    }

    /// The modules that log, under their own names.
    fn logging(folder: &Path, found: &mut Vec<String>) {
        let src = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"));
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                logging(&path, found);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
                let logs = LEVELS[1..].iter().any(|level| {
                    let call = format!("tracing::{level}!(");
                    text.split(&call).skip(1).any(|call| !call.starts_with("target:"))
                });
                if logs {
                    let name = path.strip_prefix(src).unwrap().with_extension("");
                    let name = name.to_str().unwrap().trim_end_matches("/mod");
                    found.push(format!("{ROOT}{}", name.replace('/', "::")));
                }
            }
        }
    }

    #[test]
    fn every_part_that_logs_is_known_and_told_in_the_page() {
        let mut found = Vec::new();
        logging(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut found);
        found.sort();
        assert_eq!(found, PARTS);
        let page = include_str!("../../docs/OPERATIONS.md");
        for part in PARTS {
            assert!(page.contains(&format!("`{}`", &part[ROOT.len()..])), "{part}");
        }
    }
}
