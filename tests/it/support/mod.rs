//! What the tests share: the program under test, a WebSocket client that can do wrong things, a browser, scripted backends, and real ones.

mod authority;
mod backend;
mod chromium;
mod client;
mod gate;
mod program;
mod scene;
mod service;
mod terminal;
mod typist;

pub use authority::Authority;
pub use backend::{Backend, flood, read, read_to_end, reset, write};
pub use chromium::{Chromium, Tab, empty_page};
pub use client::{
    BINARY, CLOSE, CONTINUATION, Client, Frame, PING, PONG, Refusal, Request, Stream, TEXT, answer, frame,
};
pub use gate::Gate;
pub use program::{
    Output, Program, certificate, connect, connect_from, sealock, tls_connect, tls_connect_over,
};
pub use scene::Scene;
pub use service::{Service, free_address, missing, nobody, nobody_at, program, pypi, script};
pub use terminal::Terminal;
pub use typist::Typist;

use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;

/// No test waits longer than this for anything: a failure must say where, not hang.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for something that must happen.
pub async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, event).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PATIENCE:?} for {what}"),
    }
}

/// The steps of an attempt, and the longest pause between two of them.
#[derive(Default)]
pub struct Pace {
    last: Cell<Option<Instant>>,
    longest: Cell<Duration>,
}

impl Pace {
    /// A step that must not be long after the last one.
    pub fn step(&self) {
        let last = self.last.replace(Some(Instant::now()));
        let pause = last.map_or(Duration::ZERO, |last| last.elapsed());
        self.longest.set(self.longest.get().max(pause));
    }

    /// What comes before the next step may take its time.
    pub fn rest(&self) {
        self.last.set(None);
    }
}

/// Makes an attempt that shows that a deadline does not come. If it fails, and some of its steps were half the deadline apart or more,
/// then that may have come by right, and the attempt is made again, a few times.
pub async fn in_time(deadline: Duration, attempt: impl AsyncFn(&Pace)) {
    const ATTEMPTS: usize = 10;
    for made in 1..=ATTEMPTS {
        let pace = Pace::default();
        let Err(panic) = AssertUnwindSafe(attempt(&pace)).catch_unwind().await else {
            return;
        };
        if pace.last.get().is_some() {
            pace.step();
        }
        if made == ATTEMPTS || pace.longest.get() < deadline / 2 {
            resume_unwind(panic);
        }
    }
}
