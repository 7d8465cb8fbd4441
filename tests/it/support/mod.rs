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
pub use service::{Service, free_address, missing, program, pypi, script};
pub use terminal::Terminal;
pub use typist::Typist;

use std::future::Future;
use std::time::Duration;

/// No test waits longer than this for anything: a failure must say where, not hang.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for something that must happen.
pub async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, event).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PATIENCE:?} for {what}"),
    }
}
