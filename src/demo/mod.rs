//! Runs the TCP services that stand behind `sealock demo`, and holds the page that talks to them.
//!
//! The services are ordinary backends: they know nothing of WebSocket, listen on loopback only, and can be reached with
//! any TCP client. sealock meets them through its configuration, as it would meet anybody's.

mod chat;
mod echo;
mod lines;
mod page;
mod room;
mod setup;

pub use page::page;
pub use setup::{config, names, welcome};

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use room::Room;

/// Where the built-in backends listen.
#[derive(Debug, Clone, Copy)]
pub struct Demo {
    /// A chat for many users; a record is a line.
    pub chat: SocketAddr,
    /// An echo; a record is a `u32` length in network order and as many bytes.
    pub echo: SocketAddr,
    /// An echo of bytes as they come; there are no records.
    pub raw: SocketAddr,
}

/// Starts the backends on free ports of `127.0.0.1`. They serve until `stop` is cancelled, and then drop every connection.
pub async fn start(stop: CancellationToken) -> io::Result<Demo> {
    start_with(Limits::DEMO, stop).await
}

async fn start_with(limits: Limits, stop: CancellationToken) -> io::Result<Demo> {
    let chat = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let echo = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let raw = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let demo = Demo {
        chat: chat.local_addr()?,
        echo: echo.local_addr()?,
        raw: raw.local_addr()?,
    };

    let room = Arc::new(Room::new());
    tokio::spawn(serve(chat, limits, chat::FULL, stop.clone(), move |stream| {
        chat::serve(stream, Arc::clone(&room), limits)
    }));
    tokio::spawn(serve(echo, limits, b"", stop.clone(), move |stream| {
        echo::records(stream, limits)
    }));
    tokio::spawn(serve(raw, limits, b"", stop, move |stream| {
        echo::raw(stream, limits)
    }));
    Ok(demo)
}

/// What the backends allow. They share a process with sealock, so none of them may grow with what a client does.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Connections of each backend. A further one is told so, where the protocol has words for it, and ended.
    connections: usize,
    /// Bytes of a chat line. A longer one is thrown away up to its end.
    line: usize,
    /// Bytes of a record's payload. A longer one is answered by a reset.
    record: u32,
    /// How long a client may send nothing.
    idle: Duration,
    /// How long a client may refuse to take what it is sent.
    write: Duration,
}

impl Limits {
    /// At most 256 × 16 KiB of copy buffer for each echo; for the chat, 256 × 40 KiB of lines and pieces under way and 12 MiB
    /// for the room's backlog (a control character of a line grows to three bytes).
    const DEMO: Self = Self {
        connections: 256,
        line: 4 * 1024,
        record: 16 * 1024 * 1024,
        idle: Duration::from_secs(30 * 60),
        write: Duration::from_secs(10),
    };
}

/// Accepts until `stop`, one task a connection.
async fn serve<S, F>(
    listener: TcpListener,
    limits: Limits,
    refusal: &'static [u8],
    stop: CancellationToken,
    session: S,
) where
    S: Fn(TcpStream) -> F,
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(limits.connections));
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                debug!(%error, "demo backend cannot accept");
                // Most likely there are no descriptors left; asking again at once would only burn the processor.
                stop.run_until_cancelled(sleep(ACCEPT_PAUSE)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            // The socket is new and its send buffer empty, so this does not wait. If it fails, closing says as much.
            if let Err(error) = stream.try_write(refusal) {
                debug!(%error, "demo backend is full and could not say so");
            }
            continue;
        };
        let work = session(stream);
        let stop = stop.clone();
        tokio::spawn(async move {
            if let Some(Err(error)) = stop.run_until_cancelled(work).await {
                debug!(%error, "demo connection failed");
            }
            drop(place);
        });
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Writes all of `bytes`, or fails when the client does not take them in time.
async fn write(stream: &mut TcpStream, bytes: &[u8], limits: Limits) -> io::Result<()> {
    timeout(limits.write, stream.write_all(bytes)).await?
}

/// Ends the stream, then takes what the client still sends for a moment: closing with bytes unread is a reset on the wire,
/// and a reset may destroy the last words before they are read.
async fn finish(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut rest = [0; 1024];
    let drained = async {
        while stream.read(&mut rest).await? > 0 {}
        Ok::<_, io::Error>(())
    };
    timeout(FINISH, drained).await?
}

const FINISH: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    /// Backends on their own ports, ended with the test.
    pub(super) async fn started(limits: Limits) -> (Demo, tokio_util::sync::DropGuard) {
        let stop = CancellationToken::new();
        let demo = start_with(limits, stop.clone()).await.unwrap();
        (demo, stop.drop_guard())
    }

    async fn end(mut stream: TcpStream) -> Vec<u8> {
        let mut all = Vec::new();
        let mut chunk = [0; 256];
        while let Ok(n @ 1..) = stream.read(&mut chunk).await {
            all.extend_from_slice(&chunk[..n]);
        }
        all
    }

    #[tokio::test]
    async fn stop_ends_listeners_and_connections() {
        let (demo, guard) = started(Limits::DEMO).await;
        let mut open = Vec::new();
        for addr in [demo.chat, demo.echo, demo.raw] {
            let mut stream = TcpStream::connect(addr).await.unwrap();
            if addr == demo.raw {
                stream.write_all(b"x").await.unwrap();
                assert_eq!(stream.read_u8().await.unwrap(), b'x');
            }
            open.push(stream);
        }
        drop(guard);
        for stream in open {
            end(stream).await;
        }
        for addr in [demo.chat, demo.echo, demo.raw] {
            // The listener closes in its own task, so the refusal may come one connection late, but it comes.
            while TcpStream::connect(addr).await.is_ok() {
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn one_connection_too_many_is_told_and_ended() {
        let (demo, _guard) = started(Limits {
            connections: 1,
            ..Limits::DEMO
        })
        .await;
        let mut first = TcpStream::connect(demo.chat).await.unwrap();
        assert_eq!(first.read_u8().await.unwrap(), b'*', "the first one is greeted");
        let second = TcpStream::connect(demo.chat).await.unwrap();
        assert_eq!(end(second).await, chat::FULL);

        drop(first);
        // The place is free again once the server has seen the end.
        loop {
            let mut third = TcpStream::connect(demo.chat).await.unwrap();
            let mut greeting = [0; 6];
            third.read_exact(&mut greeting).await.unwrap();
            if greeting != chat::FULL[..6] {
                break;
            }
        }
    }
}
