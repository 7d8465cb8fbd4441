//! Loads, checks and swaps: on SIGHUP, on request, when a file has changed.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use super::files::Look;
use super::watch::{Prints, Step, Watch};
use super::{Ask, Cause, Outcome};
use crate::config::{self, Config};
use crate::files;
use crate::generation::{self, Next};
use crate::limits;
use crate::session::Service;
use crate::signals::{self, Hangups};
use crate::telemetry::LogLevel;

/// The longest time for reading all files. A file system that does not answer must not hold up more than a reload.
const DEADLINE: Duration = Duration::from_secs(20);
/// How soon a change is looked at again, to see whether it stands still.
const AGAIN: Duration = Duration::from_secs(1);

/// The file that the configuration in force came from, and what stood in it and in those that it names.
pub struct Source {
    path: PathBuf,
    look: Look,
    seen: Prints,
    /// What is no regular file, such as a pipe, is read once.
    once: bool,
}

impl Source {
    /// Looks at the file, before it is read for the first time.
    pub fn before(path: &Path) -> Self {
        let (path, look) = (path.to_owned(), Look::default());
        let seen = look.at([&*path]);
        let once = files::is_other(&path);
        Self {
            path,
            look,
            seen,
            once,
        }
    }

    /// Looks at the files that it names, before those are read.
    pub fn named(&mut self, config: &Config) {
        self.seen.extend(self.look.at(config.files()));
    }
}

/// Reloads whenever there is cause to. Ends with whoever awaits it.
pub async fn run(
    service: &Arc<Service>,
    source: Source,
    mut hangups: Hangups,
    level: &LogLevel,
) -> Infallible {
    let mut requests = service.reload.requests();
    if source.once {
        return stay(service, &source.path, hangups, requests).await;
    }
    let mut watch = Watch::default();
    watch.tried(source.seen);
    let mut driver = Driver {
        service,
        level,
        path: source.path.into(),
        look: source.look,
        watch,
        reading: Arc::default(),
    };
    let mut step = Step::Rest;
    loop {
        let interval = service.current.load().config.reload_interval;
        let pause = match (step, interval) {
            (_, None) => Duration::MAX,
            (Step::LookAgain, Some(interval)) => interval.min(AGAIN),
            (Step::Rest | Step::Reload, Some(interval)) => interval,
        };
        let (cause, ask) = tokio::select! {
            () = hangups.next() => (Cause::Signal, None),
            ask = next(&mut requests) => (Cause::Request, Some(ask)),
            () = tokio::time::sleep(pause) => (Cause::Change, None),
        };
        if cause == Cause::Change {
            step = driver.look().await;
            if step != Step::Reload {
                continue;
            }
        }
        let outcome = driver.reload(cause).await;
        step = Step::Rest;
        // Who asked may have left.
        drop(ask.map(|ask| ask.send(outcome)));
    }
}

/// Tells whoever asks that the configuration cannot be read again.
async fn stay(
    service: &Service,
    path: &Path,
    mut hangups: Hangups,
    mut requests: Option<mpsc::Receiver<Ask>>,
) -> Infallible {
    tracing::info!(
        file = %path.display(),
        "the configuration is not from a regular file: it is read once, and no file is watched"
    );
    loop {
        tokio::select! {
            () = hangups.next() => {
                signals::notify_reloading();
                tracing::error!("not reloaded: the configuration is not from a regular file, and was read once");
                signals::notify_ready(service.state().status());
            }
            // Who asked may have left.
            ask = next(&mut requests) => drop(ask.send(Outcome::ReadOnce)),
        }
    }
}

/// The next who asks, or never.
async fn next(requests: &mut Option<mpsc::Receiver<Ask>>) -> Ask {
    let asked = match requests {
        Some(requests) => requests.recv().await,
        None => None,
    };
    match asked {
        Some(ask) => ask,
        None => std::future::pending().await,
    }
}

struct Driver<'a> {
    service: &'a Arc<Service>,
    level: &'a LogLevel,
    path: Arc<Path>,
    look: Look,
    watch: Watch,
    /// Held by whoever reads. What hangs keeps it, so that never more than one thread hangs.
    reading: Arc<Mutex<()>>,
}

/// What an attempt found.
struct Read {
    /// What stood in the files before they were read.
    prints: Prints,
    /// The configuration and what is odd about it, or all that is wrong.
    made: Result<(Next, Vec<String>), String>,
}

