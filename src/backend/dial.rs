//! Dials a target: all its addresses, within one deadline.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use rustix::io::Errno;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream, UnixSocket};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::names::{Unresolved, look_up};
use super::{Secure, Stream, Target};

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 16;

/// Head start of an address over the next one: the "Connection Attempt Delay" of RFC 8305 §5.
pub(super) const HEAD_START: Duration = Duration::from_millis(250);

/// The pauses between attempts at a unix socket whose queue is full: the first, and the longest.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

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
    #[error("no answer within {}", crate::units::show_duration(rounded(*.0)))]
    Timeout(Duration),
    /// Not the backend's fault.
    #[error("{0}")]
    Short(Shortage),
}

/// What was lacking here for a connection.
#[derive(Debug, thiserror::Error)]
pub enum Shortage {
    /// The process or the system has no descriptor left.
    #[error("{0}")]
    Descriptors(io::Error),
    /// The kernel has no memory for it.
    #[error("{0}")]
    Memory(io::Error),
    /// Each local port has a connection to this target already.
    #[error(
        "no local port is left for it: widen net.ipv4.ip_local_port_range, or give the service more addresses"
    )]
    Ports,
    /// Too many other names were being looked up.
    #[error("too many other names are being looked up")]
    LookUps,
}

impl Shortage {
    /// True when another target can be reached all the same.
    pub(super) fn is_of_target(&self) -> bool {
        matches!(self, Self::Ports | Self::LookUps)
    }

    /// What the system says, where that is a shortage.
    fn of(error: io::Error) -> Result<Self, io::Error> {
        match Errno::from_io_error(&error) {
            Some(Errno::MFILE | Errno::NFILE) => Ok(Self::Descriptors(error)),
            Some(Errno::NOBUFS | Errno::NOMEM) => Ok(Self::Memory(error)),
            _ => Err(error),
        }
    }
}

impl DialError {
    /// What was lacking here, where that is why.
    pub(super) fn shortage(&self) -> Option<&Shortage> {
        match self {
            Self::Short(shortage) => Some(shortage),
            Self::Name(_) | Self::Failed(_) | Self::Tls(_) | Self::Timeout(_) => None,
        }
    }

    fn failed(error: io::Error) -> Self {
        Shortage::of(error).map_or_else(Self::Failed, Self::Short)
    }
}

/// To milliseconds: it may be what was left of a deadline.
fn rounded(limit: Duration) -> Duration {
    let half = Duration::from_micros(500);
    Duration::from_millis(u64::try_from(limit.saturating_add(half).as_millis()).unwrap_or(u64::MAX))
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
    let deadline = Instant::now() + limit;
    let dialed = match target {
        Target::Unix(path) => timeout_at(deadline, unix(path, opening.greeting)).await,
        Target::Tcp { host, port, tls } => {
            // Anew for each dial: what a name stands for may change at any time.
            let found = match look_up(host, deadline).await {
                Ok(found) => found,
                Err(Unresolved::Late) => return Err(DialError::Timeout(limit)),
                Err(Unresolved::Crowded) => return Err(DialError::Short(Shortage::LookUps)),
                Err(Unresolved::Failed(error)) => {
                    return Err(Shortage::of(error).map_or_else(DialError::Name, DialError::Short));
                }
            };
            let mut addresses = interleave(found);
            addresses.truncate(MAX_ADDRESSES);
            addresses.iter_mut().for_each(|address| address.set_port(*port));
            resolved(&addresses);
            let entry = Entry {
                host,
                tls: *tls,
                opening,
            };
            timeout_at(deadline, race(&addresses, entry, deadline)).await
        }
    };
    dialed.unwrap_or(Err(DialError::Timeout(limit)))
}

