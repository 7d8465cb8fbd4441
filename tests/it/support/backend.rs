//! A backend that does what the test says.

use std::io::ErrorKind;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::soon;

/// A listening backend.
pub struct Backend {
    listener: TcpListener,
    pub address: SocketAddr,
}

impl Backend {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { listener, address }
    }

    /// A backend that sends everything back, on every connection, until the test is over; its address.
    pub async fn echo() -> SocketAddr {
        let Self { listener, address } = Self::start().await;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.into_split();
                    // The test ends it one way or another.
                    drop(tokio::io::copy(&mut read, &mut write).await);
                });
            }
        });
        address
    }

    /// The connection that sealock makes.
    pub async fn accept(&self) -> TcpStream {
        soon("sealock's connection", self.listener.accept())
            .await
            .unwrap()
            .0
    }
}

/// Ends a connection with a reset.
pub fn reset(stream: TcpStream) {
    stream.set_zero_linger().unwrap();
}

/// Writes until the other side has gone; returns the error that told so.
pub async fn flood(mut stream: impl AsyncWrite + Unpin, bytes: &[u8]) -> ErrorKind {
    loop {
        if let Err(error) = stream.write_all(bytes).await {
            return error.kind();
        }
    }
}

/// Reads exactly this many bytes.
pub async fn read(stream: &mut TcpStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    soon("bytes at the backend", stream.read_exact(&mut bytes))
        .await
        .unwrap();
    bytes
}

/// Reads to the end of the stream; the error of a reset is given back.
pub async fn read_to_end(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match soon("the end at the backend", stream.read(&mut chunk)).await? {
            0 => return Ok(bytes),
            got => bytes.extend_from_slice(&chunk[..got]),
        }
    }
}

/// Writes all of it.
pub async fn write(stream: &mut TcpStream, bytes: &[u8]) {
    soon("room at the backend", stream.write_all(bytes))
        .await
        .unwrap();
}
