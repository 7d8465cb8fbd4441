//! Holds the bytes that are on their way to a socket, and those that may not leave yet.
//!
//! Encoders append; [`Outbox::commit`] releases what was appended so far. What is not committed (the *held* bytes) never leaves: half
//! a line, or half of a message whose length prefix is not known yet, stays here until its end has been seen, and
//! [`Outbox::discard_held`] takes it back without a trace.
//!
//! ```text
//! buf:  [ sent | committed, may leave | held, may not ]
//!        0     sent                    committed       len
//! ```
//!
//! An idle session owns no buffer: a pass borrows a scratch `Vec` ([`Outbox::borrow`]) and gives it back
//! ([`Outbox::settle`]); only what is left over moves to memory of the session.

/// What is kept of a scratch between passes.
const MAX_SCRATCH: usize = 256 * 1024;

/// What is left over moves into the scratch of the next pass, up to this much. Beyond it, moving it at every pass would cost more than
/// a buffer of the session's own.
const MAX_MOVED: usize = 16 * 1024;

/// A queue of bytes with a commit mark. See the module's documentation.
#[derive(Debug, Default)]
pub struct Outbox {
    buf: Vec<u8>,
    /// 0 <= sent <= committed <= buf.len()
    sent: usize,
    committed: usize,
    /// True while `buf` is the scratch.
    borrowed: bool,
}

