//! A connection in memory, which takes and gives as much at a time as it is told.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use sealock::io::Connection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Where a stream is cut.
#[derive(Clone, Debug)]
pub struct Borders {
    sizes: Vec<usize>,
    again: bool,
    at: usize,
    /// Of the piece at hand.
    left: usize,
}

impl Borders {
    /// Nowhere.
    pub fn none() -> Self {
        Self::every([])
    }

    /// Once, behind so many bytes.
    pub fn once(at: usize) -> Self {
        Self {
            again: false,
            ..Self::every([at])
        }
    }

    /// Into pieces of these sizes, which are taken in turn; none is 0.
    pub fn every(sizes: impl IntoIterator<Item = usize>) -> Self {
        let sizes: Vec<usize> = sizes.into_iter().collect();
        let left = sizes.first().copied().unwrap_or(usize::MAX);
        Self {
            sizes,
            again: true,
            at: 0,
            left,
        }
    }

    /// True when the stream stays whole.
    pub(super) fn is_none(&self) -> bool {
        self.sizes.is_empty()
    }

    /// The smallest piece.
    pub(super) fn smallest(&self) -> usize {
        self.sizes.iter().copied().min().unwrap_or(usize::MAX)
    }

    /// How many of these bytes lie before the next border; they are taken.
    pub(super) fn next(&mut self, len: usize) -> usize {
        if self.left == 0 {
            self.at += 1;
            self.left = match self.sizes.get(self.at) {
                Some(size) => *size,
                None if self.again => {
                    self.at = 0;
                    self.sizes[0]
                }
                None => usize::MAX,
            };
        }
        let taken = len.min(self.left);
        self.left -= taken;
        taken
    }
}

/// The server's end, and a handle of the wire. Clones are the same wire.
#[derive(Clone)]
pub(super) struct Wire(Rc<RefCell<Pipe>>);

struct Pipe {
    up: VecDeque<u8>,
    ended: bool,
    down: Vec<u8>,
    borders: Borders,
    /// A border was reached: nothing more is taken until it is drained.
    stopped: bool,
}

impl Wire {
    /// A wire that stops the server at each of these borders.
    pub(super) fn new(borders: Borders) -> Self {
        Self(Rc::new(RefCell::new(Pipe {
            up: VecDeque::new(),
            ended: false,
            down: Vec::new(),
            borders,
            stopped: false,
        })))
    }

    /// Gives the server bytes to read.
    pub(super) fn feed(&self, bytes: &[u8]) {
        self.0.borrow_mut().up.extend(bytes);
    }

    /// Ends the client's stream.
    pub(super) fn end(&self) {
        self.0.borrow_mut().ended = true;
    }

    /// Takes what the server has written.
    pub(super) fn drain(&self) -> Vec<u8> {
        let mut pipe = self.0.borrow_mut();
        pipe.stopped = false;
        std::mem::take(&mut pipe.down)
    }
}

impl Connection for Wire {
    fn reset_on_drop(&self) {}
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.0.borrow_mut();
        if pipe.up.is_empty() && !pipe.ended {
            return Poll::Pending;
        }
        let len = buf.remaining().min(pipe.up.len());
        for byte in pipe.up.drain(..len) {
            buf.put_slice(&[byte]);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(data)])
    }

    /// As a socket does, which tokio-rustls counts on: it tries to send an alert once only, with all that lies before it.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let pipe = &mut *self.0.borrow_mut();
        if pipe.stopped {
            return Poll::Pending;
        }
        let mut all = 0;
        for data in slices.iter().filter(|data| !data.is_empty()) {
            let taken = pipe.borders.next(data.len());
            pipe.down.extend_from_slice(&data[..taken]);
            all += taken;
            if taken < data.len() {
                pipe.stopped = true;
                break;
            }
        }
        Poll::Ready(Ok(all))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
