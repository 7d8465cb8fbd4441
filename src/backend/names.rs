//! Looks names up: each of them once at a time, and few at once.
//!
//! The system's resolver has no deadline of ours and takes a thread until it answers. A name whose servers are silent would soon have all
//! threads of the process, and with them every other name: so all that want the same name wait for one look-up.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};

/// Look-ups in the process at a time.
const MOST: usize = 32;

/// Those of the process.
static NAMES: LazyLock<Names> =
    LazyLock::new(|| Names::new(MOST, |host| Ok((host, 0).to_socket_addrs()?.collect())));

/// The addresses of a host; the port is anybody's.
pub(super) async fn look_up(host: &str, deadline: Instant) -> Result<Vec<SocketAddr>, Unresolved> {
    // An address needs no thread.
    if let Ok(ip) = host.parse() {
        return Ok(vec![SocketAddr::new(ip, 0)]);
    }
    NAMES.look_up(host, deadline).await
}

/// Why there are no addresses.
#[derive(Debug)]
pub(super) enum Unresolved {
    /// The resolver says so.
    Failed(io::Error),
    /// It had not answered at the deadline.
    Late,
    /// It had not even been asked: too many other names were being looked up.
    Crowded,
}

type Resolver = fn(&str) -> io::Result<Vec<SocketAddr>>;

struct Names {
    resolver: Resolver,
    threads: Semaphore,
    under_way: Mutex<HashMap<Arc<str>, watch::Receiver<Progress>>>,
}

#[derive(Clone, Debug)]
enum Progress {
    Waiting,
    Begun,
    Done(Result<Arc<[SocketAddr]>, Arc<io::Error>>),
}

/// A look-up. New ones of the name begin once it is dropped.
struct LookUp {
    names: &'static Names,
    host: Arc<str>,
    progress: watch::Sender<Progress>,
}

impl Names {
    fn new(most: usize, resolver: Resolver) -> Self {
        Self {
            resolver,
            threads: Semaphore::new(most),
            under_way: Mutex::default(),
        }
    }

    async fn look_up(&'static self, host: &str, deadline: Instant) -> Result<Vec<SocketAddr>, Unresolved> {
        loop {
            let mut progress = self.join(host);
            let done = progress.wait_for(|progress| matches!(progress, Progress::Done(_)));
            // It went down with the runtime that it had begun on: another one begins.
            if let Ok(Err(_)) = timeout_at(deadline, done).await {
                continue;
            }
            let state = progress.borrow().clone();
            return match state {
                Progress::Done(Ok(found)) => Ok(found.to_vec()),
                Progress::Done(Err(error)) => Err(Unresolved::Failed(copy(&error))),
                Progress::Begun => Err(Unresolved::Late),
                Progress::Waiting => Err(Unresolved::Crowded),
            };
        }
    }

    /// The look-up of this name that is under way, or a new one. It goes on when all have left who wanted it: nothing can stop it.
    fn join(&'static self, host: &str) -> watch::Receiver<Progress> {
        let mut under_way = self.lock();
        if let Some(progress) = under_way.get(host) {
            return progress.clone();
        }
        let host: Arc<str> = host.into();
        let (sender, receiver) = watch::channel(Progress::Waiting);
        under_way.insert(Arc::clone(&host), receiver.clone());
        let look_up = LookUp {
            names: self,
            host,
            progress: sender,
        };
        tokio::spawn(look_up.run());
        receiver
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, watch::Receiver<Progress>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LookUp {
    async fn run(self) {
        let names = self.names;
        let Ok(thread) = names.threads.acquire().await else {
            return;
        };
        self.progress.send_replace(Progress::Begun);
        let host = Arc::clone(&self.host);
        let found = tokio::task::spawn_blocking(move || {
            // With the thread, whatever becomes of those who wait.
            let _thread = thread;
            (names.resolver)(&host)
        });
        let found = found.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        let progress = self.progress.clone();
        // Who comes from now on asks anew.
        drop(self);
        progress.send_replace(Progress::Done(found.map(Arc::from).map_err(Arc::new)));
    }
}

impl Drop for LookUp {
    fn drop(&mut self) {
        self.names.lock().remove(&self.host);
    }
}

/// The same error for one more.
fn copy(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join_all;
    use std::sync::Condvar;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    static ASKED: AtomicUsize = AtomicUsize::new(0);
    /// Whether the servers of dead names are.
    static SILENT: (Mutex<bool>, Condvar) = (Mutex::new(true), Condvar::new());

    /// Dead names have no answer for a while, bad ones no address.
    fn resolve(host: &str) -> io::Result<Vec<SocketAddr>> {
        if host.starts_with("bad") {
            return Err(io::Error::from_raw_os_error(24));
        }
        if host.starts_with("dead") {
            ASKED.fetch_add(1, Ordering::SeqCst);
            let (silent, changed) = &SILENT;
            drop(changed.wait_while(silent.lock().unwrap(), |silent| *silent));
        }
        Ok(vec!["192.0.2.1:0".parse().unwrap()])
    }

    fn names(most: usize) -> &'static Names {
        Box::leak(Box::new(Names::new(most, resolve)))
    }

    #[tokio::test]
    async fn a_name_without_an_answer_takes_one_thread_and_nobody_elses() {
        let names = names(2);
        let far = Instant::now() + Duration::from_secs(30);
        let soon = || Instant::now() + Duration::from_millis(50);
        let crowd = join_all((0..100).map(|_| names.look_up("dead", soon())));
        let alive = async {
            for _ in 0..10 {
                assert_eq!(names.look_up("alive", far).await.unwrap().len(), 1);
            }
        };
        let (crowd, ()) = tokio::join!(crowd, alive);
        assert!(
            crowd.iter().all(|one| matches!(one, Err(Unresolved::Late))),
            "{crowd:?}"
        );
        assert_eq!(ASKED.load(Ordering::SeqCst), 1);

        // With no thread left it is not the name's fault.
        assert!(matches!(
            names.look_up("dead too", soon()).await,
            Err(Unresolved::Late)
        ));
        assert!(matches!(
            names.look_up("alive", soon()).await,
            Err(Unresolved::Crowded)
        ));
        *SILENT.0.lock().unwrap() = false;
        SILENT.1.notify_all();
        assert!(names.look_up("alive", far).await.is_ok());
        assert!(names.look_up("dead", far).await.is_ok());
        assert!(names.lock().is_empty());
    }

    #[tokio::test]
    async fn who_waits_together_hears_the_same() {
        let names = names(1);
        let far = Instant::now() + Duration::from_secs(30);
        for answer in join_all((0..3).map(|_| names.look_up("bad", far))).await {
            assert!(matches!(answer, Err(Unresolved::Failed(error)) if error.raw_os_error() == Some(24)));
        }
    }
}
