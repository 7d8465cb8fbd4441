//! Writes server frames (RFC 6455 §5), unmasked.

use super::{CloseFrame, MAX_CONTROL, cut_reason, opcode};
use crate::message::{Kind, Part};
use crate::outbox::Outbox;

/// How much of an unfinished message is gathered before it leaves as a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gather {
    /// A little: a short record that arrives in crumbs is still one frame, a long one streams.
    Some,
    /// All of it: something about the message is only known at its end.
    All,
}

/// A fragment leaves once this many bytes are there: large enough that its header and the wake-ups do not matter, small enough that
/// a session that waits inside a record holds little.
pub(crate) const FRAGMENT: usize = 16 * 1024;

/// Encodes the messages for one client.
#[derive(Debug, Default)]
pub struct Encoder {
    /// The kind of the message being written, while its first frame has not been written.
    first: Option<Kind>,
    /// True once a frame of the message has left.
    fragmented: bool,
}

impl Encoder {
    /// Starts a message. Must come before its first part.
    pub fn begin(&mut self, kind: Kind) {
        self.first = Some(kind);
        self.fragmented = false;
    }

    /// Changes the kind of the current message, as long as none of it has left.
    pub fn set_kind(&mut self, kind: Kind) {
        if self.first.is_some() {
            self.first = Some(kind);
        }
    }

    /// Appends a whole message, between others.
    #[inline]
    pub fn whole(kind: Kind, data: &[u8], out: &mut Outbox) {
        let opcode = match kind {
            Kind::Text => opcode::TEXT,
            Kind::Binary => opcode::BINARY,
        };
        with_header(true, opcode, data.len(), |header| out.push(header));
        out.push(data);
        out.commit();
    }

    /// Appends the next part of the message.
    pub fn part(&mut self, part: &Part<'_>, gather: Gather, out: &mut Outbox) {
        let held = out.held().len();
        let leaves = part.end || (gather == Gather::Some && held + part.data.len() >= FRAGMENT);
        if !leaves {
            out.push(part.data);
        } else if held == 0 {
            self.header(part.end, part.data.len(), out);
            out.push(part.data);
            out.commit();
        } else {
            out.push(part.data);
            self.header_before_held(part.end, out);
            out.commit();
        }
    }

    /// Forgets the message: what is held of it is dropped.
    pub fn abandon(&mut self, out: &mut Outbox) {
        out.discard_held();
        self.first = None;
        self.fragmented = false;
    }

    fn opcode(&mut self) -> u8 {
        self.fragmented = true;
        match self.first.take() {
            Some(Kind::Text) => opcode::TEXT,
            Some(Kind::Binary) => opcode::BINARY,
            None => opcode::CONTINUATION,
        }
    }

    fn header(&mut self, fin: bool, len: usize, out: &mut Outbox) {
        with_header(fin, self.opcode(), len, |header| out.push(header));
    }

    fn header_before_held(&mut self, fin: bool, out: &mut Outbox) {
        with_header(fin, self.opcode(), out.held().len(), |header| {
            out.insert_zeros_before_held(header.len());
            out.held_mut()[..header.len()].copy_from_slice(header);
        });
    }

    /// Writes a control frame before whatever is held; it may stand between the fragments of a message (RFC 6455 §5.4).
    fn control(opcode: u8, payload: &[u8], out: &mut Outbox) {
        debug_assert!(payload.len() <= MAX_CONTROL);
        with_header(true, opcode, payload.len(), |header| out.insert_committed(header));
        out.insert_committed(payload);
    }

    /// Appends a ping without payload.
    pub fn ping(out: &mut Outbox) {
        Self::control(opcode::PING, &[], out);
    }

    /// Appends the answer to a ping (RFC 6455 §5.5.3). `payload` has at most 125 bytes, as it came in a control frame.
    pub fn pong(payload: &[u8], out: &mut Outbox) {
        Self::control(opcode::PONG, payload, out);
    }

    /// Appends a Close frame. The reason is cut to what fits.
    pub fn close(frame: &CloseFrame<'_>, out: &mut Outbox) {
        let mut payload = Vec::with_capacity(MAX_CONTROL);
        if let Some(code) = frame.code {
            payload.extend_from_slice(&code.0.to_be_bytes());
            payload.extend_from_slice(cut_reason(frame.reason).as_bytes());
        }
        Self::control(opcode::CLOSE, &payload, out);
    }
}

/// Makes a frame header in its shortest form (RFC 6455 §5.2). Each length is an array of its own: so that appending one is a single
/// store, small frames being many.
#[inline]
fn with_header<R>(fin: bool, opcode: u8, len: usize, use_it: impl FnOnce(&[u8]) -> R) -> R {
    let first = if fin { 0x80 | opcode } else { opcode };
    if len < 126 {
        use_it(&[first, len as u8])
    } else if let Ok(len) = u16::try_from(len) {
        let [a, b] = len.to_be_bytes();
        use_it(&[first, 126, a, b])
    } else {
        let [a, b, c, d, e, f, g, h] = (len as u64).to_be_bytes();
        use_it(&[first, 127, a, b, c, d, e, f, g, h])
    }
}
