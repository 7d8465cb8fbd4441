//! A TLS connection on rustls' unbuffered API: no buffer at rest, one large read, one seal and one write at a time.
//!
//! rustls' buffered API (and so tokio-rustls) reads at most 4 KiB a call and keeps a buffer with each connection. Here ciphertext is
//! read into a scratch buffer of the thread, opened there, and handed out; plaintext is sealed into another scratch buffer and written
//! from there. A session keeps only what is left over: part of a record that has not come whole, ciphertext that the socket did not
//! take, plaintext that the reader had no room for. All three are empty when nothing is under way.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::rustls::server::UnbufferedServerConnection;
use tokio_rustls::rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use tokio_rustls::rustls::{self, ServerConfig};

/// The most plaintext that is sealed at once.
const MAX_SEAL: usize = 256 * 1024;
/// The most ciphertext that is read at once.
const MAX_READ: usize = 256 * 1024;
/// The least, so that a record that is almost whole does not make for tiny reads.
const MIN_READ: usize = 4 * 1024;
/// Room for what an earlier read left: a record, or a handshake message of up to 64 KiB in pieces.
const MAX_LEFT: usize = 96 * 1024;

struct Scratch {
    incoming: Vec<u8>,
    sealed: Sealed,
}

/// Ciphertext in the making. The buffer stays initialised, so that reusing it costs nothing.
#[derive(Default)]
struct Sealed {
    buf: Vec<u8>,
    len: usize,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        incoming: vec![0; MAX_LEFT + MAX_READ],
        sealed: Sealed { buf: vec![0; MAX_SEAL + 16 * 1024], len: 0 },
    });
}

/// A server's side of a TLS connection over TCP.
pub(super) struct Session {
    tcp: TcpStream,
    conn: UnbufferedServerConnection,
    /// Ciphertext that is not a whole record yet.
    incoming: Vec<u8>,
    /// Plaintext that the reader had no room for.
    plain: Vec<u8>,
    /// Ciphertext that the socket has not taken; `pending[sent..]`.
    pending: Vec<u8>,
    sent: usize,
    /// The peer's close_notify has come.
    peer_closed: bool,
    /// Ours has been sealed.
    notified: bool,
}

/// What to do when application data may be written.
enum Goal<'a> {
    Nothing,
    Seal(&'a [u8]),
    Notify,
}

impl Sealed {
    fn room(&mut self, needed: usize) -> &mut [u8] {
        if self.buf.len() - self.len < needed {
            self.buf.resize(self.len + needed, 0);
        }
        &mut self.buf[self.len..]
    }
}

impl Session {
    /// A connection whose handshake has not begun.
    pub(super) fn new(tcp: TcpStream, config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        Ok(Self {
            tcp,
            conn: UnbufferedServerConnection::new(config)?,
            incoming: Vec::new(),
            plain: Vec::new(),
            pending: Vec::new(),
            sent: 0,
            peer_closed: false,
            notified: false,
        })
    }

    pub(super) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// The socket, for a connection whose TLS has failed.
    pub(super) fn into_tcp(self) -> TcpStream {
        self.tcp
    }

    /// Ciphertext that the socket has not taken.
    pub(super) fn backlog(&self) -> usize {
        self.pending.len() - self.sent
    }

    /// The TLS version and cipher suite.
    pub(super) fn protocol(&self) -> Option<(&'static str, &'static str)> {
        let version = self.conn.protocol_version()?.as_str()?;
        let suite = self.conn.negotiated_cipher_suite()?.suite().as_str()?;
        Some((version, suite))
    }

