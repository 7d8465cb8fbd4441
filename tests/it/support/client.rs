//! A WebSocket client that writes exactly what it is told, right or wrong, and reads frames as they are.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, WriteHalf};

use super::{connect, soon, tls_connect};

pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// Any stream.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// An opening handshake to be sent.
pub struct Request {
    pub line: String,
    pub headers: Vec<(String, String)>,
}

/// What came instead of a 101.
#[derive(Debug)]
pub struct Refusal {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// An open WebSocket.
pub struct Client {
    pub stream: Box<dyn Stream>,
    /// The head of the 101.
    pub head: String,
}

/// A frame from the server.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub fin: bool,
    pub opcode: u8,
    pub payload: Vec<u8>,
}

impl Frame {
    /// A control frame.
    pub fn control(opcode: u8, payload: &[u8]) -> Self {
        Self {
            fin: true,
            opcode,
            payload: payload.to_vec(),
        }
    }

    /// A Close frame; 1005 stands for one that says nothing.
    pub fn close(code: u16, reason: &str) -> Self {
        let code = if code == 1005 {
            vec![]
        } else {
            code.to_be_bytes().to_vec()
        };
        Self::control(CLOSE, &[&code, reason.as_bytes()].concat())
    }
}

impl Request {
    /// A correct handshake for a path.
    pub fn get(path: &str) -> Self {
        let headers = [
            ("Host", "localhost"),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        Self {
            line: format!("GET {path} HTTP/1.1"),
            headers: headers
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        }
    }

    /// Sets a header, in place of the one that is there.
    pub fn set(self, name: &str, value: &str) -> Self {
        self.without(name).add(name, value)
    }

    /// Adds a header line.
    pub fn add(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Leaves a header out.
    pub fn without(mut self, name: &str) -> Self {
        self.headers
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self
    }

    /// The bytes on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let headers: String = self
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        format!("{}\r\n{headers}\r\n", self.line).into_bytes()
    }

    /// Sends it in the clear.
    pub async fn plain(&self, address: SocketAddr) -> Result<Client, Refusal> {
        self.over(Box::new(connect(address).await), &[]).await
    }

    /// Sends it with TLS.
    pub async fn tls(&self, address: SocketAddr) -> Result<Client, Refusal> {
        self.over(Box::new(tls_connect(address).await), &[]).await
    }

    /// Sends it, with bytes right behind it, and reads the answer.
    pub async fn over(&self, mut stream: Box<dyn Stream>, behind: &[u8]) -> Result<Client, Refusal> {
        let mut bytes = self.bytes();
        bytes.extend_from_slice(behind);
        stream.write_all(&bytes).await.unwrap();
        answer(stream).await
    }
}

/// Reads an HTTP answer.
pub async fn answer(mut stream: Box<dyn Stream>) -> Result<Client, Refusal> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = soon("an HTTP answer", stream.read_u8()).await;
        head.push(byte.unwrap_or_else(|error| panic!("{error} after {:?}", String::from_utf8_lossy(&head))));
    }
    let head = String::from_utf8(head).unwrap();
    let status = head[9..12].parse().unwrap();
    if status == 101 {
        return Ok(Client { stream, head });
    }
    let mut body = String::new();
    // Some answers end with a reset; what came before it counts.
    drop(soon("an HTTP body", stream.read_to_string(&mut body)).await);
    Err(Refusal { status, head, body })
}

impl Refusal {
    /// The value of a header of the answer.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find_map(|(known, value)| known.eq_ignore_ascii_case(name).then_some(value.trim()))
}

