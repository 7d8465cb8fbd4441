//! Starts a session and keeps it going until it is over.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use super::lifecycle::Lifecycle;
use super::pump::Pump;
use super::{Ended, Live, Settings, Sizes};
use crate::close::CloseReason;
use crate::io::Connection;

/// Runs a session to its end. `early` is what the client sent behind its request.
///
/// `live` shows what it does and can ask it to end; whoever drops the future ends it at once. `sizes` counts how long its messages are, with
/// those of other sessions.
pub fn run<C: Connection, B: Connection>(
    client: C,
    early: Vec<u8>,
    backend: B,
    settings: Arc<Settings>,
    live: Arc<Live>,
    sizes: Arc<Sizes>,
) -> impl Future<Output = Ended> + use<C, B> {
    let life = Lifecycle::new(Arc::clone(&settings), now(), fastrand::u64(..));
    drive(Pump::new(
        client,
        early,
        Some(backend),
        settings,
        life,
        (live, sizes),
    ))
}

/// Tells a client over an open WebSocket why there is no backend, and waits for its answer.
pub fn refuse<C: Connection>(
    client: C,
    early: Vec<u8>,
    reason: CloseReason,
    settings: Arc<Settings>,
    live: Arc<Live>,
) -> impl Future<Output = Ended> {
    let life = Lifecycle::without_backend(Arc::clone(&settings), now(), reason);
    drive(Pump::new(
        client,
        early,
        None::<tokio::net::TcpStream>,
        settings,
        life,
        (live, Arc::default()),
    ))
}

#[expect(
    clippy::manual_async_fn,
    reason = "an async fn keeps its argument twice, and the pump is most of a session"
)]
fn drive<C: Connection, B: Connection>(mut pump: Pump<C, B>) -> impl Future<Output = Ended> + use<C, B> {
    async move {
        let mut timer = pin!(tokio::time::sleep(std::time::Duration::ZERO));
        let reason = poll_fn(|cx| pump.poll(cx, timer.as_mut())).await;
        pump.ended(reason)
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
