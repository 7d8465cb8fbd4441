//! What the bridge needs of a connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::FutureExt;
use rustix::net::SendFlags;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest};
use tokio::time::timeout;

/// How long a refused client may still send before its connection is dropped.
pub const LINGER: Duration = Duration::from_secs(2);
/// The same where descriptors are short, and others wait for the one that it has.
pub const BRIEF_LINGER: Duration = Duration::from_millis(100);
/// How much it may send.
const LINGER_BYTES: usize = 4 * 1024 * 1024;

/// A byte stream that can also be reset.
pub trait Connection: AsyncRead + AsyncWrite + Unpin {
    /// Makes the coming drop of this connection a reset (RST) instead of an orderly end, where the transport knows the difference.
    fn reset_on_drop(&self);

    /// Bytes that were taken by a write and have not been handed to the system yet.
    fn backlog(&self) -> usize {
        0
    }

    /// Memory that it keeps for bytes on their way, in either direction.
    fn held_memory(&self) -> usize {
        0
    }

    /// True when the peer has ended its direction, or the connection is gone, though there may be bytes from before to be read.
    fn has_ended(&self) -> bool {
        false
    }

    /// Writes as `poll_write` does, where the end of the stream follows: the transport may keep what it is given for `poll_shutdown`,
    /// so that both leave together.
    fn poll_write_last(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write(cx, data)
    }
}

/// Ends a connection so that the last answer arrives: sends the end of the stream, then reads what still comes and drops it: for
/// `patience` at most, that end included, and 4 MiB at most. Without this, unread input would turn the close into a reset, which can overtake the answer and destroy it.
pub async fn linger<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, patience: Duration) {
    let drain = async {
        if stream.shutdown().await.is_err() {
            return;
        }
        let mut left = LINGER_BYTES;
        // On the heap: an array would be part of every connection's task, lingering or not.
        let mut scratch = vec![0; 4096];
        while let Ok(got @ 1..) = stream.read(&mut scratch).await {
            left = left.saturating_sub(got);
            if left == 0 {
                return;
            }
        }
    };
    // Either way the connection is over.
    timeout(patience, drain).await.unwrap_or_default();
}

impl Connection for tokio::io::DuplexStream {
    fn reset_on_drop(&self) {}
}

impl Connection for tokio::net::TcpStream {
    fn reset_on_drop(&self) {
        // Fails only on a socket that is gone already.
        drop(self.set_zero_linger());
    }

    fn has_ended(&self) -> bool {
        // No socket has this kind of data registered: what is left of the interest is the end of the stream.
        let ended = self.ready(Interest::PRIORITY).now_or_never();
        ended.is_some_and(|ready| ready.is_ok_and(|ready| ready.is_read_closed()))
    }

    fn poll_write_last(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_write_ready(cx))?;
            let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
            let sent = self.try_io(Interest::WRITABLE, || Ok(rustix::net::send(&*self, data, flags)?));
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }
}

impl Connection for tokio::net::UnixStream {
    fn reset_on_drop(&self) {
        // A unix socket has no reset: its peer sees the end of the stream.
    }
}
