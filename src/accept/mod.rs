//! Listens: binds, and hands out connections as long as there is room for them.

mod inherited;
mod proxy;
mod room;

pub use inherited::Inherited;
pub use proxy::{Proxied, ProxyError, read_proxy};
pub use room::{CrowdedOut, Newcomer, Room};

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use socket2::{SockFilter, SockRef};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::rate::Bucket;

/// Connections that may wait in the kernel; it cuts this to its own limit (`net.core.somaxconn`).
const BACKLOG: u32 = 4096;

/// The pause after a failed accept: it doubles from the first to the second, and is over with the next success. Running out of
/// descriptors must not become a busy loop, nor the end of the service.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// How often a listener says that it cannot accept, at most.
const SAID: Duration = Duration::from_secs(10);

/// Failed accepts of the process.
static ERRORS: AtomicU64 = AtomicU64::new(0);

/// How long what has begun in the kernel may take until it can be accepted, when others go on listening on the port. A client whose
/// first packet is not answered meanwhile sends it again after a second (RFC 6298).
const OVERLAP: Duration = Duration::from_millis(500);

/// How often accepting has failed, on all listeners.
pub fn errors() -> u64 {
    ERRORS.load(Ordering::Relaxed)
}

/// A bound socket.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    /// Other processes may listen on the port with sockets of their own.
    shares_port: bool,
    spare: Spare,
}

/// A descriptor that is given up for a connection where there is no other: so each can be told, one after another.
#[derive(Debug, Default)]
struct Spare(Option<OwnedFd>);

impl Spare {
    fn of(socket: &TcpListener) -> Self {
        Self(socket.as_fd().try_clone_to_owned().ok())
    }

    /// Gives it up, if it is here and would help.
    fn helps(&mut self, error: &io::Error) -> bool {
        is_shortage(error) && self.0.take().is_some()
    }

    /// Takes one again, as soon as there is one.
    fn regain(&mut self, socket: &TcpListener) {
        if self.0.is_none() {
            *self = Self::of(socket);
        }
    }
}

/// What a listener has to say about accepts that fail.
#[derive(Default)]
struct Failures {
    said: Option<Instant>,
    since: u64,
    last: Option<Errno>,
}

impl Failures {
    fn add(&mut self, error: &io::Error, listener: SocketAddr) {
        ERRORS.fetch_add(1, Ordering::Relaxed);
        self.since += 1;
        self.last = Errno::from_io_error(error);
        self.tell(listener);
    }

    /// Says what is left to be said, once it is time again.
    fn tell(&mut self, listener: SocketAddr) {
        let Some(times) = self.due() else { return };
        let error = self.last.map(tracing::field::display);
        let remedy = match self.last {
            Some(Errno::MFILE) => Some("raise LimitNOFILE or ulimit -n"),
            Some(Errno::NFILE) => Some("raise fs.file-max"),
            _ => None,
        };
        tracing::warn!(error, times, %listener, remedy, "cannot accept connections");
    }

    fn due(&mut self) -> Option<u64> {
        if self.since == 0 {
            return None;
        }
        let now = Instant::now();
        if self.said.is_some_and(|said| now < said + SAID) {
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.since))
    }
}

/// How many connections all listeners may accept in a second, and how often they had to wait.
#[derive(Debug, Default)]
pub struct Pace {
    bucket: Mutex<Option<Bucket>>,
    waited_for_room: AtomicU64,
    waited_for_pace: AtomicU64,
}

impl Pace {
    /// So many from now on, or as many as come. What is spent of the same rate stays spent.
    pub fn set(&self, rate: Option<NonZeroU64>) {
        let mut bucket = self.bucket();
        if bucket.as_ref().map(Bucket::rate) != rate {
            *bucket = rate.map(|rate| Bucket::new(rate, now()));
        }
    }

    /// Returns when another one may be accepted.
    async fn wait(&self) {
        let mut waits = false;
        loop {
            let until = self
                .bucket()
                .as_ref()
                .and_then(|bucket| bucket.empty_until(now()));
            let Some(until) = until else { return };
            if !std::mem::replace(&mut waits, true) {
                self.waited_for_pace.fetch_add(1, Ordering::Relaxed);
            }
            tokio::time::sleep_until(until.into()).await;
        }
    }

