//! A client's connection, with TLS or in the clear.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::connection::TlsConnection;
use crate::io::Connection;

/// A client's connection, with TLS or in the clear.
pub struct Stream(Inner);

enum Inner {
    /// Boxed: most of its size is state that the data path does not touch.
    Tls(Box<TlsConnection>),
    Plain(TcpStream),
}

impl Stream {
    pub(super) fn tls(connection: Box<TlsConnection>) -> Self {
        Self(Inner::Tls(connection))
    }

    /// A connection in the clear.
    pub fn plain(tcp: TcpStream) -> Self {
        Self(Inner::Plain(tcp))
    }

    /// The TLS version and cipher suite, for logs.
    pub fn protocol(&self) -> Option<(&'static str, &'static str)> {
        match &self.0 {
            Inner::Tls(connection) => connection.protocol(),
            Inner::Plain(_) => None,
        }
    }
}

impl Connection for Stream {
    fn reset_on_drop(&self) {
        match &self.0 {
            Inner::Tls(connection) => connection.io().reset_on_drop(),
            Inner::Plain(stream) => stream.reset_on_drop(),
        }
    }

    fn has_ended(&self) -> bool {
        match &self.0 {
            Inner::Tls(connection) => connection.io().has_ended(),
            Inner::Plain(stream) => stream.has_ended(),
        }
    }

    fn backlog(&self) -> usize {
        match &self.0 {
            Inner::Tls(connection) => connection.backlog(),
            Inner::Plain(_) => 0,
        }
    }

    fn held_memory(&self) -> usize {
        match &self.0 {
            Inner::Tls(connection) => connection.held_memory(),
            Inner::Plain(_) => 0,
        }
    }

    fn poll_write_last(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Inner::Tls(connection) => connection.poll_write_last(cx, data),
            Inner::Plain(stream) => Pin::new(stream).poll_write_last(cx, data),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Inner::Tls(connection) => Pin::new(&mut **connection).poll_read(cx, buf),
            Inner::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().0 {
            Inner::Tls(connection) => Pin::new(&mut **connection).poll_write(cx, buf),
            Inner::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Inner::Tls(connection) => Pin::new(&mut **connection).poll_flush(cx),
            Inner::Plain(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().0 {
            Inner::Tls(connection) => Pin::new(&mut **connection).poll_shutdown(cx),
            Inner::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
