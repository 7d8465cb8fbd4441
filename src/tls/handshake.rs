//! The TLS handshake, within a deadline.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connection::TlsConnection;
use super::{ServerConfig, Stream};
use crate::close::CloseReason;

/// A handshake that failed. The text is for logs; it may quote the peer.
#[derive(Debug)]
pub struct Failure {
    /// Which kind of end this is.
    pub reason: CloseReason,
    /// What exactly went wrong.
    pub detail: String,
}

/// Performs the handshake. A client that speaks plain HTTP gets a readable answer.
pub async fn accept(
    mut tcp: TcpStream,
    config: Arc<ServerConfig>,
    limit: Duration,
) -> Result<Stream, Failure> {
    let handshake = async {
        if speaks_http(&tcp).await {
            let answer = plain_http_answer();
            // Whether it arrives is up to the client.
            drop(tcp.write_all(answer.as_bytes()).await);
            crate::io::linger(&mut tcp).await;
            return Err(Failure {
                reason: CloseReason::PlainHttp,
                detail: String::new(),
            });
        }
        let mut connection = Box::new(TlsConnection::new(tcp, config).map_err(|error| failed(&error))?);
        match poll_fn(|cx| connection.poll_handshake(cx)).await {
            Ok(()) => Ok(Stream::tls(connection)),
            Err(error) if is_gone(&error) => Err(Failure {
                reason: CloseReason::ClientLeft,
                detail: error.to_string(),
            }),
            Err(error) => {
                // The alert has been written; it must outlive what the client still sends.
                crate::io::linger(&mut connection.into_io()).await;
                Err(failed(&error))
            }
        }
    };
    let late = || {
        Err(Failure {
            reason: CloseReason::TlsTimeout,
            detail: String::new(),
        })
    };
    timeout(limit, handshake).await.unwrap_or_else(|_| late())
}

fn failed(error: &dyn std::fmt::Display) -> Failure {
    Failure {
        reason: CloseReason::TlsFailed,
        detail: error.to_string(),
    }
}

fn is_gone(error: &std::io::Error) -> bool {
    use std::io::ErrorKind as K;
    matches!(
        error.kind(),
        K::UnexpectedEof | K::ConnectionReset | K::BrokenPipe
    )
}

/// True when the first byte is that of an HTTP method; a TLS record starts with 22 (RFC 8446 §5.1).
async fn speaks_http(tcp: &TcpStream) -> bool {
    let mut first = [0];
    matches!(tcp.peek(&mut first).await, Ok(1)) && first[0].is_ascii_uppercase()
}

fn plain_http_answer() -> String {
    let text = CloseReason::PlainHttp.row().text;
    format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}\n",
        text.len() + 1
    )
}