impl Driver<'_> {
    /// Looks whether something has changed.
    async fn look(&mut self) -> Step {
        let (look, files) = (self.look.clone(), self.watch.files().cloned().collect::<Vec<_>>());
        let looking = beside_threads(&self.reading, move || look.at(files.iter().map(PathBuf::as_path)));
        match looking.await {
            Ok(now) => {
                if self.service.reload.record_look(None) {
                    tracing::info!("the files can be looked at again");
                }
                self.watch.look(now)
            }
            Err(problem) => {
                // No attempt has failed: nobody knows of anything that could be put in force.
                if self.service.reload.record_look(Some(problem.as_str().into())) {
                    tracing::error!("cannot look for changes\n{problem}");
                }
                Step::Rest
            }
        }
    }

    /// Reads everything anew, and puts it in force if it is good.
    async fn reload(&mut self, cause: Cause) -> Outcome {
        signals::notify_reloading();
        let (service, path, look) = (
            Arc::clone(self.service),
            Arc::clone(&self.path),
            self.look.clone(),
        );
        let read = beside_threads(&self.reading, move || read(&service, &path, &look)).await;
        let made = match read {
            Ok(Read { prints, made }) => {
                self.watch.tried(prints);
                made
            }
            Err(problem) => {
                self.watch.unread();
                Err(problem)
            }
        };
        let outcome = self.told(cause, made);
        signals::notify_ready(self.service.state().status());
        outcome
    }

    /// Puts a good configuration in force, and says how it went.
    fn told(&self, cause: Cause, made: Result<(Next, Vec<String>), String>) -> Outcome {
        let outcome = match made {
            Ok((next, warnings)) => {
                let waiting = next.put(self.service);
                let generation = self.service.current.load();
                self.level.follow(generation.config.log_level.as_deref());
                limits::raise_open_files(generation.config.limits.max_sessions);
                let (number, cause) = (generation.number, cause.name());
                tracing::info!(
                    generation = number,
                    cause,
                    "reloaded: this configuration is in force"
                );
                for warning in warnings {
                    tracing::warn!("{warning}");
                }
                for what in &waiting {
                    tracing::warn!(what, "waits for a restart");
                }
                Outcome::Done {
                    generation: number,
                    waiting,
                }
            }
            Err(problem) => {
                let cause = cause.name();
                tracing::error!(
                    cause,
                    "not reloaded: the configuration stays as it was\n{problem}"
                );
                Outcome::Refused(problem.into())
            }
        };
        self.service.reload.record(cause, &outcome);
        outcome
    }
}

/// Runs what reads files beside the runtime's threads, and waits for it, but not for ever.
async fn beside_threads<T: Send + 'static>(
    reading: &Arc<Mutex<()>>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let reading = Arc::clone(reading);
    let done = timeout(DEADLINE, async {
        let held = reading.lock_owned().await;
        tokio::task::spawn_blocking(move || {
            let _held = held;
            work()
        })
        .await
    });
    match done.await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(defect)) => Err(format!("error: the files cannot be read: {defect}\n")),
        Err(_) => Err(format!(
            "error: the files could not be read within {DEADLINE:?}\n"
        )),
    }
}

fn read(service: &Service, path: &Path, look: &Look) -> Read {
    let mut prints = look.at([path]);
    let loaded = match files::is_other(path) {
        // To open it could wait for ever.
        true => Err(format!("error: {}: this is no regular file\n", path.display())),
        false => config::load(path).map_err(|problems| problems.to_string()),
    };
    let made = match loaded {
        Ok(loaded) => {
            prints.extend(look.at(loaded.config.files()));
            make(service, loaded)
        }
        Err(problems) => {
            // Which files it means is not known.
            prints.extend(look.at(service.current.load().config.files()));
            Err(problems)
        }
    };
    Read { prints, made }
}

