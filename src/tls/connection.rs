//! A TLS connection on rustls' unbuffered API: no buffer at rest, one large read, one seal and one write at a time.
//!
//! rustls' buffered API (and so tokio-rustls) reads at most 4 KiB a call and keeps a buffer with each connection. Here ciphertext is
//! read into the buffer that the reader lends, and opened there; for a reader with little room, into one of the thread. Plaintext is
//! sealed into a buffer of the thread and written from there. A connection keeps only what is left over: part of a record that has not
//! come whole, ciphertext that the socket did not take, plaintext that the reader had no room for. All three are empty when nothing is
//! under way.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::rustls::server::UnbufferedServerConnection;
use tokio_rustls::rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use tokio_rustls::rustls::{self, ProtocolVersion, ServerConfig};

use super::sealed::Sealed;
use crate::io::Connection;

/// The most plaintext that is sealed at once: what the bridge makes in one step, with room for the frame headers it adds.
const MAX_SEAL: usize = 144 * 1024;
/// The most ciphertext that is read at once into the buffer of the thread, for a reader who has little room.
const MAX_READ: usize = 64 * 1024;
/// A reader with this much room lends it: ciphertext is read there, and what is opened is moved to its front.
const IN_PLACE: usize = 64 * 1024;
/// The room that stays free in front of the ciphertext: as much as a record opens to (RFC 8446 §5.1). So what is opened never reaches
/// what is yet to be.
const GAP: usize = 16 * 1024;
/// The least, so that a record that is almost whole does not make for tiny reads.
const MIN_READ: usize = 4 * 1024;
/// Room for what an earlier read left: a record, or a handshake message of up to 64 KiB in pieces.
const MAX_LEFT: usize = 96 * 1024;

/// The buffers of a thread. What is read in small pieces is opened, and what is to leave is sealed, in the same one, one after the
/// other: what a thread touches stays resident.
struct Scratch {
    bulk: Sealed,
    /// What TLS itself has to say while input is opened: handshake messages, alerts.
    answers: Sealed,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        bulk: Sealed::with_room(MAX_LEFT + MAX_READ),
        answers: Sealed::with_room(8 * 1024),
    });
}

/// A server's side of a TLS connection.
pub struct TlsConnection<S = TcpStream> {
    io: S,
    conn: UnbufferedServerConnection,
    /// Ciphertext that is not a whole record yet.
    incoming: Vec<u8>,
    /// Plaintext that the reader had no room for.
    plain: Vec<u8>,
    /// Ciphertext that the socket has not taken; `pending[sent..]`.
    pending: Vec<u8>,
    sent: usize,
    /// What is sealed becomes pending, and leaves with what follows: one packet less, and one wake-up of the client. So do the
    /// tickets behind a TLS 1.3 handshake, which nobody waits for, and the last data with the end.
    hold: bool,
    /// The peer's close_notify has come.
    peer_closed: bool,
    /// Ours has been sealed.
    notified: bool,
    /// rustls has refused the connection.
    broken: bool,
}

/// The error of a handshake with a client that speaks HTTP in the clear. It gets no alert, so that an answer can be the first thing
/// that it reads.
#[derive(Debug, thiserror::Error)]
#[error("plain HTTP")]
pub(super) struct PlainHttp;

/// True when the first byte is that of an HTTP method; a TLS record starts with 22 (RFC 8446 §5.1).
fn speaks_http(input: &[u8]) -> bool {
    input.first().is_some_and(u8::is_ascii_uppercase)
}

/// Takes plaintext. Its first argument is the input that has been used up, where there is room for it.
type Sink<'a> = dyn FnMut(&mut [u8], &[u8]) + 'a;

/// What to do when application data may be written.
enum Goal<'a> {
    Nothing,
    Seal(&'a [u8]),
    Notify,
}

impl<S: Connection> TlsConnection<S> {
    /// A connection whose handshake has not begun.
    pub fn new(io: S, config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        Ok(Self {
            io,
            conn: UnbufferedServerConnection::new(config)?,
            incoming: Vec::new(),
            plain: Vec::new(),
            pending: Vec::new(),
            sent: 0,
            hold: false,
            peer_closed: false,
            notified: false,
            broken: false,
        })
    }