    /// Performs the handshake, up to and with the last byte of it that we send.
    pub(super) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_send(cx))?;
            if !self.conn.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            let mut plain = std::mem::take(&mut self.plain);
            let read = self.poll_open(cx, MAX_LEFT, &mut |data| plain.extend_from_slice(data));
            self.plain = plain;
            let got = match read {
                Poll::Ready(got) => got?,
                Poll::Pending => return Poll::Pending,
            };
            if got == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Reads ciphertext (at most `limit` bytes or so) and opens what is whole. Tells how much ciphertext came: 0 at its end.
    fn poll_open(
        &mut self,
        cx: &mut Context<'_>,
        limit: usize,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Poll<io::Result<usize>> {
        SCRATCH.with_borrow_mut(|Scratch { incoming, sealed }| {
            let left = self.incoming.len();
            if left > MAX_LEFT {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "endless TLS message")));
            }
            incoming[..left].copy_from_slice(&self.incoming);
            let most = limit.saturating_sub(left).clamp(MIN_READ, MAX_READ);
            let mut buf = ReadBuf::new(&mut incoming[left..left + most]);
            ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut buf))?;
            let got = buf.filled().len();
            let input = &mut incoming[..left + got];
            let result = self.turn(input, sealed, &mut Goal::Nothing, sink);
            let used = result.as_ref().map_or(input.len(), |used| *used);
            self.incoming = input[used..].to_vec();
            let sent = self.poll_write_sealed(cx, sealed);
            result.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            sent?;
            Poll::Ready(Ok(got))
        })
    }

    /// Lets rustls work on `input` until it has nothing more to do; tells how much of it was used. A goal that was reached is taken
    /// away. The whole of what was left before
    /// must be shown each time: rustls may have looked at the start of a message already.
    fn turn(
        &mut self,
        input: &mut [u8],
        sealed: &mut Sealed,
        goal: &mut Goal<'_>,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<usize, rustls::Error> {
        let mut used = 0;
        let mut failure = None;
        loop {
            let UnbufferedStatus { mut discard, state, .. } = self.conn.process_tls_records(&mut input[used..]);
            let done = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        sink(record.payload);
                    }
                    false
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    loop {
                        let needed = match data.encode(sealed.room(1)) {
                            Ok(count) => {
                                sealed.len += count;
                                break;
                            }
                            Err(EncodeError::InsufficientSize(size)) => size.required_size,
                            Err(EncodeError::AlreadyEncoded) => break,
                        };
                        sealed.room(needed);
                    }
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
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    let result = match std::mem::replace(goal, Goal::Nothing) {
                        Goal::Nothing => Ok(0),
                        Goal::Seal(data) => seal(sealed, |room| traffic.encrypt(data, room)),
                        Goal::Notify => seal(sealed, |room| traffic.queue_close_notify(room)),
                    };
                    sealed.len += result?;
                    true
                }
                Ok(_) => true,
                Err(error) => {
                    // Once more, for the alert that tells the peer.
                    let again = failure.is_none();
                    failure = Some(error);
                    used += discard;
                    if again {
                        continue;
                    }
                    true
                }
            };
            used += discard;
            if done {
                return failure.map_or(Ok(used), Err);
            }
        }
    }

    /// Writes what was sealed; what the socket does not take becomes pending.
    fn poll_write_sealed(&mut self, cx: &mut Context<'_>, sealed: &mut Sealed) -> io::Result<()> {
        let bytes = &sealed.buf[..std::mem::take(&mut sealed.len)];
        let mut done = 0;
        if self.pending.is_empty() {
            while done < bytes.len() {
                match Pin::new(&mut self.tcp).poll_write(cx, &bytes[done..]) {
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

    /// Writes what is pending.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.pending.len() {
            match ready!(Pin::new(&mut self.tcp).poll_write(cx, &self.pending[self.sent..]))? {
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

    fn poll_seal(&mut self, cx: &mut Context<'_>, mut goal: Goal<'_>) -> io::Result<()> {
        SCRATCH.with_borrow_mut(|Scratch { sealed, .. }| {
            let mut input = std::mem::take(&mut self.incoming);
            let mut plain = std::mem::take(&mut self.plain);
            let result = self.turn(&mut input, sealed, &mut goal, &mut |data| plain.extend_from_slice(data));
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

/// Seals into as much room as it takes.
fn seal(
    sealed: &mut Sealed,
    mut action: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
) -> Result<usize, rustls::Error> {
    loop {
        match action(sealed.room(1)) {
            Ok(count) => return Ok(count),
            Err(EncryptError::InsufficientSize(size)) => {
                sealed.room(size.required_size);
            }
            Err(EncryptError::EncryptExhausted) => return Err(rustls::Error::EncryptError),
        }
    }
}

impl AsyncRead for Session {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Answers of TLS itself, such as to a key update, wait for no write of ours. Not being able to send is no reason not to read.
        if let Poll::Ready(Err(error)) = this.poll_send(cx) {
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
        let before = buf.filled().len();
        while !this.peer_closed {
            let mut plain = Vec::new();
            let got = ready!(this.poll_open(cx, buf.remaining(), &mut |data| {
                let take = data.len().min(buf.remaining());
                buf.put_slice(&data[..take]);
                plain.extend_from_slice(&data[take..]);
            }))?;
            this.plain = plain;
            if buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
            if got == 0 && !this.peer_closed {
                let error = io::Error::new(io::ErrorKind::UnexpectedEof, "the stream ended without close_notify");
                return Poll::Ready(Err(error));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Session {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        if this.notified {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let data = &data[..data.len().min(MAX_SEAL)];
        this.poll_seal(cx, Goal::Seal(data))?;
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        if !this.notified {
            this.notified = true;
            this.poll_seal(cx, Goal::Notify)?;
            ready!(this.poll_send(cx))?;
        }
        Pin::new(&mut this.tcp).poll_shutdown(cx)
    }
}
