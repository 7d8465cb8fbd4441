//! The TLS handshake, within a deadline.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls;

use super::connection::{PlainHttp, TlsConnection};
use super::{ServerConfig, Stream, words};
use crate::close::CloseReason;

/// A handshake that failed. The text is for logs; it may quote the peer.
#[derive(Debug)]
pub struct Failure {
    /// Which kind of end this is.
    pub reason: CloseReason,
    /// What exactly went wrong.
    pub detail: String,
    /// The connection, where it can still carry an answer: whoever has failed is to be left a moment to read that.
    pub tcp: Option<TcpStream>,
}

/// Performs the handshake. A client that speaks plain HTTP gets a readable answer.
pub async fn accept(tcp: TcpStream, config: Arc<ServerConfig>, limit: Duration) -> Result<Stream, Failure> {
    let failure = |reason, detail, tcp| Failure { reason, detail, tcp };
    Err(match timeout(limit, handshake(tcp, config)).await {
        Ok(Ok(connection)) => return Ok(Stream::tls(connection)),
        Ok(Err(Broken::Refused(error))) => failure(CloseReason::TlsFailed, error.to_string(), None),
        Ok(Err(Broken::Http(mut tcp))) => {
            // Whether it arrives is up to the client; a socket that nothing was written to has room for it.
            drop(tcp.write_all(plain_http_answer().as_bytes()).await);
            failure(CloseReason::PlainHttp, String::new(), Some(tcp))
        }
        Ok(Err(Broken::Tls(error, tcp))) => {
            use std::io::ErrorKind as K;
            let left = matches!(
                error.kind(),
                K::UnexpectedEof | K::ConnectionReset | K::BrokenPipe
            );
            let reason = if left {
                CloseReason::ClientLeft
            } else {
                CloseReason::TlsFailed
            };
            failure(reason, words::of_peer(error).to_string(), Some(tcp))
        }
        Err(_) => failure(CloseReason::TlsTimeout, String::new(), None),
    })
}

/// How a handshake can fail, with the socket where it can still carry an answer.
enum Broken {
    Http(TcpStream),
    Tls(std::io::Error, TcpStream),
    Refused(rustls::Error),
}

async fn handshake(tcp: TcpStream, config: Arc<ServerConfig>) -> Result<Box<TlsConnection>, Broken> {
    let mut connection = Box::new(TlsConnection::new(tcp, config).map_err(Broken::Refused)?);
    match poll_fn(|cx| connection.poll_handshake(cx)).await {
        Ok(()) => Ok(connection),
        Err(error) if error.get_ref().is_some_and(|error| error.is::<PlainHttp>()) => {
            Err(Broken::Http(connection.into_io()))
        }
        Err(error) => Err(Broken::Tls(error, connection.into_io())),
    }
}

fn plain_http_answer() -> String {
    let text = CloseReason::PlainHttp.row().text;
    format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}\n",
        text.len() + 1
    )
}
