//! Reads messages, and checks every byte and boundary.

use super::pattern::Cursor;
use super::{Coding, Framing, GREETING, OPENING, opcode};

/// Reads and checks the messages of one direction of one session.
#[derive(Debug)]
pub(crate) struct Receiver {
    coding: Coding,
    size: u64,
    /// The opening: what has come of it.
    opening: [u8; OPENING],
    opened: usize,
    /// The client knows who it is; the backend learns it from the opening.
    session: Option<u32>,
    cursor: Cursor,
    state: State,
    /// Payload of the message that is under way.
    inside: u64,
    /// No message has ended yet.
    first: bool,
    /// Payload checked, without the opening.
    bytes: u64,
    pongs: Vec<Vec<u8>>,
    closed: bool,
}

#[derive(Debug)]
enum State {
    /// Gathering a header: a frame's or a record's.
    Head { have: usize, bytes: [u8; MAX_HEAD] },
    /// Inside a frame or record.
    Body { left: u64, fin: bool },
    /// A line feed is due.
    Feed,
    /// Inside a control frame.
    Control {
        opcode: u8,
        left: usize,
        payload: Vec<u8>,
    },
}

/// A frame of a server: no mask.
const MAX_HEAD: usize = 10;

const HEAD: State = State::Head {
    have: 0,
    bytes: [0; MAX_HEAD],
};

impl Receiver {
    /// A client's.
    pub(crate) fn at_client(coding: Coding, size: u64, session: u32) -> Self {
        Self::new(coding, size, Some(session), Cursor::downlink(session))
    }

    /// A backend's.
    pub(crate) fn at_backend(framing: Framing, size: u64) -> Self {
        Self::new(Coding::Stream(framing), size, None, Cursor::uplink(0))
    }

    /// A client's that expects the walk of an uplink.
    #[cfg(test)]
    pub(crate) fn for_test(coding: Coding, size: u64, session: u32) -> Self {
        Self::new(coding, size, Some(session), Cursor::uplink(session))
    }

    fn new(coding: Coding, size: u64, session: Option<u32>, cursor: Cursor) -> Self {
        Self {
            coding,
            size,
            opening: [0; OPENING],
            opened: 0,
            session,
            cursor,
            state: HEAD,
            inside: 0,
            first: true,
            bytes: 0,
            pongs: Vec::new(),
            closed: false,
        }
    }

    /// The session, once its opening has come.
    pub(crate) fn opened(&self) -> Option<u32> {
        self.session.filter(|_| self.opened == OPENING)
    }

    /// Payload bytes that have come and were right.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whole messages that have come and were right.
    pub(crate) fn messages(&self) -> u64 {
        self.bytes / self.size
    }

    /// The payloads of pings that wait for an answer.
    pub(crate) fn take_pongs(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.pongs)
    }

    /// True when a Close frame has come.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Takes what came from the stream.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        if self.coding == Coding::Stream(Framing::Raw) {
            return self.payload(bytes);
        }
        while !bytes.is_empty() {
            let used = match self.state {
                State::Head { .. } => self.head(bytes)?,
                State::Body { left, fin } => {
                    let count = (bytes.len() as u64).min(left) as usize;
                    self.inside += count as u64;
                    self.payload(&bytes[..count])?;
                    self.body(left - count as u64, fin);
                    count
                }
                State::Feed if bytes[0] == b'\n' => {
                    self.state = HEAD;
                    self.end();
                    1
                }
                State::Feed => return Err(format!("a line does not end after {} bytes", self.wanted())),
                State::Control { .. } => self.control(bytes),
            };
            bytes = &bytes[used..];
        }
        Ok(())
    }

    /// The length that the message under way must have.
    fn wanted(&self) -> u64 {
        if self.first { OPENING as u64 } else { self.size }
    }

    /// Takes bytes of a header; returns how many.
    fn head(&mut self, input: &[u8]) -> Result<usize, String> {
        if self.coding == Coding::Stream(Framing::Lines) {
            self.state = State::Body {
                left: self.wanted(),
                fin: true,
            };
            return Ok(0);
        }
        let State::Head { have, bytes } = &mut self.state else {
            return Ok(0);
        };
        // The usual case: the whole header is there.
        if *have == 0
            && let Some((state, used)) = parse(self.coding, input)?
        {
            return self.start(state).map(|()| used);
        }
        for (used, byte) in input.iter().enumerate() {
            bytes[*have] = *byte;
            *have += 1;
            if let Some((state, _)) = parse(self.coding, &bytes[..*have])? {
                return self.start(state).map(|()| used + 1);
            }
        }
        Ok(input.len())
    }

    fn start(&mut self, state: State) -> Result<(), String> {
        match state {
            State::Body { left, fin } => {
                let wanted = self.wanted();
                let exact = self.coding != Coding::WebSocket(Framing::Raw);
                let right = if fin {
                    self.inside + left == wanted
                } else {
                    self.inside + left <= wanted
                };
                if exact && !right {
                    let got = self.inside + left;
                    return Err(format!("a message of {got} bytes where one of {wanted} was sent"));
                }
                self.body(left, fin);
                Ok(())
            }
            State::Control { left: 0, opcode, .. } => {
                self.controlled(opcode, Vec::new());
                Ok(())
            }
            other => {
                self.state = other;
                Ok(())
            }
        }
    }

    /// Goes on inside a body, or behind it when nothing of it is left.
    fn body(&mut self, left: u64, fin: bool) {
        if left > 0 {
            self.state = State::Body { left, fin };
        } else if self.coding == Coding::Stream(Framing::Lines) {
            self.state = State::Feed;
        } else {
            self.state = HEAD;
            if fin {
                self.end();
            }
        }
    }

    fn end(&mut self) {
        self.inside = 0;
        self.first = false;
    }

    fn control(&mut self, bytes: &[u8]) -> usize {
        let State::Control {
            opcode,
            left,
            payload,
        } = &mut self.state
        else {
            return 0;
        };
        let count = bytes.len().min(*left);
        payload.extend_from_slice(&bytes[..count]);
        *left -= count;
        if *left == 0 {
            let (opcode, payload) = (*opcode, std::mem::take(payload));
            self.controlled(opcode, payload);
        }
        count
    }

    fn controlled(&mut self, opcode: u8, payload: Vec<u8>) {
        self.state = HEAD;
        match opcode {
            opcode::PING => self.pongs.push(payload),
            opcode::CLOSE => self.closed = true,
            _ => {}
        }
    }

    /// Checks payload: the opening first, then the walk.
    fn payload(&mut self, bytes: &[u8]) -> Result<(), String> {
        let count = bytes.len().min(OPENING - self.opened);
        let (opening, rest) = bytes.split_at(count);
        if count > 0 {
            self.opening[self.opened..self.opened + count].copy_from_slice(opening);
            self.opened += count;
            if self.opened == OPENING {
                self.open()?;
            }
        }
        if !self.cursor.check(rest) {
            return Err(format!(
                "a byte is not what was sent, after {} that were",
                self.bytes
            ));
        }
        self.bytes += rest.len() as u64;
        Ok(())
    }

    fn open(&mut self) -> Result<(), String> {
        if self.session.is_some() {
            return (self.opening == GREETING)
                .then_some(())
                .ok_or_else(|| "the greeting is not what was sent".to_owned());
        }
        let session = std::str::from_utf8(&self.opening)
            .ok()
            .and_then(|text| u32::from_str_radix(text, 16).ok())
            .ok_or("the first message is not a session's number")?;
        self.session = Some(session);
        self.cursor = Cursor::uplink(session);
        Ok(())
    }
}