fn make(service: &Service, loaded: config::Loaded) -> Result<(Next, Vec<String>), String> {
    let checked = generation::check(&loaded.config);
    if !checked.problems.is_empty() {
        let lines = checked
            .problems
            .iter()
            .map(|problem| format!("error: {problem}\n"));
        return Err(lines.collect());
    }
    // As the start tells them.
    let odd = (!loaded.warnings.is_empty()).then(|| loaded.warnings.to_string());
    let warnings = odd.into_iter().chain(checked.warnings).collect();
    match Next::make(service, loaded.config) {
        Ok(next) => Ok((next, warnings)),
        Err(error) => Err(format!("error: {error}\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accept::Inherited;
    use crate::app::App;
    use crate::generation::Identities;
    use std::future::{Future, ready};

    /// Runs something beside the driver of a sealock whose file stands in this folder.
    async fn beside<F: Future<Output = ()>>(path: &Path, work: impl FnOnce(Arc<Service>) -> F) {
        let mut source = Source::before(path);
        let config = config::load(path).unwrap().config;
        source.named(&config);
        let app = App::start(config, Identities::Files, Inherited::default(), |_| None).unwrap();
        let service = Arc::clone(app.service());
        let (hangups, level) = (Hangups::new().unwrap(), LogLevel::unheard());
        tokio::select! {
            never = run(&service, source, hangups, &level) => match never {},
            () = work(Arc::clone(&service)) => {}
        }
        assert_eq!(
            service.reload.request().await,
            Outcome::Unavailable,
            "nobody is there any more"
        );
        app.shutdown(ready(())).await;
    }

    fn file(route: &str, log: &str) -> String {
        format!(
            "reload_interval = \"off\"\nlog_file = \"{log}\"\n\
             [[listener]]\nbind = \"127.0.0.1:0\"\nplaintext = \"loopback\"\n\
             [[route]]\nname = \"{route}\"\npath = \"/\"\nbackend = \"tcp://127.0.0.1:1\"\nframing = \"raw\"\n"
        )
    }

    #[tokio::test]
    async fn who_asks_is_told_how_it_went_and_the_state_shows_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sealock.toml");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        write(&file("a", "10.log"));
        beside(&path, async |service| {
            assert_eq!(service.reload.state().last, None);
            let waits = vec!["log_file is another".to_owned()];
            // It waits as long as it is another than the one that is in force, not once.
            for (text, generation, waiting) in [
                (file("b", "20.log"), 1, waits.clone()),
                (file("c", "20.log"), 2, waits),
                (file("d", "10.log"), 3, Vec::new()),
            ] {
                write(&text);
                let done = Outcome::Done {
                    generation,
                    waiting: waiting.clone(),
                };
                assert_eq!(service.reload.request().await, done);
                let state = service.reload.state();
                assert_eq!(
                    (service.current.load().number, &state.waiting),
                    (generation, &waiting)
                );
            }
            write("[[route]]\n");
            let Outcome::Refused(problem) = service.reload.request().await else {
                panic!("it was taken")
            };
            let checked = config::load(&path).unwrap_err().to_string();
            assert_eq!(*problem, *checked);
            let state = service.reload.state();
            assert_eq!((state.succeeded, state.failed), (3, 1));
            assert_eq!(service.current.load().number, 3);
            let last = state.last.clone().unwrap();
            assert_eq!((last.cause, last.problem), (Cause::Request, Some(problem)));
            assert_eq!(service.current.load().config.routes[0].name, "d");
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_hangs_is_no_failed_reload_and_is_over_with_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sealock.toml");
        std::fs::write(&path, file("a", "10.log")).unwrap();
        beside(&path, async |service| {
            let look = Look::default();
            let mut watch = Watch::default();
            watch.tried(look.at([&*path]));
            let mut driver = Driver {
                service: &service,
                level: &LogLevel::unheard(),
                path: path.as_path().into(),
                look,
                watch,
                reading: Arc::default(),
            };
            let hangs = Arc::clone(&driver.reading).lock_owned().await;
            assert_eq!(driver.look().await, Step::Rest);
            let state = service.reload.state();
            assert!(state.blind.as_ref().unwrap().contains("within 20s"), "{state:?}");
            assert_eq!((state.failed, &state.last), (0, &None));
            // Who asks meanwhile is told; that attempt has failed, and is made again when it can be.
            assert!(matches!(driver.reload(Cause::Signal).await, Outcome::Refused(_)));
            assert_eq!(service.reload.state().failed, 1);
            drop(hangs);
            assert_eq!(driver.look().await, Step::LookAgain);
            assert_eq!(service.reload.state().blind, None);
            assert_eq!(driver.look().await, Step::Reload);
            driver.reload(Cause::Change).await;
            assert_eq!(driver.look().await, Step::Rest);
            assert_eq!(service.reload.state().last.as_ref().unwrap().problem, None);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_hangs_is_given_up_and_holds_one_thread_only() {
        let reading = Arc::new(Mutex::new(()));
        let _hangs = Arc::clone(&reading).lock_owned().await;
        let problem = beside_threads(&reading, || ()).await.unwrap_err();
        assert!(problem.contains("within 20s"), "{problem}");
    }
}