    fn is_set(&self) -> bool {
        self.bucket().is_some()
    }

    fn waits_for_room(&self) {
        self.waited_for_room.fetch_add(1, Ordering::Relaxed);
    }

    /// One was accepted. Listeners that waited together may be one ahead each; that is owed then.
    fn spend(&self) {
        if let Some(bucket) = &mut *self.bucket() {
            bucket.spend(now(), 1);
        }
    }

    fn bucket(&self) -> MutexGuard<'_, Option<Bucket>> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often the listeners have stopped accepting for a while, by the limit that was reached.
    pub fn waits(&self) -> [(&'static str, u64); 2] {
        [
            ("max_handshakes", &self.waited_for_room),
            ("handshakes_per_second", &self.waited_for_pace),
        ]
        .map(|(limit, count)| (limit, count.load(Ordering::Relaxed)))
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// Binds and listens. Port 0 lets the system choose; [`Listener::address`] tells what it chose. With `reuse_port`, other processes of
/// the same user may do so too, and each gets a part of the connections.
pub fn bind(address: SocketAddr, reuse_port: bool) -> io::Result<Listener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // A restarted daemon must not wait for the connections of the last one to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(reuse_port)?;
    socket.bind(address)?;
    // Once for all connections: five system calls less for each.
    crate::addr::tune(&socket, address.ip())?;
    let socket = socket.listen(BACKLOG)?;
    Listener::of(socket, reuse_port)
}

impl Listener {
    fn of(socket: TcpListener, shares_port: bool) -> io::Result<Self> {
        Ok(Self {
            address: socket.local_addr()?,
            shares_port,
            // Now, while there are descriptors.
            spare: Spare::of(&socket),
            socket,
        })
    }

    /// The address that was bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts until `stop`. A permit of `room` is taken before each accept, at the pace that is set: until then, connections wait in the
    /// kernel. What waits there in the end waits on, if the socket is another process's too; if it is only the port, it is accepted
    /// before the socket closes, with a permit or, where there is none left, without. Who has left already costs nothing of the pace.
    pub async fn serve(
        mut self,
        room: Arc<Room>,
        pace: &Pace,
        stop: CancellationToken,
        mut on_connection: impl FnMut(TcpStream, SocketAddr, Option<OwnedSemaphorePermit>),
    ) {
        let (mut pause, mut failures) = (BACK_OFF.0, Failures::default());
        let mut spare = std::mem::take(&mut self.spare);
        let next = async || {
            let permit = room.permit(pace, || self.is_waited_at()).await;
            pace.wait().await;
            (self.accept().await, permit)
        };
        while let Some((accepted, permit)) = until(&stop, next()).await {
            match accepted {
                Ok((stream, peer)) => {
                    pause = BACK_OFF.0;
                    spare.regain(&self.socket);
                    failures.tell(self.address);
                    if pace.is_set() && !has_left(&stream) {
                        pace.spend();
                    }
                    on_connection(stream, peer, permit);
                }
                Err(error) if is_of_one_connection(&error) => {
                    tracing::debug!(%error, "a connection was gone before it was accepted");
                }
                Err(error) if self.failed_for_nobody(&error) => {
                    drop(permit);
                    until(&stop, tokio::time::sleep(BACK_OFF.0)).await;
                    spare.regain(&self.socket);
                }
                Err(error) => {
                    failures.add(&error, self.address);
                    drop(permit);
                    if spare.helps(&error) {
                        continue;
                    }
                    // Once it has ended, the loop has too.
                    until(&stop, tokio::time::sleep(pause)).await;
                    pause = (pause * 2).min(BACK_OFF.1);
                    spare.regain(&self.socket);
                }
            }
        }
        if self.shares_port {
            self.empty(&room, (spare, failures), on_connection).await;
        }
    }

    /// True when a connection can be accepted.
    fn is_waited_at(&self) -> bool {
        let mut ready = [PollFd::new(&self.socket, PollFlags::IN)];
        poll(&mut ready, Some(&Timespec::default())).is_ok() && ready[0].revents().contains(PollFlags::IN)
    }

    /// True when accepting has failed for want of a descriptor, and nobody has come: the system looks for the descriptor first. Whoever
    /// awaits the next connection then is not put to sleep by that, and has to be.
    fn failed_for_nobody(&self, error: &io::Error) -> bool {
        is_shortage(error) && !self.is_waited_at()
    }

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = self.socket.accept().await?;
        // What listens on loopback only was told once for all.
        if crate::addr::is_loopback(peer.ip()) && !crate::addr::is_loopback(self.address.ip()) {
            crate::addr::unpace(&stream);
        }
        Ok((stream, peer))
    }

    /// Accepts what the kernel has queued. It chooses one of the sockets of a port when a connection begins, and resets what is
    /// queued at a socket that closes. So nothing may begin here any more: a first packet that is dropped comes again, and by then
    /// finds the others only. All of it is accepted, and at once: nobody else can serve it, and the backlog bounds how much it is.
    async fn empty(
        self,
        room: &Room,
        (mut spare, mut failures): (Spare, Failures),
        mut on_connection: impl FnMut(TcpStream, SocketAddr, Option<OwnedSemaphorePermit>),
    ) {
        if let Err(error) = SockRef::from(&self.socket).attach_filter(&NO_SYN) {
            tracing::warn!(%error, listener = %self.address, "connections that begin now may be lost");
        }
        let end = Instant::now() + OVERLAP;
        let mut failed = false;
        // What is queued is accepted even after the end.
        while let Ok(accepted) = timeout_at(end, self.accept()).await {
            match accepted {
                Ok((stream, peer)) => {
                    failed = false;
                    on_connection(stream, peer, room.try_permit());
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    failed = !self.failed_for_nobody(&error);
                    if failed {
                        failures.add(&error, self.address);
                    }
                    if Instant::now() >= end {
                        break;
                    }
                    if !failed || !spare.helps(&error) {
                        // Connections that end meanwhile give their descriptors back.
                        tokio::time::sleep(BACK_OFF.0).await;
                        spare.regain(&self.socket);
                    }
                }
            }
        }
        if failed {
            drop(spare);
            self.lose(end).await;
        }
    }

    /// Resets what is still queued at `end`, with one descriptor for one after another, and tells how many they were.
    async fn lose(&self, end: Instant) {
        let patience = end + OVERLAP;
        let mut lost = 0_u64;
        while let Ok(accepted) = timeout_at(end, self.socket.accept()).await {
            match accepted {
                Ok(_) => lost += 1,
                Err(error) if is_of_one_connection(&error) => {}
                Err(_) if !self.is_waited_at() => break,
                // Who is being refused has the last descriptor, and not for long.
                Err(_) if Instant::now() < patience => tokio::time::sleep(BACK_OFF.0).await,
                Err(error) => {
                    tracing::error!(%error, listener = %self.address, "more connections are lost than could be counted");
                    break;
                }
            }
        }
        if lost > 0 {
            tracing::error!(lost, listener = %self.address, "queued connections are lost");
        }
    }
}

/// True when a client has left without a byte.
fn has_left(stream: &TcpStream) -> bool {
    let peeked = recv(stream, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
    matches!(peeked, Ok((0, _)) | Err(Errno::CONNRESET))
}

/// Drops TCP segments with SYN, in classic BPF: load the byte of the flags; is the bit set? then keep nothing; else keep all.
const NO_SYN: [SockFilter; 4] = [
    SockFilter::new(0x30, 0, 0, 13),
    SockFilter::new(0x45, 0, 1, 0x02),
    SockFilter::new(0x06, 0, 0, 0),
    SockFilter::new(0x06, 0, 0, u32::MAX),
];

async fn until<T>(stop: &CancellationToken, next: impl Future<Output = T>) -> Option<T> {
    stop.run_until_cancelled(next).await
}

/// There is no descriptor to be had.
fn is_shortage(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// Errors that tell of the connection, not of the listener (accept(2)).
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(
        error.kind(),
        K::ConnectionAborted | K::ConnectionReset | K::Interrupted | K::NotConnected
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::SockRef;

    /// Serves with a stop that has come already, and no permit left. Gives what was accepted, once `meanwhile` and the end have come;
    /// that begins when the end has begun.
    async fn serve_stopped(listener: Listener, meanwhile: impl Future<Output = ()>) -> Vec<SocketAddr> {
        let (room, stop) = (Arc::new(Room::new(0)), CancellationToken::new());
        stop.cancel();
        let mut accepted = Vec::new();
        let pace = Pace::default();
        let serving = listener.serve(room, &pace, stop, |_, peer, _| accepted.push(peer));
        tokio::join!(biased; serving, meanwhile);
        accepted
    }

    async fn connect(address: SocketAddr, count: usize) -> Vec<TcpStream> {
        let mut clients = Vec::new();
        for _ in 0..count {
            clients.push(TcpStream::connect(address).await.unwrap());
        }
        clients
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_told_once_in_a_while_and_every_one_in_the_end() {
        let listener = "127.0.0.1:1".parse().unwrap();
        let mut failures = Failures::default();
        let full = || io::Error::from(Errno::MFILE);
        failures.tell(listener);
        assert_eq!((failures.said, failures.since), (None, 0));
        failures.add(&full(), listener);
        let first = Some(Instant::now());
        assert_eq!((failures.said, failures.since), (first, 0));
        for _ in 0..3 {
            failures.add(&full(), listener);
        }
        failures.tell(listener);
        assert_eq!((failures.said, failures.since), (first, 3));
        // Accepting succeeds then, and goes on to.
        tokio::time::advance(SAID).await;
        assert_eq!(failures.due(), Some(3));
        assert_eq!(failures.due(), None);
    }

    #[tokio::test]
    async fn what_is_queued_is_accepted_before_a_shared_port_closes() {
        for (shared, expected) in [(true, 20), (false, 0)] {
            let listener = bind("127.0.0.1:0".parse().unwrap(), shared).unwrap();
            let _clients = connect(listener.address(), 20).await;
            assert_eq!(
                serve_stopped(listener, async {}).await.len(),
                expected,
                "{shared}"
            );
        }
    }

    #[tokio::test]
    async fn who_comes_after_the_stop_finds_the_others_on_a_shared_port() {
        const CLIENTS: usize = 16;
        let old = bind("127.0.0.1:0".parse().unwrap(), true).unwrap();
        let address = old.address();
        let new = bind(address, true).unwrap();
        // The system would have given half of them to the old one.
        let mut clients = tokio::task::JoinSet::new();
        let accepted = serve_stopped(old, async {
            for _ in 0..CLIENTS {
                clients.spawn(TcpStream::connect(address));
            }
        });
        assert_eq!(accepted.await, []);
        for _ in 0..CLIENTS {
            new.socket.accept().await.unwrap();
        }
        assert!(clients.join_all().await.iter().all(Result::is_ok));
    }

    #[tokio::test]
    async fn a_listener_that_somebody_else_has_shut_down_is_no_connection_that_was_gone() {
        let listener = bind("127.0.0.1:0".parse().unwrap(), true).unwrap();
        SockRef::from(&listener.socket)
            .shutdown(std::net::Shutdown::Both)
            .unwrap();
        let (room, stop, before) = (Arc::new(Room::new(1)), CancellationToken::new(), errors());
        let pace = Pace::default();
        let serving = listener.serve(room, &pace, stop.clone(), |_, peer, _| panic!("{peer}"));
        let failed = async {
            while errors() == before {
                tokio::task::yield_now().await;
            }
            stop.cancel();
        };
        let both = async { tokio::join!(serving, failed) };
        tokio::time::timeout(Duration::from_secs(10), both).await.unwrap();
    }

    #[test]
    fn a_pace_that_is_set_again_gives_nothing_back_of_what_is_spent() {
        let pace = Pace::default();
        let set = |rate| pace.set(NonZeroU64::new(rate));
        let owes = || pace.bucket().as_ref().is_some_and(|bucket| bucket.owes(now()));
        set(1);
        // Two hours of it.
        pace.bucket().as_mut().unwrap().spend(now(), 7200);
        set(1);
        assert!(owes());
        set(2);
        assert!(pace.is_set() && !owes());
        set(0);
        assert!(!pace.is_set());
    }

    /// Linux does so, and says nowhere that it must.
    #[tokio::test]
    async fn what_is_accepted_is_tuned_as_its_listener() {
        let listener = bind("127.0.0.1:0".parse().unwrap(), false).unwrap();
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