    pub(super) fn io(&self) -> &S {
        &self.io
    }

    /// The connection below, once TLS has failed.
    pub(super) fn into_io(self) -> S {
        self.io
    }

    /// Ciphertext that the socket has not taken.
    pub(super) fn backlog(&self) -> usize {
        self.pending.len() - self.sent
    }

    /// Memory that it keeps for bytes on their way.
    pub(super) fn held_memory(&self) -> usize {
        self.incoming.capacity() + self.plain.capacity() + self.pending.capacity()
    }

    /// The TLS version and cipher suite.
    pub(super) fn protocol(&self) -> Option<(&'static str, &'static str)> {
        let version = self.conn.protocol_version()?.as_str()?;
        let suite = self.conn.negotiated_cipher_suite()?.suite().as_str()?;
        Some((version, suite))
    }

    /// Performs the handshake, up to and with the last byte of it that we send.
    pub fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_flush_pending(cx))?;
            if !self.conn.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            let mut plain = std::mem::take(&mut self.plain);
            let read = self.poll_read_scratch(cx, MAX_LEFT, &mut |_, data| plain.extend_from_slice(data));
            self.plain = plain;
            let got = match read {
                // The handshake was over before: whoever reads will be told, after what came whole.
                Poll::Ready(Err(_)) if self.broken && !self.conn.is_handshaking() => {
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(got) => got?,
                Poll::Pending => return Poll::Pending,
            };
            if got == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Reads into the buffer of the thread, at most `limit` bytes or so.
    fn poll_read_scratch(
        &mut self,
        cx: &mut Context<'_>,
        limit: usize,
        sink: &mut Sink<'_>,
    ) -> Poll<io::Result<usize>> {
        SCRATCH.with_borrow_mut(|Scratch { bulk, answers }| {
            let left = self.incoming.len();
            if left > MAX_LEFT {
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "endless TLS message",
                )));
            }
            let most = limit.saturating_sub(left).clamp(MIN_READ, MAX_READ);
            self.poll_open(cx, &mut bulk.buf[..left + most], 0, answers, sink)
        })
    }

    /// Reads into the reader's own room, and leaves what was opened at its front. Tells how much that is, too.
    fn poll_read_in_place(
        &mut self,
        cx: &mut Context<'_>,
        room: &mut [u8],
    ) -> (usize, Poll<io::Result<usize>>) {
        let (mut len, mut plain) = (0, Vec::new());
        let opened = SCRATCH.with_borrow_mut(|Scratch { answers, .. }| {
            self.poll_open(cx, room, GAP, answers, &mut |free, data| {
                match free.get_mut(len..len + data.len()) {
                    Some(place) if plain.is_empty() => {
                        place.copy_from_slice(data);
                        len += data.len();
                    }
                    // No record is that long; but if one were, nothing would be lost.
                    _ => plain.extend_from_slice(data),
                }
            })
        });
        self.plain = plain;
        (len, opened)
    }

    /// Reads ciphertext into `buffer` from `at` on, behind what an earlier read left, and opens what is whole. Tells how much ciphertext
    /// came: 0 at its end.
    fn poll_open(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
        at: usize,
        answers: &mut Sealed,
        sink: &mut Sink<'_>,
    ) -> Poll<io::Result<usize>> {
        answers.clear();
        let new = at + self.incoming.len();
        buffer[at..new].copy_from_slice(&self.incoming);
        let mut read = ReadBuf::new(&mut buffer[new..]);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut read))?;
        let got = read.filled().len();
        let input = &mut buffer[..new + got];
        if self.conn.protocol_version().is_none() && speaks_http(&input[at..]) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, PlainHttp)));
        }
        let handshaking = self.conn.is_handshaking();
        let result = self.turn(input, at, answers, &mut Goal::Nothing, sink);
        let used = result.as_ref().map_or(input.len(), |used| *used);
        self.incoming = input[used..].to_vec();
        // In TLS 1.2 the client waits for our last message, here only we for its.
        let over = handshaking && !self.conn.is_handshaking() && result.is_ok();
        self.hold |= over && self.conn.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        // But what else TLS has to say waits for nothing, and an alert least of all.
        self.hold &= over || answers.len == 0;
        let mut sent = self.poll_write_sealed(cx, answers);
        if let Poll::Ready(Err(error)) = self.poll_flush_pending(cx) {
            sent = Err(error);
        }
        result.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        sent?;
        Poll::Ready(Ok(got))
    }

    /// Lets rustls work on `input` from `used` on until it has nothing more to do; tells how far it came. A goal that was reached is
    /// taken away. The whole of what was left before must be shown each time: rustls may have looked at the start of a message already.
    fn turn(
        &mut self,
        input: &mut [u8],
        mut used: usize,
        sealed: &mut Sealed,
        goal: &mut Goal<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<usize, rustls::Error> {
        if self.broken {
            return Err(rustls::Error::General("the connection has failed before".into()));
        }
        loop {
            let (free, rest) = input.split_at_mut(used);
            let mut status = self.conn.process_tls_records(rest);
            let mut discard = status.discard;
            // By reference, as far as it goes: there is a status for each record, and moving it costs more than looking at it.
            let done = match status.state {
                Ok(ConnectionState::ReadTraffic(ref mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        sink(free, record.payload);
                    }
                    false
                }
                Ok(ConnectionState::EncodeTlsData(ref mut data)) => {
                    sealed.encode(data);
                    false
                }
                // What was encoded is in our hands, in order.
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    false
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.peer_closed = true;
                    false
                }
                Ok(ConnectionState::WriteTraffic(ref mut traffic)) => {
                    match std::mem::replace(goal, Goal::Nothing) {
                        Goal::Nothing => {}
                        Goal::Seal(data) => sealed.seal(|room| traffic.encrypt(data, room))?,
                        Goal::Notify => sealed.seal(|room| traffic.queue_close_notify(room))?,
                    }
                    true
                }
                Ok(_) => true,
                Err(error) => {
                    self.broken = true;
                    // The alert that tells the peer. The input must not be shown again: what is wrong with it would be answered twice.
                    while self.conn.wants_write() {
                        let UnbufferedStatus { state, .. } = self.conn.process_tls_records(&mut []);
                        let Ok(ConnectionState::EncodeTlsData(mut data)) = state else {
                            break;
                        };
                        sealed.encode(&mut data);
                    }
                    return Err(error);
                }
            };
            used += discard;
            if done {
                return Ok(used);
            }
        }
    }

    /// Writes what was sealed; what the socket does not take becomes pending.
    fn poll_write_sealed(&mut self, cx: &mut Context<'_>, sealed: &mut Sealed) -> io::Result<()> {
        let bytes = sealed.take();
        let mut done = 0;
        if self.pending.is_empty() && !self.hold {
            while done < bytes.len() {
                match Pin::new(&mut self.io).poll_write(cx, &bytes[done..]) {
                    Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                    Poll::Ready(Ok(count)) => done += count,
                    Poll::Ready(Err(error)) => return Err(error),
                    Poll::Pending => break,
                }
            }
        }
        self.pending.extend_from_slice(&bytes[done..]);
        Ok(())
    }

    /// Writes what is pending, unless that can wait.
    fn poll_flush_pending(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.hold {
            return Poll::Ready(Ok(()));
        }
        self.poll_send(cx)
    }

    /// Writes what is pending.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.pending.len() {
            let io = Pin::new(&mut self.io);
            let rest = &self.pending[self.sent..];
            let written = if self.notified {
                io.poll_write_last(cx, rest)
            } else {
                io.poll_write(cx, rest)
            };
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.sent += count,
            }
        }
        if self.sent > 0 {
            self.pending = Vec::new();
            self.sent = 0;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes data. What of it the socket does not take becomes pending, but there is never more of that than one call's.
    fn poll_write_data(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.notified {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let data = &data[..data.len().min(MAX_SEAL)];
        self.poll_seal(cx, Goal::Seal(data))?;
        Poll::Ready(Ok(data.len()))
    }

    /// Writes data, to leave with the end of the stream.
    pub(super) fn poll_write_last(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(cx))?;
        self.hold = true;
        self.poll_write_data(cx, data)
    }

    fn poll_seal(&mut self, cx: &mut Context<'_>, mut goal: Goal<'_>) -> io::Result<()> {
        SCRATCH.with_borrow_mut(|Scratch { bulk: sealed, .. }| {
            sealed.clear();
            let mut input = std::mem::take(&mut self.incoming);
            let mut plain = std::mem::take(&mut self.plain);
            let result = self.turn(&mut input, 0, sealed, &mut goal, &mut |_, data| {
                plain.extend_from_slice(data)
            });
            let used = result.as_ref().map_or(0, |used| *used);
            input.drain(..used);
            self.incoming = input;
            self.plain = plain;
            self.poll_write_sealed(cx, sealed)?;
            result.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            match goal {
                Goal::Nothing | Goal::Notify => Ok(()),
                // Both sides have closed: there was no way to write.
                Goal::Seal(_) => Err(io::ErrorKind::BrokenPipe.into()),
            }
        })
    }
}

