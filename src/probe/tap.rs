//! Looks along while tungstenite reads, for the Close frame as it stands on the wire.
//!
//! tungstenite gives a code that it does not know (1012 to 1014 are registered since) another name, 1002. A tool that is asked why a
//! connection ended must not.

use std::io::{self, Cursor};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, OpCode};

/// A stream whose incoming frames are followed.
#[derive(Debug)]
pub(super) struct Tap<S> {
    stream: S,
    follow: Follow,
}

/// Follows an HTTP head and the frames behind it.
#[derive(Debug, Default)]
struct Follow {
    /// How much of the blank line that ends the head has been seen, and then all of it.
    blank: usize,
    /// An incomplete frame header, or the payload of a Close frame so far.
    kept: Vec<u8>,
    /// Bytes of payload still to come.
    payload: u64,
    in_close: bool,
    close: Option<(u16, String)>,
}

const BLANK: &[u8] = b"\r\n\r\n";

impl<S> Tap<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            follow: Follow::default(),
        }
    }

    /// The code and reason of the Close frame that came.
    pub(super) fn close(&self) -> Option<(u16, &str)> {
        self.follow
            .close
            .as_ref()
            .map(|(code, reason)| (*code, reason.as_str()))
    }
}

impl Follow {
    fn see(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.blank < BLANK.len() {
                // Starting over with a '\r' is enough: the blank line has no other way to overlap itself.
                self.blank = if byte == BLANK[self.blank] {
                    self.blank + 1
                } else {
                    usize::from(byte == b'\r')
                };
                bytes = rest;
            } else if self.payload > 0 {
                let take = bytes
                    .len()
                    .min(usize::try_from(self.payload).unwrap_or(usize::MAX));
                if self.in_close {
                    self.kept.extend_from_slice(&bytes[..take]);
                }
                self.payload -= take as u64;
                bytes = &bytes[take..];
            } else {
                self.kept.push(byte);
                bytes = rest;
                if let Ok(Some((header, len))) = FrameHeader::parse(&mut Cursor::new(&self.kept)) {
                    self.kept.clear();
                    self.payload = len;
                    self.in_close = header.opcode == OpCode::Control(Control::Close);
                }
            }
            if self.in_close && self.payload == 0 {
                self.in_close = false;
                let payload = std::mem::take(&mut self.kept);
                if let Some((code, reason)) = payload.split_first_chunk() {
                    let reason = String::from_utf8_lossy(reason).into_owned();
                    self.close = Some((u16::from_be_bytes(*code), reason));
                }
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        this.follow.see(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::Follow;

    #[test]
    fn the_close_frame_is_found_however_the_stream_is_cut() {
        let stream = b"HTTP/1.1 101 OK\r\nA: b\r\n\r\n\x81\x02hi\x82\x00\x82\x7E\x01\x00".to_vec();
        let stream = [stream, vec![0x88; 256], b"\x88\x06\x03\xF6lost".to_vec()].concat();
        for size in 1..stream.len() {
            let mut follow = Follow::default();
            for piece in stream.chunks(size) {
                follow.see(piece);
            }
            assert_eq!(follow.close, Some((1014, "lost".into())), "by {size}");
        }
    }
}