impl Outbox {
    /// Appends bytes; they are held until [`Outbox::commit`].
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }

    /// Makes room for `count` more bytes at once.
    #[inline]
    pub fn reserve(&mut self, count: usize) {
        self.buf.reserve(count);
    }

    /// Appends the first `count` of eight bytes: a single store, however many they are.
    #[inline]
    pub fn push_start(&mut self, bytes: [u8; 8], count: usize) {
        let end = self.buf.len() + count;
        self.buf.extend_from_slice(&bytes);
        self.buf.truncate(end);
    }

    /// Makes room for `count` zero bytes before the held ones.
    pub fn insert_zeros_before_held(&mut self, count: usize) {
        let end = self.buf.len();
        self.buf.resize(end + count, 0);
        self.buf.copy_within(self.committed..end, self.committed + count);
    }

    /// Puts bytes in front of the held ones and releases them.
    pub fn insert_committed(&mut self, bytes: &[u8]) {
        self.insert_zeros_before_held(bytes.len());
        self.buf[self.committed..self.committed + bytes.len()].copy_from_slice(bytes);
        self.committed += bytes.len();
    }

    /// Releases everything appended so far.
    #[inline]
    pub fn commit(&mut self) {
        self.committed = self.buf.len();
    }

    /// The bytes appended since the last commit.
    #[inline]
    pub fn held(&self) -> &[u8] {
        &self.buf[self.committed..]
    }

    /// The held bytes, to fill in what was not known when they were appended.
    #[inline]
    pub fn held_mut(&mut self) -> &mut [u8] {
        &mut self.buf[self.committed..]
    }

    /// Takes the held bytes back.
    pub fn discard_held(&mut self) {
        self.buf.truncate(self.committed);
    }

    /// Replaces the held bytes from `at` (relative to the first held byte) on.
    pub fn replace_held_from(&mut self, at: usize, bytes: &[u8]) {
        self.buf.truncate(self.committed + at);
        self.buf.extend_from_slice(bytes);
    }

    /// Takes the first `count` of the held bytes out.
    pub fn remove_from_held(&mut self, count: usize) {
        let first = self.committed;
        self.buf.drain(first..first + count);
    }

    /// What may be written to the socket now.
    #[inline]
    pub fn ready(&self) -> &[u8] {
        &self.buf[self.sent..self.committed]
    }

    /// Records that the socket took `count` bytes of [`Outbox::ready`].
    pub fn advance(&mut self, count: usize) {
        self.sent = (self.sent + count).min(self.committed);
        let held = self.buf.len() - self.committed;
        // What is held moves to the front as soon as all before it has left, if that was more than it: which pays for the move.
        if self.sent == self.committed && held <= self.sent {
            if held > 0 {
                self.buf.copy_within(self.sent.., 0);
            }
            self.buf.truncate(held);
            self.sent = 0;
            self.committed = 0;
        }
    }

    /// Drops everything and returns how many bytes had been released but not sent.
    pub fn clear(&mut self) -> usize {
        let lost = self.committed - self.sent;
        self.buf.clear();
        if !self.borrowed {
            // Nothing may come to give it back for a long time.
            self.buf = Vec::new();
        }
        self.sent = 0;
        self.committed = 0;
        lost
    }

    /// Bytes kept in memory, sent ones excluded.
    #[inline]
    pub fn len(&self) -> usize {
        self.buf.len() - self.sent
    }

    /// True when nothing is waiting, neither to leave nor to be released.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory of its own that it keeps: nothing while it uses the scratch, and nothing at rest.
    pub fn held_memory(&self) -> usize {
        if self.borrowed { 0 } else { self.buf.capacity() }
    }

    /// Uses `scratch` as the buffer for one pass, unless much is left over from an earlier one: a little moves into it.
    #[inline]
    pub fn borrow(&mut self, scratch: &mut Vec<u8>) {
        if self.buf.capacity() == 0 {
            std::mem::swap(&mut self.buf, scratch);
            self.borrowed = true;
        } else if self.len() <= MAX_MOVED {
            scratch.extend_from_slice(&self.buf[self.sent..]);
            self.committed -= self.sent;
            self.sent = 0;
            self.buf = std::mem::take(scratch);
            self.borrowed = true;
        }
    }

    /// Ends a pass: gives the scratch back and keeps only what is left over.
    #[inline]
    pub fn settle(&mut self, scratch: &mut Vec<u8>) {
        if self.borrowed {
            self.borrowed = false;
            if self.is_empty() {
                // How most passes end. What was there before has no buffer.
                std::mem::swap(&mut self.buf, scratch);
                (self.sent, self.committed) = (0, 0);
            } else {
                *scratch = self.keep_rest();
            }
            scratch.clear();
            if scratch.capacity() > MAX_SCRATCH {
                // One burst must not make every scratch large for good.
                scratch.shrink_to(MAX_SCRATCH);
            }
        } else if self.len() <= MAX_MOVED {
            self.keep_rest();
        } else if self.sent > self.buf.len() / 2 {
            // The sent part is the larger one, so the move is paid for by what was sent.
            self.buf.drain(..self.sent);
            self.committed -= self.sent;
            self.sent = 0;
        }
    }

    /// Moves what is left over to a buffer that is just as large, and gives the old one.
    fn keep_rest(&mut self) -> Vec<u8> {
        let rest = if self.is_empty() {
            Vec::new()
        } else {
            self.buf[self.sent..].to_vec()
        };
        self.committed -= self.sent;
        self.sent = 0;
        std::mem::replace(&mut self.buf, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_bytes_do_not_leave() {
        let mut out = Outbox::default();
        out.push(b"go");
        out.commit();
        out.push(b"stay");
        assert_eq!(out.ready(), b"go");
        assert_eq!(out.held(), b"stay");
        out.advance(2);
        assert_eq!(out.ready(), b"");
        assert_eq!(out.held(), b"stay");
        out.discard_held();
        assert!(out.is_empty());
    }

    #[test]
    fn a_header_can_be_inserted_before_held_bytes() {
        let mut out = Outbox::default();
        out.push(b"a");
        out.commit();
        out.push(b"body");
        out.insert_zeros_before_held(2);
        out.held_mut()[..2].copy_from_slice(b"HH");
        out.commit();
        assert_eq!(out.ready(), b"aHHbody");
    }

    #[test]
    fn an_idle_outbox_owns_no_memory_and_the_scratch_comes_back() {
        let mut scratch = Vec::with_capacity(64);
        let mut out = Outbox::default();
        out.borrow(&mut scratch);
        out.push(b"abcdef");
        out.commit();
        out.push(b"xy");
        out.advance(4);
        out.settle(&mut scratch);
        assert_eq!(scratch.capacity(), 64);
        assert_eq!((out.ready(), out.held()), (&b"ef"[..], &b"xy"[..]));
        assert_eq!(out.held_memory(), 4);
        // The next pass finds something left over, so it keeps its own buffer.
        out.borrow(&mut scratch);
        out.commit();
        assert_eq!(out.ready(), b"efxy");
        out.advance(4);
        out.settle(&mut scratch);
        assert!(out.is_empty());
        assert_eq!(out.held_memory(), 0);
        assert_eq!(scratch.capacity(), 64);
    }

    /// As with lines: the start of the next one is always there.
    #[test]
    fn a_little_that_is_left_over_keeps_no_large_buffer() {
        let mut scratch = Vec::with_capacity(64);
        let mut out = Outbox::default();
        for left in [0, 150_000] {
            out.borrow(&mut scratch);
            assert_eq!(out.held_memory(), 0, "a little moves into the scratch");
            out.discard_held();
            out.push(&[7; 200_000]);
            out.commit();
            out.push(b"start");
            out.advance(200_000 - left);
            out.settle(&mut scratch);
            assert_eq!(out.held_memory(), left + 5);
        }
        out.borrow(&mut scratch);
        out.advance(150_000);
        out.settle(&mut scratch);
        assert_eq!((out.held(), out.held_memory()), (&b"start"[..], 5));
    }

    /// Steps write between them: what has left makes room for what follows.
    #[test]
    fn what_is_held_moves_up_when_all_before_it_has_left() {
        let mut scratch = Vec::with_capacity(1000);
        let mut out = Outbox::default();
        out.borrow(&mut scratch);
        for _ in 0..100 {
            out.push(&[7; 500]);
            out.commit();
            out.push(b"start");
            out.advance(out.ready().len());
            assert_eq!(out.held(), b"start");
        }
        out.settle(&mut scratch);
        assert_eq!(scratch.capacity(), 1000);
    }

    #[test]
    fn what_is_taken_back_behind_something_sent_leaves_nothing() {
        let mut out = Outbox::default();
        out.push(b"pong");
        out.commit();
        out.push(b"taken back");
        out.advance(4);
        out.discard_held();
        out.settle(&mut Vec::new());
        assert!(out.is_empty());
        out.push(b"next");
        out.commit();
        assert_eq!(out.ready(), b"next");
    }

    #[test]
    fn a_long_held_message_is_not_copied_again_for_each_pass() {
        let mut scratch = Vec::new();
        let mut out = Outbox::default();
        for _ in 0..100 {
            out.borrow(&mut scratch);
            out.push(&[7; 1000]);
            out.settle(&mut scratch);
        }
        assert_eq!(out.len(), 100_000);
        assert_eq!(out.ready(), b"");
        out.commit();
        assert_eq!(out.ready().len(), 100_000);
        assert_eq!(out.clear(), 100_000);
    }
}