async fn unix(path: &Path, greeting: &[u8]) -> Result<Reached, DialError> {
    let mut pause = BACK_OFF.0;
    let mut stream = loop {
        match spared(UnixSocket::new_stream())?.connect(path).await {
            // Its queue is full. TCP would wait for room; here the kernel leaves that to us.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                sleep(pause).await;
                pause = (pause * 2).min(BACK_OFF.1);
            }
            connected => break connected.map_err(DialError::failed)?,
        }
    };
    stream.write_all(greeting).await.map_err(DialError::failed)?;
    Ok(Reached {
        stream: Stream::Unix(stream),
        peer: None,
    })
}

/// What becomes of a TCP connection to a host.
#[derive(Clone, Copy)]
struct Entry<'a> {
    host: &'a str,
    tls: bool,
    opening: Opening<'a>,
}

impl Entry<'_> {
    async fn enter(self, mut tcp: TcpStream, peer: SocketAddr) -> Result<Reached, DialError> {
        tcp.write_all(self.opening.greeting)
            .await
            .map_err(DialError::failed)?;
        let stream = match self.opening.secure.filter(|_| self.tls) {
            Some(secure) => Stream::Tls(secure(tcp, self.host).await.map_err(DialError::Tls)?),
            None if self.tls => return Err(DialError::Tls(io::ErrorKind::Unsupported.into())),
            None => Stream::Tcp(tcp),
        };
        Ok(Reached {
            stream,
            peer: Some(peer),
        })
    }
}

/// How far an attempt has come.
enum Step {
    Connected(TcpStream, SocketAddr),
    Reached(Reached),
}

