//! Dials a backend: all its addresses, within one deadline.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Stream, Target};

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
    /// The deadline passed.
    #[error("no answer within {}", crate::units::show_duration(*.0))]
    Timeout(Duration),
}

/// A backend that was reached.
#[derive(Debug)]
pub struct Reached {
    /// The connection.
    pub stream: Stream,
    /// The address that was connected to; a unix socket's path is all there is to know of it.
    pub peer: Option<SocketAddr>,
}

/// Connects to `target` within `limit`, name look-up included.
pub async fn dial(target: &Target, limit: Duration) -> Result<Reached, DialError> {
    let dialed = timeout(limit, async {
        match target {
            Target::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(DialError::Failed)?;
                Ok(Reached {
                    stream: Stream::Unix(stream),
                    peer: None,
                })
            }
            Target::Tcp { host, port } => tcp(host, *port).await,
        }
    });
    dialed.await.unwrap_or(Err(DialError::Timeout(limit)))
}

async fn tcp(host: &str, port: u16) -> Result<Reached, DialError> {
    let found = tokio::net::lookup_host((host, port))
        .await
        .map_err(DialError::Name)?;
    let mut addresses = interleave(found.collect()).into_iter().take(MAX_ADDRESSES);
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

async fn connect(address: SocketAddr) -> io::Result<Reached> {
    let stream = TcpStream::connect(address).await?;
    crate::addr::tune(&stream, address.ip())?;
    Ok(Reached {
        stream: Stream::Tcp(stream),
        peer: Some(address),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

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
        let target = Target::Tcp {
            host: "localhost".into(),
            port,
        };
        let reached = dial(&target, Duration::from_secs(5)).await.unwrap();
        assert_eq!(reached.peer, Some(([127, 0, 0, 1], port).into()));
    }

    #[tokio::test]
    async fn a_refusal_a_missing_socket_and_an_unknown_name_are_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let second = Duration::from_secs(5);
        let refused = Target::Tcp {
            host: "127.0.0.1".into(),
            port,
        };
        assert!(
            matches!(dial(&refused, second).await, Err(DialError::Failed(e)) if e.kind() == io::ErrorKind::ConnectionRefused)
        );
        let missing = Target::Unix("/nonexistent/socket".into());
        assert!(
            matches!(dial(&missing, second).await, Err(DialError::Failed(e)) if e.kind() == io::ErrorKind::NotFound)
        );
        let unknown = Target::Tcp {
            host: "no-such-name.invalid".into(),
            port,
        };
        assert!(matches!(dial(&unknown, second).await, Err(DialError::Name(_))));
    }

    #[tokio::test]
    async fn a_backend_that_does_not_answer_costs_the_deadline_and_no_more() {
        // A listener whose queue is full: further connections hang.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let target = Target::Tcp {
            host: "127.0.0.1".into(),
            port: address.port(),
        };
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