impl<S: Connection> AsyncRead for TlsConnection<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Answers of TLS itself, such as to a key update, wait for no write of ours. Not being able to send is no reason not to read.
        if let Poll::Ready(Err(error)) = this.poll_flush_pending(cx) {
            return Poll::Ready(Err(error));
        }
        if !this.plain.is_empty() {
            let take = this.plain.len().min(buf.remaining());
            buf.put_slice(&this.plain[..take]);
            this.plain.drain(..take);
            if this.plain.is_empty() {
                this.plain = Vec::new();
            }
            return Poll::Ready(Ok(()));
        }
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        while !this.peer_closed {
            if this.broken {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            let opened = if buf.remaining() >= IN_PLACE && this.incoming.len() <= IN_PLACE / 2 {
                let (len, opened) = this.poll_read_in_place(cx, buf.initialize_unfilled());
                buf.advance(len);
                ready!(opened)
            } else {
                let mut plain = Vec::new();
                let opened = ready!(this.poll_read_scratch(cx, buf.remaining(), &mut |_, data| {
                    let take = data.len().min(buf.remaining());
                    buf.put_slice(&data[..take]);
                    plain.extend_from_slice(&data[take..]);
                }));
                this.plain = plain;
                opened
            };
            // What came whole is delivered, whatever came behind it; an error is told when it is asked for more.
            if buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
            let got = opened?;
            if got == 0 && !this.peer_closed {
                let error = io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the stream ended without close_notify",
                );
                return Poll::Ready(Err(error));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Connection> AsyncWrite for TlsConnection<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_flush_pending(cx))?;
        let count = ready!(this.poll_write_data(cx, data))?;
        if std::mem::take(&mut this.hold)
            && let Poll::Ready(Err(error)) = this.poll_send(cx)
        {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_flush_pending(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.notified {
            this.notified = true;
            this.hold = true;
            this.poll_seal(cx, Goal::Notify)?;
            this.hold = false;
        }
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{DevelopmentCa, server_config};
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
    use std::future::poll_fn;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio_rustls::TlsConnector;
    use tokio_rustls::client::TlsStream;

    /// A wire that carries at most `most` bytes at a time: 1 cuts the stream at every border there is.
    struct Narrow {
        io: DuplexStream,
        most: usize,
    }

    impl AsyncRead for Narrow {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let mut small = vec![0; self.most.min(buf.remaining())];
            let mut some = ReadBuf::new(&mut small);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut some))?;
            buf.put_slice(some.filled());
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Narrow {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            let most = self.most.min(buf.len());
            Pin::new(&mut self.io).poll_write(cx, &buf[..most])
        }
        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.io).poll_flush(cx)
        }
        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.io).poll_shutdown(cx)
        }
    }

    impl Connection for Narrow {
        fn reset_on_drop(&self) {}
    }

    struct Configs {
        client: Arc<ClientConfig>,
        server: Arc<ServerConfig>,
    }

    fn configs(version: &'static SupportedProtocolVersion) -> Configs {
        let made = DevelopmentCa::make(&["localhost".into()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(made.ca_pem.as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Configs {
            client: Arc::new(client),
            server: server_config(&made.identity(), None).unwrap(),
        }
    }

    async fn pair(configs: &Configs, most: usize) -> (TlsStream<Narrow>, TlsConnection<Narrow>) {
        let (near, far) = duplex(100_000);
        let mut server = TlsConnection::new(Narrow { io: far, most }, Arc::clone(&configs.server)).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::clone(&configs.client));
        let client = connector.connect(name, Narrow { io: near, most });
        let (client, done) = tokio::join!(client, poll_fn(|cx| server.poll_handshake(cx)));
        done.unwrap();
        (client.unwrap(), server)
    }

    /// Sends every message through an echo on our side and ends both directions in order.
    async fn echo(configs: &Configs, most: usize, messages: &[usize], room: usize) {
        let (mut client, mut server) = pair(configs, most).await;
        let serve = async {
            let mut buf = vec![0; room];
            loop {
                let got = server.read(&mut buf).await.unwrap();
                if got == 0 {
                    break server.shutdown().await.unwrap();
                }
                server.write_all(&buf[..got]).await.unwrap();
                server.flush().await.unwrap();
            }
        };
        let talk = async {
            for (i, len) in messages.iter().enumerate() {
                let sent: Vec<u8> = (0..*len).map(|at| (at * 7 + i) as u8).collect();
                let mut back = vec![0; *len];
                let (mut read, mut write) = tokio::io::split(&mut client);
                let write = async {
                    write.write_all(&sent).await.unwrap();
                    write.flush().await.unwrap();
                };
                let (_, read) = tokio::join!(write, read.read_exact(&mut back));
                read.unwrap();
                assert!(sent == back, "message {i} of {len} bytes by {most}");
                // Keys change in the middle of it (TLS 1.3; refused in 1.2).
                drop(client.get_mut().1.refresh_traffic_keys());
            }
            client.shutdown().await.unwrap();
            assert_eq!(
                client.read(&mut [0; 9]).await.unwrap(),
                0,
                "close_notify came back"
            );
        };
        tokio::join!(serve, talk);
    }

    #[tokio::test]
    async fn the_stream_may_be_cut_and_merged_at_every_border() {
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let configs = configs(version);
            for most in [1, 2, 3, 5, 6, 7, 16, 22, 100, 1000, 16_384, 16_401, 1 << 20] {
                let messages: &[usize] = if most < 10 {
                    &[1, 100, 3000]
                } else {
                    &[1, 16_384, 16_385, 100_000]
                };
                echo(&configs, most, messages, 300_000).await;
                echo(&configs, most, messages, 1000).await;
            }
        }
    }

    #[tokio::test]
    async fn nothing_is_kept_at_rest() {
        let configs = configs(&rustls::version::TLS13);
        let (mut client, mut server) = pair(&configs, 1 << 20).await;
        client.write_all(&[7; 50_000]).await.unwrap();
        let mut got = vec![0; 50_000];
        server.read_exact(&mut got).await.unwrap();
        server.write_all(&got).await.unwrap();
        server.flush().await.unwrap();
        client.read_exact(&mut got).await.unwrap();
        assert_eq!(server.held_memory(), 0);
    }

    #[tokio::test]
    async fn tickets_leave_with_the_first_data() {
        for (version, wait) in [(&rustls::version::TLS12, false), (&rustls::version::TLS13, true)] {
            let configs = configs(version);
            let (mut client, mut server) = pair(&configs, 1 << 20).await;
            server.flush().await.unwrap();
            assert_eq!(server.backlog() > 0, wait, "{version:?}");
            let read = tokio::time::timeout(Duration::ZERO, server.read(&mut [0])).await;
            assert!(read.is_err(), "no data came");
            assert_eq!(server.backlog() > 0, wait, "{version:?}");
            server.write_all(b"x").await.unwrap();
            assert_eq!(server.backlog(), 0);
            client.read_exact(&mut [0]).await.unwrap();
            assert_eq!(client.get_ref().1.tls13_tickets_received(), u32::from(wait));
        }
    }

    #[tokio::test]
    async fn the_last_data_leaves_with_the_end() {
        let configs = configs(&rustls::version::TLS13);
        let (mut client, mut server) = pair(&configs, 1 << 20).await;
        server.write_all(b"first").await.unwrap();
        let taken = poll_fn(|cx| server.poll_write_last(cx, b"last")).await.unwrap();
        assert_eq!(taken, 4);
        assert!(server.backlog() > taken);
        server.shutdown().await.unwrap();
        assert_eq!(server.backlog(), 0);
        let mut got = [0; 9];
        client.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"firstlast");
        assert_eq!(client.read(&mut got).await.unwrap(), 0, "close_notify");
    }

    #[tokio::test]
    async fn an_end_without_close_notify_is_not_taken_for_an_end_in_order() {
        let configs = configs(&rustls::version::TLS13);
        let (client, mut server) = pair(&configs, 1 << 20).await;
        drop(client);
        let error = server.read(&mut [0; 9]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn what_came_whole_before_a_broken_record_is_delivered() {
        let configs = configs(&rustls::version::TLS13);
        for room in [100, 3] {
            let (mut client, mut server) = pair(&configs, 1 << 20).await;
            client.write_all(b"whole").await.unwrap();
            let (wire, _) = client.get_mut();
            wire.write_all(b"\x17\x03\x03\x00\x20broken").await.unwrap();
            wire.write_all(&[0; 26]).await.unwrap();
            let mut got = Vec::new();
            let error = loop {
                let mut buf = vec![0; room];
                match server.read(&mut buf).await {
                    Ok(count) => got.extend_from_slice(&buf[..count]),
                    Err(error) => break error,
                }
            };
            assert_eq!(
                (&got[..], error.kind()),
                (&b"whole"[..], io::ErrorKind::InvalidData)
            );
        }
    }

    #[tokio::test]
    async fn a_reader_without_room_loses_nothing() {
        let configs = configs(&rustls::version::TLS13);
        let (mut client, mut server) = pair(&configs, 1 << 20).await;
        client.write_all(&[7; 60_000]).await.unwrap();
        assert_eq!(server.read(&mut []).await.unwrap(), 0);
        let mut got = vec![0; 60_000];
        server.read_exact(&mut got).await.unwrap();
        assert!(got.iter().all(|byte| *byte == 7));
    }

    #[tokio::test]
    async fn garbage_gets_an_alert() {
        let configs = configs(&rustls::version::TLS13);
        for garbage in [
            &b"\x16\x03\x01\x00\x05\x01\x00\x00\x01x"[..],
            b"\x17\x03\x03\x00\x01x",
            &[0; 300],
        ] {
            let (mut near, far) = duplex(1000);
            let mut server = TlsConnection::new(far, Arc::clone(&configs.server)).unwrap();
            near.write_all(garbage).await.unwrap();
            let error = poll_fn(|cx| server.poll_handshake(cx)).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            drop(server);
            let mut answer = Vec::new();
            let read = near.take(100);
            tokio::time::timeout(
                Duration::from_secs(5),
                tokio::io::copy(&mut Box::pin(read), &mut answer),
            )
            .await
            .unwrap()
            .unwrap();
            assert_eq!(answer.first(), Some(&21), "a TLS alert record: {garbage:x?}");
        }
    }

    /// Half of a handshake message behind the handshake: rustls keeps a place in the input, which every later call must show again.
    #[tokio::test]
    async fn writing_while_a_handshake_message_is_incomplete_is_safe() {
        let configs = configs(&rustls::version::TLS13);
        let (near, far) = duplex(100_000);
        let mut server = TlsConnection::new(far, Arc::clone(&configs.server)).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let client = TlsConnector::from(Arc::clone(&configs.client)).connect(name, near);
        let (client, done) = tokio::join!(client, poll_fn(|cx| server.poll_handshake(cx)));
        done.unwrap();
        let (mut wire, mut connection) = client.unwrap().into_inner();
        let mut record = Vec::new();
        connection.refresh_traffic_keys().unwrap();
        connection.write_tls(&mut record).unwrap();
        for byte in &record {
            wire.write_all(&[*byte]).await.unwrap();
            let mut one = [0];
            let read = tokio::time::timeout(Duration::ZERO, server.read(&mut one)).await;
            assert!(read.is_err(), "no data came");
            server.write_all(b"x").await.unwrap();
            server.flush().await.unwrap();
        }
    }
}