/// Reads a header: the state behind it and its length, or nothing while it is not complete.
fn parse(coding: Coding, bytes: &[u8]) -> Result<Option<(State, usize)>, String> {
    match coding {
        Coding::Stream(_) => Ok(bytes.first_chunk().map(|len| {
            let left = u64::from(u32::from_be_bytes(*len));
            (State::Body { left, fin: true }, 4)
        })),
        Coding::WebSocket(framing) => parse_frame(opcode::of(framing), bytes),
    }
}

fn parse_frame(wanted: u8, bytes: &[u8]) -> Result<Option<(State, usize)>, String> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    let (fin, opcode) = (first & 0x80 != 0, first & 0x0f);
    if first & 0x70 != 0 || second & 0x80 != 0 {
        return Err("a frame with a reserved bit or a mask".to_owned());
    }
    let length = match second {
        126 => rest
            .first_chunk()
            .map(|len| (u64::from(u16::from_be_bytes(*len)), 4)),
        127 => rest.first_chunk().map(|len| (u64::from_be_bytes(*len), 10)),
        short => Some((u64::from(*short), 2)),
    };
    let Some((left, used)) = length else {
        return Ok(None);
    };
    let state = match opcode {
        opcode::CLOSE..=opcode::PONG if fin && left <= 125 => State::Control {
            opcode,
            left: left as usize,
            payload: Vec::new(),
        },
        opcode if opcode == wanted || opcode == opcode::CONTINUATION => State::Body { left, fin },
        other => return Err(format!("a frame with the opcode {other}")),
    };
    Ok(Some((state, used)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(size: u64) -> Receiver {
        Receiver::for_test(Coding::WebSocket(Framing::U32be), size, 5)
    }

    fn walk(count: usize) -> Vec<u8> {
        let mut out = Vec::new();
        Cursor::uplink(5).append(&mut out, count);
        out
    }

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        [&[first, payload.len() as u8], payload].concat()
    }

    #[test]
    fn fragments_are_one_message_and_control_frames_pass_between_them() {
        let payload = walk(60);
        let bytes = [
            frame(0x82, &GREETING),
            frame(0x02, &payload[..10]),
            frame(0x89, b"ping"),
            frame(0x00, &payload[10..30]),
            frame(0x80, &payload[30..]),
            frame(0x88, &[3, 232]),
        ]
        .concat();
        for piece in [1, 3, bytes.len()] {
            let mut receiver = client(60);
            for chunk in bytes.chunks(piece) {
                receiver.feed(chunk).unwrap();
            }
            assert_eq!(receiver.messages(), 1);
            assert_eq!(receiver.take_pongs(), [b"ping"]);
            assert!(receiver.is_closed());
        }
    }

    #[test]
    fn a_message_cut_short_is_seen() {
        let payload = walk(60);
        let mut receiver = client(60);
        receiver.feed(&frame(0x82, &GREETING)).unwrap();
        let error = receiver.feed(&frame(0x82, &payload[..59])).unwrap_err();
        assert!(error.contains("59"), "{error}");
    }

    #[test]
    fn a_frame_of_the_wrong_kind_is_seen() {
        for first in [0x81, 0x83, 0xc2] {
            let mut receiver = client(8);
            assert!(receiver.feed(&frame(first, &GREETING)).is_err(), "{first:x}");
        }
    }
}
