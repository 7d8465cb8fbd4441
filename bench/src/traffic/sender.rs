//! Writes messages.

use super::pattern::Cursor;
use super::{Coding, Framing, OPENING, opcode};

/// Writes the messages of one direction of one session.
#[derive(Debug)]
pub(crate) struct Sender {
    coding: Coding,
    size: u64,
    cursor: Cursor,
    /// Of the message that is under way.
    left: u64,
    mask: Mask,
}

impl Sender {
    /// A client's.
    pub(crate) fn uplink(coding: Coding, size: u64, session: u32) -> Self {
        Self::new(coding, size, Cursor::uplink(session), session)
    }

    /// A backend's.
    pub(crate) fn downlink(framing: Framing, size: u64, session: u32) -> Self {
        Self::new(Coding::Stream(framing), size, Cursor::downlink(session), session)
    }

    fn new(coding: Coding, size: u64, cursor: Cursor, session: u32) -> Self {
        Self {
            coding,
            size,
            cursor,
            left: 0,
            mask: Mask::new(session),
        }
    }

    /// True in the middle of a message.
    pub(crate) fn is_inside(&self) -> bool {
        self.left > 0
    }

    /// Appends the first message, whole.
    pub(crate) fn open(&mut self, text: [u8; OPENING], out: &mut Vec<u8>) {
        self.begin(OPENING as u64, out);
        let start = out.len();
        out.extend_from_slice(&text);
        self.mask_from(out, start);
        self.end(out);
    }

    /// Appends the next piece of a message: about `room` bytes, the whole of it where they suffice. True when it is complete.
    pub(crate) fn piece(&mut self, out: &mut Vec<u8>, room: usize) -> bool {
        let limit = out.len() + room;
        if self.left == 0 {
            self.begin(self.size, out);
            self.left = self.size;
        }
        let room = limit.saturating_sub(out.len()).max(1);
        let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(room);
        let start = out.len();
        self.cursor.append(out, count);
        self.mask_from(out, start);
        self.left -= count as u64;
        if self.left == 0 {
            self.end(out);
        }
        self.left == 0
    }

    /// Appends the answer to a ping.
    pub(crate) fn pong(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        self.control(opcode::PONG, payload, out);
    }

    /// Appends a Close frame, code 1000.
    pub(crate) fn close(&mut self, out: &mut Vec<u8>) {
        self.control(opcode::CLOSE, &1000_u16.to_be_bytes(), out);
    }

    fn control(&mut self, opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
        self.frame(opcode, payload.len() as u64, out);
        let start = out.len();
        out.extend_from_slice(payload);
        self.mask_from(out, start);
    }

    fn begin(&mut self, len: u64, out: &mut Vec<u8>) {
        match self.coding {
            // Sizes of the scenarios fit.
            Coding::Stream(Framing::U32be) => out.extend_from_slice(&(len as u32).to_be_bytes()),
            Coding::Stream(Framing::Raw | Framing::Lines) => {}
            Coding::WebSocket(framing) => self.frame(opcode::of(framing), len, out),
        }
    }

    fn end(&self, out: &mut Vec<u8>) {
        if self.coding == Coding::Stream(Framing::Lines) {
            out.push(b'\n');
        }
    }

    fn frame(&mut self, opcode: u8, len: u64, out: &mut Vec<u8>) {
        out.push(0x80 | opcode);
        match (u8::try_from(len), u16::try_from(len)) {
            (Ok(short @ ..126), _) => out.push(0x80 | short),
            (_, Ok(middle)) => {
                out.push(0x80 | 126);
                out.extend_from_slice(&middle.to_be_bytes());
            }
            _ => {
                out.push(0x80 | 127);
                out.extend_from_slice(&len.to_be_bytes());
            }
        }
        out.extend_from_slice(&self.mask.next().to_ne_bytes());
    }

    fn mask_from(&mut self, out: &mut [u8], start: usize) {
        if matches!(self.coding, Coding::WebSocket(_)) {
            self.mask.apply(&mut out[start..]);
        }
    }
}

/// RFC 6455 §5.3, with keys that change but need not be secret.
#[derive(Debug)]
struct Mask {
    state: u32,
    /// The key, turned so that its first byte is due.
    key: u32,
}

impl Mask {
    fn new(session: u32) -> Self {
        Self {
            state: session | 0x8000_0000,
            key: 0,
        }
    }

    fn next(&mut self) -> u32 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 17;
        self.state ^= self.state << 5;
        self.key = self.state;
        self.key
    }

    fn apply(&mut self, bytes: &mut [u8]) {
        let key = self.key.to_ne_bytes();
        let wide = u64::from_ne_bytes([key, key].concat().try_into().unwrap_or_default());
        let (words, rest) = bytes.as_chunks_mut::<8>();
        for word in words {
            *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
        }
        for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
            *byte ^= key;
        }
        let mut turned = key;
        turned.rotate_left(rest.len() % 4);
        self.key = u32::from_ne_bytes(turned);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_in_pieces_is_the_mask_in_one() {
        let plain: Vec<u8> = (0..=255).collect();
        let mut whole = plain.clone();
        let mut mask = Mask::new(1);
        mask.next();
        mask.apply(&mut whole);
        assert_ne!(whole, plain);
        for piece in [1, 3, 5, 8, 13] {
            let mut pieces = plain.clone();
            let mut mask = Mask::new(1);
            mask.next();
            pieces.chunks_mut(piece).for_each(|chunk| mask.apply(chunk));
            assert_eq!(pieces, whole, "{piece}");
        }
    }

    #[test]
    fn lengths_take_the_shortest_form() {
        for (size, header) in [(125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let mut out = Vec::new();
            let mut sender = Sender::uplink(Coding::WebSocket(Framing::Raw), size, 1);
            while !sender.piece(&mut out, 16_384) {}
            assert_eq!(out.len() as u64, size + header + 4, "{size}");
        }
    }
}
