//! Listens: binds, and hands out connections as long as there is room for them.

mod proxy;

pub use proxy::{Proxied, ProxyError, read_proxy};

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Connections that may wait in the kernel; it cuts this to its own limit (`net.core.somaxconn`).
const BACKLOG: u32 = 4096;

/// The pause after a failed accept: it doubles from the first to the second, and is over with the next success. Running out of
/// descriptors must not become a busy loop, nor the end of the service.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// Failed accepts of the process.
static ERRORS: AtomicU64 = AtomicU64::new(0);

/// How often accepting has failed, on all listeners.
pub fn errors() -> u64 {
    ERRORS.load(Ordering::Relaxed)
}

/// A bound socket.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

/// Binds and listens. Port 0 lets the system choose; [`Listener::address`] tells what it chose.
pub fn bind(address: SocketAddr) -> io::Result<Listener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // A restarted daemon must not wait for the connections of the last one to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    // Once for all connections: five system calls less for each.
    crate::addr::tune(&socket, address.ip())?;
    let socket = socket.listen(BACKLOG)?;
    let address = socket.local_addr()?;
    Ok(Listener { socket, address })
}

impl Listener {
    /// The address that was bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts until `stop`. A permit of `room` is taken before each accept: without one, connections wait in the kernel.
    pub async fn serve(
        self,
        room: Arc<Semaphore>,
        stop: CancellationToken,
        mut on_connection: impl FnMut(TcpStream, SocketAddr, OwnedSemaphorePermit),
    ) {
        let mut pause = BACK_OFF.0;
        loop {
            let next = async {
                let permit = Arc::clone(&room).acquire_owned().await.ok()?;
                Some((self.socket.accept().await, permit))
            };
            let Some(Some((accepted, permit))) = until(&stop, next).await else {
                return;
            };
            match accepted {
                Ok((stream, peer)) => {
                    pause = BACK_OFF.0;
                    // What listens on loopback only was told once for all.
                    if crate::addr::is_loopback(peer.ip()) && !crate::addr::is_loopback(self.address.ip()) {
                        crate::addr::unpace(&stream);
                    }
                    on_connection(stream, peer, permit);
                }
                Err(error) if is_of_one_connection(&error) => {
                    tracing::debug!(%error, "a connection was gone before it was accepted");
                }
                Err(error) => {
                    let errors = ERRORS.fetch_add(1, Ordering::Relaxed) + 1;
                    tracing::warn!(%error, errors, listener = %self.address, "cannot accept connections");
                    drop(permit);
                    if until(&stop, tokio::time::sleep(pause)).await.is_none() {
                        return;
                    }
                    pause = (pause * 2).min(BACK_OFF.1);
                }
            }
        }
    }
}

async fn until<T>(stop: &CancellationToken, next: impl Future<Output = T>) -> Option<T> {
    stop.run_until_cancelled(next).await
}

/// Errors that tell of the connection, not of the listener (accept(2)).
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(
        error.kind(),
        K::ConnectionAborted | K::ConnectionReset | K::Interrupted | K::NotConnected | K::InvalidInput
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::SockRef;

    /// Linux does so, and says nowhere that it must.
    #[tokio::test]
    async fn what_is_accepted_is_tuned_as_its_listener() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let near = TcpStream::connect(listener.address()).await.unwrap();
        let (far, _) = listener.socket.accept().await.unwrap();
        let settings = |stream: &TcpStream| {
            let socket = SockRef::from(stream);
            let time = socket.tcp_keepalive_time().unwrap();
            let interval = socket.tcp_keepalive_interval().unwrap();
            let retries = socket.tcp_keepalive_retries().unwrap();
            let on = (socket.tcp_nodelay().unwrap(), socket.keepalive().unwrap());
            let congestion = socket.tcp_congestion().unwrap();
            assert!(!socket.tcp_nodelay().unwrap() || congestion.starts_with(b"reno\0"));
            (on, time, interval, retries)
        };
        assert_ne!(settings(&far), settings(&near));
        crate::addr::tune(&near, listener.address().ip()).unwrap();
        assert_eq!(settings(&far), settings(&near));
    }
}