/// A client's frame, masked.
pub fn frame(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x12, 0x34, 0x56, 0x78];
    let mut bytes = vec![if fin { 0x80 | opcode } else { opcode }];
    match payload.len() {
        len @ 0..126 => bytes.push(0x80 | len as u8),
        len @ 126..0x1_0000 => {
            bytes.push(0x80 | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(0x80 | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    bytes
}

impl Client {
    /// A correct connection in the clear.
    pub async fn plain(address: SocketAddr, path: &str) -> Self {
        Request::get(path)
            .plain(address)
            .await
            .unwrap_or_else(|refusal| panic!("{refusal:?}"))
    }

    /// A correct connection with TLS.
    pub async fn tls(address: SocketAddr, path: &str) -> Self {
        Request::get(path)
            .tls(address)
            .await
            .unwrap_or_else(|refusal| panic!("{refusal:?}"))
    }

    /// The value of a header of the 101.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// Sends bytes as they are.
    pub async fn raw(&mut self, bytes: &[u8]) {
        soon("room to send", self.stream.write_all(bytes)).await.unwrap();
        soon("room to send", self.stream.flush()).await.unwrap();
    }

    /// Sends a whole message.
    pub async fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.raw(&frame(true, opcode, payload)).await;
    }

    /// Sends whole messages in one write, so that they can be read at once.
    pub async fn send_all(&mut self, opcode: u8, payloads: &[impl AsRef<[u8]>]) {
        let frames: Vec<u8> = payloads
            .iter()
            .flat_map(|payload| frame(true, opcode, payload.as_ref()))
            .collect();
        self.raw(&frames).await;
    }

    /// Asserts that the next message is this one.
    pub async fn expect(&mut self, opcode: u8, payload: &[u8]) {
        let (kind, message) = self.message().await;
        assert_eq!(kind, opcode);
        assert!(
            message == payload,
            "{}\nis not\n{}",
            message.escape_ascii(),
            payload.escape_ascii()
        );
    }

    /// Sends a Close frame.
    pub async fn close(&mut self, code: u16, reason: &str) {
        let mut payload = code.to_be_bytes().to_vec();
        payload.extend(reason.bytes());
        self.send(CLOSE, &payload).await;
    }

    /// The next frame; `None` at the end of the stream (or a reset).
    pub async fn frame(&mut self) -> Option<Frame> {
        soon("a frame", self.read_frame()).await.ok()
    }

    async fn read_frame(&mut self) -> std::io::Result<Frame> {
        let [first, second] = self.stream.read_u16().await?.to_be_bytes();
        assert_eq!(first & 0x70, 0, "no reserved bits from a server");
        assert_eq!(second & 0x80, 0, "no mask from a server");
        let len = match second {
            126 => usize::from(self.stream.read_u16().await?),
            127 => self.stream.read_u64().await? as usize,
            len => usize::from(len),
        };
        let mut payload = vec![0; len];
        self.stream.read_exact(&mut payload).await?;
        Ok(Frame {
            fin: first & 0x80 != 0,
            opcode: first & 0x0F,
            payload,
        })
    }

    /// The next message, its fragments put together; pings in between are answered.
    pub async fn message(&mut self) -> (u8, Vec<u8>) {
        let mut message: Option<(u8, Vec<u8>)> = None;
        loop {
            let frame = self.frame().await.expect("a message");
            match frame.opcode {
                PING => self.send(PONG, &frame.payload).await,
                PONG => {}
                CONTINUATION => message
                    .as_mut()
                    .expect("a message to continue")
                    .1
                    .extend(frame.payload),
                CLOSE => panic!("closed: {:?}", close_payload(&frame.payload)),
                opcode => {
                    assert!(message.is_none(), "a message inside a fragmented one");
                    message = Some((opcode, frame.payload));
                }
            }
            if frame.fin && !matches!(frame.opcode, PING | PONG) {
                return message.unwrap();
            }
        }
    }

    /// Reads on to the Close frame, which must say this, and does not answer.
    pub async fn read_to_close(&mut self, code: u16, reason: &str) {
        loop {
            let frame = self.frame().await;
            let frame = frame.unwrap_or_else(|| panic!("the stream ended without Close {code}"));
            if frame.opcode == CLOSE {
                assert_eq!(close_payload(&frame.payload), (code, reason.to_owned()));
                return;
            }
        }
    }

    /// Reads on to the Close frame, which must say this, and answers it.
    pub async fn expect_close(&mut self, code: u16, reason: &str) {
        self.read_to_close(code, reason).await;
        // The server may have ended its stream by now.
        drop(
            self.stream
                .write_all(&frame(true, CLOSE, &code.to_be_bytes()))
                .await,
        );
    }

    /// Asserts that the orderly end of the stream is next: no frame, no reset, and with TLS a close_notify.
    pub async fn expect_end(&mut self) {
        let mut byte = [0];
        let end = soon("the end of the stream", self.stream.read(&mut byte)).await;
        assert!(matches!(end, Ok(0)), "{end:?} {byte:?}");
    }

    /// Asserts that this Close frame comes next, and the end of the stream behind it; then leaves without an answer.
    pub async fn expect_refusal(mut self, code: u16, reason: &str) {
        assert_eq!(self.frame().await, Some(Frame::close(code, reason)));
        self.expect_end().await;
    }

    /// Waits until sealock has sent this many pings, and answers none: how tests let time pass.
    pub async fn pings(&mut self, count: usize) {
        for _ in 0..count {
            assert_eq!(self.frame().await, Some(Frame::control(PING, b"")));
        }
    }

    /// Splits it into one half that only reads frames and one that only writes bytes.
    pub fn split(self) -> (Self, WriteHalf<Box<dyn Stream>>) {
        let (read, write) = tokio::io::split(self.stream);
        let reader = Self {
            stream: Box::new(tokio::io::join(read, tokio::io::sink())),
            head: self.head,
        };
        (reader, write)
    }
}

fn close_payload(payload: &[u8]) -> (u16, String) {
    match payload {
        [high, low, reason @ ..] => (
            u16::from_be_bytes([*high, *low]),
            String::from_utf8(reason.to_vec()).unwrap(),
        ),
        _ => (1005, String::new()),
    }
}
