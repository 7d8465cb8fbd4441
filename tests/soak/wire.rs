//! The soak's own end of a connection. Whatever comes is a result: here, nothing that sealock does is a panic.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::accounts::Books;
use crate::support::{CLOSE, PING, PONG, Request, frame};

/// Nothing that must come takes longer.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What a client was told at last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The connection ended, or was reset, without a word.
    Nothing,
    /// An answer instead of the 101.
    Status(u16),
    /// A Close frame. 1005 is one without a code.
    Close(u16),
}

/// A frame from sealock.
#[derive(Debug)]
pub struct Frame {
    pub fin: bool,
    pub opcode: u8,
    pub payload: Vec<u8>,
}

/// How to connect.
#[derive(Clone)]
pub enum Security {
    Plain,
    /// Asking for this name.
    Tls(Arc<ClientConfig>, &'static str),
}

/// One connection. Its halves can be used at once.
pub struct Connection {
    /// Its own address, which is what its record in the log is found by.
    pub address: SocketAddr,
    pub reader: Pin<Box<dyn AsyncRead + Send>>,
    pub writer: Pin<Box<dyn AsyncWrite + Send>>,
    pub buffer: BytesMut,
}

/// An address of loopback for the next client. Each has one of its own, so that limits for one client see many, and records
/// in the
/// log are told apart.
pub fn next_client() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed) % 0xC6_0000;
    Ipv4Addr::from_bits(0x7F01_0000 + number)
}

/// A connection from this address, which is in the books from then on. `vanishes`: its end will be a reset.
pub async fn tcp(books: &Books, from: Ipv4Addr, to: SocketAddr, vanishes: bool) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    books.open(socket.local_addr()?);
    let stream = within(socket.connect(to)).await?;
    stream.set_nodelay(true)?;
    if vanishes {
        stream.set_zero_linger()?;
    }
    Ok(stream)
}

/// What must come in time.
pub async fn within<T>(event: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(PATIENCE, event)
        .await
        .unwrap_or_else(|_| Err(io::Error::new(ErrorKind::TimedOut, "nothing came")))
}

impl Connection {
    /// One in the clear, or the bare connection under a TLS that is not going to be.
    pub fn plain(stream: TcpStream) -> Self {
        let address = stream.local_addr().unwrap();
        let (reader, writer) = stream.into_split();
        Self {
            address,
            reader: Box::pin(reader),
            writer: Box::pin(writer),
            buffer: BytesMut::new(),
        }
    }

    /// The same after a TLS handshake, where there is to be one.
    pub async fn secure(stream: TcpStream, security: &Security) -> io::Result<Self> {
        let Security::Tls(config, name) = security else {
            return Ok(Self::plain(stream));
        };
        let address = stream.local_addr()?;
        let name = ServerName::try_from(*name).unwrap();
        let stream = within(TlsConnector::from(Arc::clone(config)).connect(name, stream)).await?;
        let (reader, writer) = tokio::io::split(stream);
        Ok(Self {
            address,
            reader: Box::pin(reader),
            writer: Box::pin(writer),
            buffer: BytesMut::new(),
        })
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        within(async {
            self.writer.write_all(bytes).await?;
            self.writer.flush().await
        })
        .await
    }

    /// Sends a request and reads the answer: a status that is not 101 comes with its body.
    pub async fn request(&mut self, request: &Request) -> io::Result<(u16, String)> {
        self.send(&request.bytes()).await?;
        self.answer().await
    }

    /// Reads an answer.
    pub async fn answer(&mut self) -> io::Result<(u16, String)> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            if within(self.reader.read_buf(&mut self.buffer)).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        };
        let head = self.buffer.split_to(end);
        let status = head
            .get(9..12)
            .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok())
            .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "no answer of HTTP"))?;
        if status != 101 {
            // What has come counts, also where a reset follows.
            while let Ok(1..) = within(self.reader.read_buf(&mut self.buffer)).await {}
        }
        let body = if status == 101 { &[][..] } else { &self.buffer[..] };
        Ok((status, String::from_utf8_lossy(body).into_owned()))
    }

    /// The next frame; none at the end of the stream. Nothing is lost when it is cancelled.
    pub async fn frame(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = take_frame(&mut self.buffer)? {
                return Ok(Some(frame));
            }
            if self.reader.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Reads on to the end, and answers the Close frame and nothing else. What was told, and how many messages came before it.
    pub async fn read_to_end(&mut self) -> (Told, u64) {
        let (mut told, mut messages) = (Told::Nothing, 0);
        let start = Instant::now();
        while let Ok(Some(got)) = within(self.frame()).await {
            if start.elapsed() > PATIENCE {
                break;
            }
            match got.opcode {
                CLOSE if told == Told::Nothing => {
                    told = Told::Close(close_code(&got.payload));
                    // sealock may have ended the stream already.
                    drop(self.send(&frame(true, CLOSE, &got.payload)).await);
                }
                PING | PONG | CLOSE => {}
                _ if got.fin => messages += 1,
                _ => {}
            }
        }
        (told, messages)
    }
}

/// The code of a Close frame.
pub fn close_code(payload: &[u8]) -> u16 {
    match payload {
        [high, low, ..] => u16::from_be_bytes([*high, *low]),
        _ => 1005,
    }
}

/// Takes a frame off the buffer, if all of it is there.
pub fn take_frame(buffer: &mut BytesMut) -> io::Result<Option<Frame>> {
    let [first, second, rest @ ..] = &buffer[..] else {
        return Ok(None);
    };
    let (first, second) = (*first, *second);
    if first & 0x70 != 0 || second & 0x80 != 0 {
        return Err(io::Error::new(
            ErrorKind::InvalidData,
            "no frame that a server may send",
        ));
    }
    let (header, len) = match (second, rest) {
        (126, [a, b, ..]) => (4, usize::from(u16::from_be_bytes([*a, *b]))),
        (127, [a, b, c, d, e, f, g, h, ..]) => {
            let len = u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
            (10, len as usize)
        }
        (126 | 127, _) => return Ok(None),
        (len, _) => (2, usize::from(len)),
    };
    if buffer.len() < header + len {
        buffer.reserve(header + len - buffer.len());
        return Ok(None);
    }
    buffer.advance(header);
    Ok(Some(Frame {
        fin: first & 0x80 != 0,
        opcode: first & 0x0F,
        payload: buffer.split_to(len).to_vec(),
    }))
}
