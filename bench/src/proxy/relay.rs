//! The floor: copies bytes between two TCP connections and does nothing else, as cheaply as one thread of tokio can.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

use crate::Result;

/// What is read at once; of the thread, as no connection needs it while it waits.
const WINDOW: usize = 256 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; WINDOW]);
}

/// Relays until it is ended by a signal.
pub(crate) async fn relay(backend: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on tcp://{}", listener.local_addr()?);
    let accept = async {
        loop {
            let (client, _) = listener.accept().await?;
            spawn_local(async move {
                // An end in disorder is the end all the same.
                drop(pass(client, backend).await);
            });
        }
    };
    LocalSet::new().run_until(accept).await
}

async fn pass(mut client: TcpStream, backend: SocketAddr) -> io::Result<()> {
    let mut backend = TcpStream::connect(backend).await?;
    client.set_nodelay(true)?;
    backend.set_nodelay(true)?;
    let (mut up, mut down) = (Direction::default(), Direction::default());
    poll_fn(|cx| {
        let up = up.poll(cx, &mut client, &mut backend)?;
        let down = down.poll(cx, &mut backend, &mut client)?;
        if up.is_ready() && down.is_ready() {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    })
    .await
}

/// One direction of a connection.
#[derive(Default)]
struct Direction {
    /// What the sink did not take.
    left: Vec<u8>,
    read_end: bool,
    ended: bool,
}

impl Direction {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut TcpStream,
        to: &mut TcpStream,
    ) -> Poll<io::Result<()>> {
        while !self.ended {
            while !self.left.is_empty() {
                let count = ready!(Pin::new(&mut *to).poll_write(cx, &self.left))?;
                self.left.drain(..count);
            }
            self.left = Vec::new();
            if self.read_end {
                ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                self.ended = true;
            } else {
                ready!(self.step(cx, from, to))?;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once and writes it.
    fn step(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut TcpStream,
        to: &mut TcpStream,
    ) -> Poll<io::Result<()>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(from).poll_read(cx, &mut buffer))?;
            let mut bytes = buffer.filled();
            self.read_end = bytes.is_empty();
            while !bytes.is_empty() {
                match Pin::new(&mut *to).poll_write(cx, bytes) {
                    Poll::Ready(count) => bytes = &bytes[count?..],
                    Poll::Pending => {
                        self.left = bytes.to_vec();
                        break;
                    }
                }
            }
            Poll::Ready(Ok(()))
        })
    }
}
