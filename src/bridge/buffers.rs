//! Where the pump's bytes are: the scratch buffers of a thread, what a session keeps between reads, and the way in and out of a
//! connection.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::ReadBuf;

use super::{downlink, uplink};
use crate::io::Connection;
use crate::outbox::Outbox;

/// The most that is read at once. Large reads make bulk transfer cheap; they cost no session memory, as the buffer is the thread's.
const MAX_WINDOW: usize = 128 * 1024;
/// What a session reads at once at first, and after its sink was full: so a peer that does not read pins little.
pub(super) const MIN_WINDOW: usize = 16 * 1024;

/// Room in front of a read for what the last one left.
const MAX_LEFT: usize = if uplink::MAX_LEFT > downlink::MAX_LEFT {
    uplink::MAX_LEFT
} else {
    downlink::MAX_LEFT
};

/// The buffers of a thread. The directions take turns with them: what a thread touches stays resident, so there are no more than one
/// pass needs.
pub(super) struct Scratch {
    pub(super) input: Vec<u8>,
    pub(super) output: Vec<u8>,
}

thread_local! {
    pub(super) static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        input: vec![0; MAX_LEFT + MAX_WINDOW],
        output: Vec::with_capacity(MAX_WINDOW),
    });
}

/// One direction's input.
pub(super) struct Inlet {
    /// What the translator left; it leads the next input.
    pub(super) left: Vec<u8>,
    /// `left` holds bytes that the translator has not seen yet.
    pub(super) fresh: bool,
    pub(super) window: usize,
    /// It was read in the last turn.
    pub(super) reading: bool,
}

impl Inlet {
    pub(super) fn new(mut left: Vec<u8>) -> Self {
        // It comes with the room of a buffer that was read into; a session at rest must not keep that.
        left.shrink_to_fit();
        Self {
            fresh: !left.is_empty(),
            left,
            window: MIN_WINDOW,
            reading: true,
        }
    }

    pub(super) fn keep(&mut self, rest: &[u8]) {
        debug_assert!(rest.len() <= MAX_LEFT);
        self.left = rest.to_vec();
    }

    pub(super) fn grow(&mut self, got: usize) {
        // TLS fills a buffer in steps of a record, so half full is as good as full.
        if got >= self.window / 2 {
            self.window = (self.window * 2).min(MAX_WINDOW);
        }
    }
}

pub(super) fn poll_read<S: Connection>(
    stream: Option<&mut S>,
    cx: &mut Context<'_>,
    buffer: &mut [u8],
) -> Poll<std::io::Result<usize>> {
    let Some(stream) = stream else {
        return Poll::Ready(Ok(0));
    };
    let mut buffer = ReadBuf::new(buffer);
    ready!(Pin::new(stream).poll_read(cx, &mut buffer))?;
    Poll::Ready(Ok(buffer.filled().len()))
}

/// Writes until nothing is ready or the stream takes no more. `last`: the end of the stream follows.
pub(super) fn write_out<S: Connection>(
    stream: &mut S,
    cx: &mut Context<'_>,
    out: &mut Outbox,
    last: bool,
) -> std::io::Result<()> {
    while !out.ready().is_empty() {
        let stream = Pin::new(&mut *stream);
        let written = if last {
            stream.poll_write_last(cx, out.ready())
        } else {
            stream.poll_write(cx, out.ready())
        };
        match written {
            Poll::Ready(Ok(0)) => return Err(std::io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(count)) => out.advance(count),
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => break,
        }
    }
    Ok(())
}