/// Tries the addresses until one of them lets us in. The next one has its turn as soon as an attempt fails, or has had its time: a head
/// start while it connects, and an equal share of what is left while it is greeted and speaks TLS. All go on beside each other.
async fn race(addresses: &[SocketAddr], entry: Entry<'_>, deadline: Instant) -> Result<Reached, DialError> {
    // A name with one address, the common case, needs no race.
    if let [only] = addresses {
        return entry.enter(connect(*only).await?, *only).await;
    }
    let mut left = addresses.iter().copied();
    let mut attempts = FuturesUnordered::<BoxFuture<'_, Result<Step, DialError>>>::new();
    let mut turn = Instant::now();
    let mut last = None;
    loop {
        tokio::select! {
            Some(step) = attempts.next() => match step {
                Ok(Step::Reached(reached)) => return Ok(reached),
                Ok(Step::Connected(tcp, peer)) => {
                    let share = deadline.saturating_duration_since(Instant::now()) / (left.len() as u32 + 1);
                    turn = Instant::now() + share;
                    attempts.push(entry.enter(tcp, peer).map(|entered| entered.map(Step::Reached)).boxed());
                }
                Err(error) => {
                    tracing::debug!(host = entry.host, %error, "one of its addresses has failed");
                    match error.shortage() {
                        Some(shortage) if !shortage.is_of_target() => return Err(error),
                        // What an address itself says tells more.
                        Some(_) => drop(last.get_or_insert(error)),
                        None => last = Some(error),
                    }
                    turn = Instant::now();
                }
            },
            () = sleep_until(turn), if left.len() > 0 => {
                if let Some(address) = left.next() {
                    let connecting = connect(address);
                    attempts.push(connecting.map(move |tcp| Ok(Step::Connected(tcp?, address))).boxed());
                }
                turn = Instant::now() + HEAD_START;
            }
            else => return Err(last.unwrap_or(DialError::Name(io::ErrorKind::NotFound.into()))),
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

async fn connect(address: SocketAddr) -> Result<TcpStream, DialError> {
    let socket = spared(match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    })?;
    let stream = match socket.connect(address).await {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::ADDRNOTAVAIL) && has_way_to(address) => {
            return Err(DialError::Short(Shortage::Ports));
        }
        connected => connected.map_err(DialError::failed)?,
    };
    crate::addr::tune(&stream, address.ip()).map_err(DialError::failed)?;
    Ok(stream)
}

/// A socket that is none of the last descriptors: those are kept for others.
fn spared<S: AsFd>(socket: io::Result<S>) -> Result<S, DialError> {
    let socket = socket.map_err(DialError::failed)?;
    match crate::limits::left_behind(&socket) {
        None => Ok(socket),
        Some(_) => Err(DialError::failed(Errno::MFILE.into())),
    }
}

/// True when there is an address of ours to reach it from. Without one, as where IPv6 is off, the system answers as it does without a
/// port; UDP has ports of its own. Nothing is sent.
fn has_way_to(address: SocketAddr) -> bool {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => ([0; 4], 0).into(),
        SocketAddr::V6(_) => ([0; 16], 0).into(),
    };
    UdpSocket::bind(any).is_ok_and(|socket| socket.connect(address).is_ok())
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
        // A label has 63 letters at most, so nobody is asked for this one.
        let unknown = target(&"a".repeat(64), port);
        assert!(matches!(dial(&unknown, second).await, Err(DialError::Name(_))));
    }

    #[test]
    fn what_was_left_of_a_deadline_is_told_in_few_words() {
        for (limit, says) in [
            (Duration::from_secs(5), "no answer within 5s"),
            (Duration::from_nanos(4_999_999_830), "no answer within 5s"),
            (Duration::from_nanos(2_499_400_000), "no answer within 2s 499ms"),
        ] {
            assert_eq!(DialError::Timeout(limit).to_string(), says);
        }
    }

    #[test]
    fn a_shortage_here_is_told_from_a_failure_there() {
        let of = |errno: Errno| DialError::failed(errno.into());
        for errno in [Errno::MFILE, Errno::NFILE] {
            assert!(matches!(of(errno), DialError::Short(Shortage::Descriptors(_))));
        }
        for errno in [Errno::NOBUFS, Errno::NOMEM] {
            assert!(matches!(of(errno), DialError::Short(Shortage::Memory(_))));
        }
        assert!(matches!(of(Errno::CONNREFUSED), DialError::Failed(_)));
        assert!(has_way_to("127.0.0.1:1".parse().unwrap()));
        // UDP may not be sent there, so it stands for what has no way.
        assert!(!has_way_to("255.255.255.255:1".parse().unwrap()));
    }

    /// TLS as a target speaks it that closes, says nothing, or lets everybody in, by its address.
    fn secure(closes: SocketAddr, silent: SocketAddr) -> Secure {
        std::sync::Arc::new(move |tcp, _| {
            let peer = tcp.peer_addr().unwrap();
            Box::pin(async move {
                match peer {
                    peer if peer == closes => Err(io::ErrorKind::UnexpectedEof.into()),
                    peer if peer == silent => std::future::pending().await,
                    _ => Ok(Box::new(tcp) as Box<dyn crate::io::Connection + Send>),
                }
            })
        })
    }

    #[tokio::test]
    async fn an_address_that_can_be_reached_and_fails_at_tls_is_not_the_last() {
        let listeners = [
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        ];
        let addresses = listeners
            .each_ref()
            .map(|listener| listener.local_addr().unwrap());
        let [closes, silent, good] = addresses;
        let secure = secure(closes, silent);
        let opening = Opening {
            secure: Some(&secure),
            greeting: b"hello",
        };
        let entry = Entry {
            host: "test",
            tls: true,
            opening,
        };
        let deadline = || Instant::now() + Duration::from_secs(2);
        let reached = race(&addresses, entry, deadline()).await.unwrap();
        assert_eq!(reached.peer, Some(good));
        let closed = race(&[closes, closes], entry, deadline()).await;
        assert!(matches!(closed, Err(DialError::Tls(_))));
        let mut stream = listeners[2].accept().await.unwrap().0;
        let mut greeting = [0; 5];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut greeting)
            .await
            .unwrap();
        assert_eq!(&greeting, b"hello");
    }

    #[tokio::test]
    async fn a_backend_that_does_not_answer_costs_the_deadline_and_no_more() {
        // A listener whose queue is full: further connections hang.
        let socket = TcpSocket::new_v4().unwrap();
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
