//! Dials a target: all its addresses, within one deadline.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::io::Errno;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Secure, Stream, Target};

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 16;

/// Head start of an address over the next one: the "Connection Attempt Delay" of RFC 8305 §5.
const HEAD_START: Duration = Duration::from_millis(250);

/// Why a backend could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Its name has no address.
    #[error("cannot resolve the name: {0}")]
    Name(io::Error),
    /// Every address failed; the last error.
    #[error("{0}")]
    Failed(io::Error),
    /// It was reached, but TLS failed.
    #[error("TLS: {0}")]
    Tls(io::Error),
    /// The deadline passed.
    #[error("no answer within {}", crate::units::show_duration(*.0))]
    Timeout(Duration),
}

impl DialError {
    /// The process or the system has no descriptor left: not the backend's fault.
    pub(super) fn is_out_of_descriptors(&self) -> bool {
        match self {
            Self::Failed(error) | Self::Name(error) => {
                matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
            }
            Self::Tls(_) | Self::Timeout(_) => false,
        }
    }
}

/// What is done with a connection before it is a session's.
#[derive(Clone, Copy)]
pub(super) struct Opening<'a> {
    /// Makes TLS of it, where the target speaks that.
    pub(super) secure: Option<&'a Secure>,
    /// Written before anything else.
    pub(super) greeting: &'a [u8],
}

/// A backend that was reached.
pub struct Reached {
    /// The connection.
    pub stream: Stream,
    /// The address that was connected to; a unix socket's path is all there is to know of it.
    pub peer: Option<SocketAddr>,
}

/// Connects to `target` within `limit`, name look-up included. `resolved` is told the addresses of a name.
pub(super) async fn dial(
    target: &Target,
    opening: Opening<'_>,
    limit: Duration,
    resolved: impl FnOnce(&[SocketAddr]),
) -> Result<Reached, DialError> {
    let dialed = timeout(limit, async {
        match target {
            Target::Unix(path) => {
                let mut stream = UnixStream::connect(path).await.map_err(DialError::Failed)?;
                stream
                    .write_all(opening.greeting)
                    .await
                    .map_err(DialError::Failed)?;
                Ok(Reached {
                    stream: Stream::Unix(stream),
                    peer: None,
                })
            }
            Target::Tcp { host, port, tls } => {
                let (mut tcp, peer) = tcp(host, *port, resolved).await?;
                tcp.write_all(opening.greeting).await.map_err(DialError::Failed)?;
                let stream = match opening.secure.filter(|_| *tls) {
                    Some(secure) => Stream::Tls(secure(tcp, host).await.map_err(DialError::Tls)?),
                    None if *tls => return Err(DialError::Tls(io::ErrorKind::Unsupported.into())),
                    None => Stream::Tcp(tcp),
                };
                Ok(Reached {
                    stream,
                    peer: Some(peer),
                })
            }
        }
    });
    dialed.await.unwrap_or(Err(DialError::Timeout(limit)))
}

async fn tcp(
    host: &str,
    port: u16,
    resolved: impl FnOnce(&[SocketAddr]),
) -> Result<(TcpStream, SocketAddr), DialError> {
    // Anew for each dial: what a name stands for may change at any time.
    let found = tokio::net::lookup_host((host, port))
        .await
        .map_err(DialError::Name)?;
    let mut found = interleave(found.collect());
    found.truncate(MAX_ADDRESSES);
    resolved(&found);
    let mut addresses = found.into_iter();
    let Some(first) = addresses.next() else {
        return Err(DialError::Name(io::ErrorKind::NotFound.into()));
    };
    // A name with one address, the common case, needs no race.
    if addresses.len() == 0 {
        return connect(first).await.map_err(DialError::Failed);
    }
    let mut attempts = JoinSet::new();
    attempts.spawn(connect(first));
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    loop {
        let more = addresses.len() > 0;
        let next = if more {
            timeout(HEAD_START, attempts.join_next()).await
        } else {
            Ok(attempts.join_next().await)
        };
        match next {
            Ok(Some(Ok(Ok(reached)))) => return Ok(reached),
            Ok(Some(Ok(Err(error)))) => last = error,
            Ok(Some(Err(error))) => last = io::Error::other(error),
            Ok(None) if !more => return Err(DialError::Failed(last)),
            Ok(None) | Err(_) => {}
        }
        // The last one failed, or had its head start.
        if let Some(address) = addresses.next() {
            attempts.spawn(connect(address));
        }
    }
}

/// Alternates between the families, in the order the resolver gave (RFC 8305 §4).
fn interleave(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let leads_v6 = found.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|address| address.is_ipv6() == leads_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut mixed = Vec::new();
    loop {
        match (first.next(), second.next()) {
            (None, None) => return mixed,
            (a, b) => mixed.extend(a.into_iter().chain(b)),
        }
    }
}

async fn connect(address: SocketAddr) -> io::Result<(TcpStream, SocketAddr)> {
    let stream = TcpStream::connect(address).await?;
    crate::addr::tune(&stream, address.ip())?;
    Ok((stream, address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    const PLAIN: Opening<'_> = Opening {
        secure: None,
        greeting: b"",
    };

    fn target(host: &str, port: u16) -> Target {
        Target::Tcp {
            host: host.into(),
            port,
            tls: false,
        }
    }

    async fn dial(target: &Target, limit: Duration) -> Result<Reached, DialError> {
        super::dial(target, PLAIN, limit, |_| {}).await
    }

    #[test]
    fn families_alternate() {
        let parse =
            |list: &[&str]| -> Vec<SocketAddr> { list.iter().map(|text| text.parse().unwrap()).collect() };
        let found = parse(&["[::1]:1", "[::2]:1", "[::3]:1", "127.0.0.1:1", "127.0.0.2:1"]);
        let mixed = parse(&["[::1]:1", "127.0.0.1:1", "[::2]:1", "127.0.0.2:1", "[::3]:1"]);
        assert_eq!(interleave(found), mixed);
    }

    #[tokio::test]
    async fn a_name_whose_first_address_refuses_is_reached_at_the_next() {
        // "localhost" has ::1 and 127.0.0.1; only one of them listens.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let target = target("localhost", port);
        let reached = dial(&target, Duration::from_secs(5)).await.unwrap();
        assert_eq!(reached.peer, Some(([127, 0, 0, 1], port).into()));
    }

    #[tokio::test]
    async fn a_refusal_a_missing_socket_and_an_unknown_name_are_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let second = Duration::from_secs(5);
        let refused = target("127.0.0.1", port);
        assert!(
            matches!(dial(&refused, second).await, Err(DialError::Failed(e)) if e.kind() == io::ErrorKind::ConnectionRefused)
        );
        let missing = Target::Unix("/nonexistent/socket".into());
        assert!(
            matches!(dial(&missing, second).await, Err(DialError::Failed(e)) if e.kind() == io::ErrorKind::NotFound)
        );
        let unknown = target("no-such-name.invalid", port);
        assert!(matches!(dial(&unknown, second).await, Err(DialError::Name(_))));
    }

    #[tokio::test]
    async fn a_backend_that_does_not_answer_costs_the_deadline_and_no_more() {
        // A listener whose queue is full: further connections hang.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let target = target("127.0.0.1", address.port());
        let mut queued = Vec::new();
        let limit = Duration::from_millis(200);
        loop {
            assert!(queued.len() < 64, "the queue never filled");
            match dial(&target, limit).await {
                Ok(reached) => queued.push(reached),
                Err(DialError::Timeout(told)) => return assert_eq!(told, limit),
                Err(error) => panic!("{error}"),
            }
        }
    }
}
