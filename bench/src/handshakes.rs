//! A steady stream of connections, made by a thread of its own, so that their cryptography does not delay what else is measured.

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{interval, sleep};

use crate::Result;
use crate::load::{Dialer, Load, open};

/// 500 a second.
const PACE: Duration = Duration::from_millis(2);
/// Connections that may be under way.
const AT_ONCE: usize = 64;
/// The thread gives way to the one that measures.
const NICE: i32 = 19;

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    done: AtomicU64,
    failure: Mutex<Option<String>>,
}

/// The running thread; it stops when this is dropped.
pub(crate) struct Handshakes {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Handshakes {
    /// Starts.
    pub(crate) fn start(dialer: Dialer, load: Load) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new().spawn(move || {
            if let Err(error) = rustix::process::setpriority_process(None, NICE) {
                eprintln!("note: the handshakes cannot give way to the echoes: {error}");
            }
            runtime.block_on(LocalSet::new().run_until(run(Rc::new(dialer), load, of_thread)));
        })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Stops; returns how many connections came to their end in order.
    pub(crate) async fn end(mut self) -> Result<u64> {
        let done = self.shared.done.load(Ordering::Relaxed);
        self.shared.stop.store(true, Ordering::Relaxed);
        while self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            sleep(PACE).await;
        }
        drop(self.thread.take());
        let failure = self
            .shared
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        failure.map_or(Ok(done), |error| Err(error.into()))
    }
}

impl Drop for Handshakes {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

async fn run(dialer: Rc<Dialer>, load: Load, shared: Arc<Shared>) {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut pace = interval(PACE);
    while !shared.stop.load(Ordering::Relaxed) {
        pace.tick().await;
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            continue;
        };
        let (dialer, shared) = (Rc::clone(&dialer), Arc::clone(&shared));
        spawn_local(async move {
            let whole = async { open(&dialer, &load, 0).await?.close().await };
            match whole.await {
                Ok(()) => {
                    shared.done.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    let mut failure = shared.failure.lock().unwrap_or_else(PoisonError::into_inner);
                    failure.get_or_insert_with(|| error.to_string());
                    shared.stop.store(true, Ordering::Relaxed);
                }
            }
            drop(permit);
        });
    }
}
