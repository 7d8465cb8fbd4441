//! Where the pump's bytes are: the scratch buffers, what a session keeps between reads, and the way in and out of a
//! connection.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::ReadBuf;

use super::memory::is_tight;
use super::{downlink, uplink};
use crate::io::Connection;
use crate::outbox::Outbox;

/// The most that is read at once. Large reads make bulk transfer cheap; they cost no session memory, as the buffer is not its own.
const MAX_WINDOW: usize = 384 * 1024;
/// Sessions that read no more than this at once use the buffers of their thread.
const SMALL_WINDOW: usize = 64 * 1024;
/// What is translated at once: results leave in steps of about this size, so that they need no larger buffer than that. Small in tests,
/// where sessions are.
pub(super) const STEP: usize = if cfg!(test) { LEAST_STEP } else { 128 * 1024 };
/// A step in which something can always be translated, whatever the last one left.
pub(super) const LEAST_STEP: usize = MAX_LEFT + 37;
/// What a session reads at once at first, and after its sink was full: so a peer that does not read pins little.
pub(super) const MIN_WINDOW: usize = 16 * 1024;

/// Room in front of a read for what the last one left.
pub(super) const MAX_LEFT: usize = if uplink::MAX_LEFT > downlink::MAX_LEFT {
    uplink::MAX_LEFT
} else {
    downlink::MAX_LEFT
};

/// Buffers for one pass over a session, which its directions use in turn. What has been touched stays resident, so there are no more
/// of them than passes at the same time.
pub(super) struct Scratch {
    pub(super) input: Vec<u8>,
    pub(super) output: Vec<u8>,
}

thread_local! {
    static SMALL: RefCell<Scratch> = RefCell::new(Scratch::with_window(SMALL_WINDOW));
}

/// The large ones that nobody uses at the moment. A session in bulk transfer goes from thread to thread, and one buffer with it; against
/// the work of such a pass a lock is nothing.
static LARGE: Mutex<Vec<Scratch>> = Mutex::new(Vec::new());

impl Scratch {
    fn with_window(window: usize) -> Self {
        Self {
            input: vec![0; MAX_LEFT + window],
            // With room for headers.
            output: Vec::with_capacity(window.min(STEP) / 8 * 9),
        }
    }
}

/// Lends buffers for a pass that reads up to `window` at once, or a little less.
pub(super) fn with_scratch<R>(window: usize, pass: impl FnOnce(&mut Scratch) -> R) -> R {
    if window <= SMALL_WINDOW {
        return SMALL.with_borrow_mut(pass);
    }
    let large = || LARGE.lock().unwrap_or_else(PoisonError::into_inner);
    let free = large().pop();
    let mut scratch = free.unwrap_or_else(|| Scratch::with_window(MAX_WINDOW));
    let done = pass(&mut scratch);
    large().push(scratch);
    done
}

/// One direction's input.
pub(super) struct Inlet {
    /// What the translator left; it leads the next input.
    pub(super) left: Box<[u8]>,
    /// `left` holds bytes that the translator has not seen yet: what came behind the request, and what was read together with more than
    /// the sink took.
    pub(super) fresh: bool,
    pub(super) window: usize,
    /// It was read in the last turn.
    pub(super) reading: bool,
}

impl Inlet {
    pub(super) fn new(left: Vec<u8>) -> Self {
        Self {
            fresh: !left.is_empty(),
            // It comes with the room of a buffer that was read into; a session at rest must not keep that.
            left: left.into_boxed_slice(),
            window: MIN_WINDOW,
            reading: true,
        }
    }

    pub(super) fn keep(&mut self, rest: &[u8]) {
        debug_assert!(rest.len() <= MAX_LEFT);
        self.left = rest.into();
    }

    /// Keeps what the translator is to see as soon as the sink has room again.
    pub(super) fn put_off(&mut self, rest: &[u8]) {
        self.left = rest.into();
        self.fresh = !rest.is_empty();
    }

    /// Drops what was left or put off, and tells how much that was.
    pub(super) fn forget(&mut self) -> u64 {
        self.fresh = false;
        std::mem::take(&mut self.left).len() as u64
    }

    /// How much may be read at once.
    pub(super) fn room(&self) -> usize {
        if is_tight() {
            self.window.min(MIN_WINDOW)
        } else {
            self.window
        }
    }

    /// Sets the window by what a read gave: who was in bulk transfer once must not claim large buffers for a chat.
    pub(super) fn adapt(&mut self, got: usize) {
        // TLS fills a buffer in steps of a record, so half full is as good as full.
        if got >= self.window / 2 {
            self.window = (self.window * 2).min(MAX_WINDOW);
        } else if got < self.window / 8 && self.window > SMALL_WINDOW {
            self.window /= 2;
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
