//! Reads client frames (RFC 6455 §5).

use super::{CloseFrame, MAX_CONTROL, mask::unmask, opcode};
use crate::message::{Begin, Kind, Part};
use crate::utf8::Utf8Check;

/// What a client's frames say.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A piece of a message.
    Message(Part<'a>),
    /// A ping; its payload is to be sent back.
    Ping(&'a [u8]),
    /// A pong.
    Pong(&'a [u8]),
    /// Bytes of a message that is being skipped: how many.
    Skipped(usize),
    /// The client closes. Nothing behind it is read.
    Close(CloseFrame<'a>),
}

/// A message that lies whole in some input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WholeMessage {
    /// Text or binary.
    pub kind: Kind,
    /// Where its payload starts: right behind its mask.
    pub start: usize,
    /// Where its payload, and its frame, ends.
    pub end: usize,
}

/// Why a client's frames cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// Against RFC 6455: close code 1002.
    #[error("{0}")]
    Violation(#[from] Violation),
    /// Text (or a close reason) that is not UTF-8: close code 1007.
    #[error("text that is not UTF-8")]
    InvalidText,
    /// A message over the limit, announced or sent: close code 1009, or [`Decoder::skip`].
    #[error("message over the limit")]
    TooBig,
}

/// A breach of RFC 6455 by the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{}", self.text())]
pub enum Violation {
    /// §5.2: RSV bits without an extension that gives them a meaning.
    ReservedBit,
    /// §5.2: an opcode without a meaning.
    ReservedOpcode,
    /// §5.1: a client must mask.
    NotMasked,
    /// §5.2: the shortest form of a length must be used.
    LengthNotMinimal,
    /// §5.2: the top bit of a 64-bit length must be 0.
    LengthTopBit,
    /// §5.5: control frames are not fragmented.
    ControlFragmented,
    /// §5.5: control frames have at most 125 bytes.
    ControlTooLong,
    /// §5.4: a continuation without a message to continue.
    NothingToContinue,
    /// §5.4: a new message inside a fragmented one.
    MessageNotEnded,
    /// §5.5.1: a close payload of one byte.
    CloseLength,
    /// §7.4: a code that must not be sent.
    CloseCode,
}

impl Violation {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::ReservedBit,
        Self::ReservedOpcode,
        Self::NotMasked,
        Self::LengthNotMinimal,
        Self::LengthTopBit,
        Self::ControlFragmented,
        Self::ControlTooLong,
        Self::NothingToContinue,
        Self::MessageNotEnded,
        Self::CloseLength,
        Self::CloseCode,
    ];

    /// What the client is told.
    pub fn text(self) -> &'static str {
        match self {
            Self::ReservedBit => "reserved bit set",
            Self::ReservedOpcode => "reserved opcode",
            Self::NotMasked => "frame not masked",
            Self::LengthNotMinimal => "frame length not minimal",
            Self::LengthTopBit => "frame length of 2^63 or more",
            Self::ControlFragmented => "fragmented control frame",
            Self::ControlTooLong => "control frame over 125 bytes",
            Self::NothingToContinue => "continuation of no message",
            Self::MessageNotEnded => "new message inside a fragmented one",
            Self::CloseLength => "close frame of one byte",
            Self::CloseCode => "forbidden close code",
        }
    }
}

/// The length of a mask.
const MASK: usize = 4;

/// Decodes the frames of one client.
#[derive(Debug)]
pub struct Decoder {
    max_message: u64,
    message: Option<Message>,
    payload: Option<Payload>,
    utf8: Utf8Check,
    closed: bool,
    /// The message that is being read, or begins with the next header, is not wanted.
    skipping: bool,
}

/// The message whose frames are being read.
#[derive(Debug)]
struct Message {
    kind: Kind,
    /// Bytes announced by its frames so far.
    len: u64,
}

/// The data frame whose payload is being read.
#[derive(Debug)]
struct Payload {
    remaining: u64,
    mask: [u8; 4],
    fin: bool,
}

struct Header {
    fin: bool,
    opcode: u8,
    len: u64,
    mask: [u8; 4],
    size: usize,
}

impl Decoder {
    /// A decoder for a fresh connection. `max_message` is in bytes of payload, over all frames of a message.
    pub fn new(max_message: u64) -> Self {
        Self {
            max_message,
            message: None,
            payload: None,
            utf8: Utf8Check::default(),
            closed: false,
            skipping: false,
        }
    }

    /// After [`ProtocolError::TooBig`], instead of giving up: what has not been read of that message is to be skipped, to its end.
    pub fn skip(&mut self) {
        self.skipping = true;
        self.utf8 = Utf8Check::default();
    }

    /// True between the first and the last byte of a message.
    pub fn is_inside_message(&self) -> bool {
        self.message.is_some()
    }

    /// How much payload of a message that has begun has been read.
    pub fn received(&self) -> Option<u64> {
        let missing = self.payload.as_ref().map_or(0, |payload| payload.remaining);
        self.message.as_ref().map(|message| message.len - missing)
    }

    /// How many bytes of the input are sure to belong to the frame that is being read, or to its header: one at least.
    pub fn rest_of_frame(&self) -> usize {
        let rest = self.payload.as_ref().map_or(1, |payload| payload.remaining);
        usize::try_from(rest).unwrap_or(usize::MAX)
    }

    /// Recognises what most of the input is: an unfragmented message of up to 64 KiB, all of it there, between others, within the
    /// limit. Nothing but a shortcut past [`Decoder::decode`], which has to look at everything else, broken frames included.
    #[inline]
    pub fn whole_message(&self, input: &[u8]) -> Option<WholeMessage> {
        const FIN_TEXT: u8 = 0x80 | opcode::TEXT;
        const FIN_BINARY: u8 = 0x80 | opcode::BINARY;
        if self.closed || self.message.is_some() {
            return None;
        }
        let (opcode, len, mask_at) = match *input {
            [first @ (FIN_TEXT | FIN_BINARY), second @ 0x80..=0xFD, ..] => {
                (first, usize::from(second & 0x7F), 2)
            }
            [first @ (FIN_TEXT | FIN_BINARY), 0xFE, a, b, ..] if (a, b) >= (0, 126) => {
                (first, usize::from(u16::from_be_bytes([a, b])), 4)
            }
            _ => return None,
        };
        let kind = if opcode == FIN_TEXT {
            Kind::Text
        } else {
            Kind::Binary
        };
        let start = mask_at + MASK;
        let end = start + len;
        (end <= input.len() && len as u64 <= self.max_message).then_some(WholeMessage { kind, start, end })
    }

    /// Unmasks in place what [`Decoder::whole_message`] recognised in `input`.
    #[inline]
    pub fn open<'a>(&mut self, whole: WholeMessage, input: &'a mut [u8]) -> Result<&'a [u8], ProtocolError> {
        let frame = &mut input[whole.start - MASK..whole.end];
        let Some((mask, data)) = frame.split_first_chunk_mut::<MASK>() else {
            return Ok(&[]);
        };
        unmask(data, *mask);
        if whole.kind == Kind::Text {
            self.utf8.push(data).map_err(|_| ProtocolError::InvalidText)?;
            self.utf8.finish().map_err(|_| ProtocolError::InvalidText)?;
        }
        Ok(data)
    }

    /// Takes the next event out of `input`, which is unmasked in place, and tells how many bytes of it were used.
    ///
    /// With `None` as event, the bytes left (at most [`super::MAX_LEFT`]) have to stand at the start of the next input. After an
    /// error, and after [`Event::Close`], the connection must not be read on; but for [`ProtocolError::TooBig`], which uses up
    /// nothing.
    pub fn decode<'a>(&mut self, input: &'a mut [u8]) -> Result<(usize, Option<Event<'a>>), ProtocolError> {
        if self.closed {
            return Ok((input.len(), None));
        }
        if let Some(payload) = self.payload.take() {
            if input.is_empty() {
                self.payload = Some(payload);
                return Ok((0, None));
            }
            return self.read_payload(None, payload, input, 0);
        }
        let Some(header) = Header::parse(input)? else {
            return Ok((0, None));
        };
        if header.is_control() {
            return self.read_control(&header, input);
        }
        let begin = self.start_frame(&header)?;
        let payload = Payload {
            remaining: header.len,
            mask: header.mask,
            fin: header.fin,
        };
        self.read_payload(begin, payload, input, header.size)
    }

    /// Checks a data frame against the message it belongs to (RFC 6455 §5.4) and the limit, before a byte of it is read.
    fn start_frame(&mut self, header: &Header) -> Result<Option<Begin>, ProtocolError> {
        let kind = match (header.opcode, &self.message) {
            (opcode::CONTINUATION, None) => return Err(Violation::NothingToContinue.into()),
            (opcode::CONTINUATION, Some(_)) => None,
            (_, Some(_)) => return Err(Violation::MessageNotEnded.into()),
            (opcode::TEXT, None) => Some(Kind::Text),
            (_, None) => Some(Kind::Binary),
        };
        let before = self.message.as_ref().map_or(0, |message| message.len);
        let len = before.saturating_add(header.len);
        if len > self.max_message && !self.skipping {
            return Err(ProtocolError::TooBig);
        }
        match (&mut self.message, kind) {
            (Some(message), _) => message.len = len,
            (none, Some(kind)) => *none = Some(Message { kind, len }),
            (None, None) => {}
        }
        Ok(kind.map(|kind| Begin {
            kind,
            len: header.fin.then_some(len),
        }))
    }

    fn read_payload<'a>(
        &mut self,
        begin: Option<Begin>,
        mut payload: Payload,
        input: &'a mut [u8],
        at: usize,
    ) -> Result<(usize, Option<Event<'a>>), ProtocolError> {
        let here = input.len() - at;
        let take = here.min(usize::try_from(payload.remaining).unwrap_or(usize::MAX));
        let data = &mut input[at..at + take];
        payload.mask = unmask(data, payload.mask);
        payload.remaining -= take as u64;
        let frame_done = payload.remaining == 0;
        let end = frame_done && payload.fin;
        if self.skipping {
            if end {
                self.message = None;
                self.skipping = false;
            }
            if !frame_done {
                self.payload = Some(payload);
            }
            return Ok((at + take, Some(Event::Skipped(take))));
        }
        if self
            .message
            .as_ref()
            .is_some_and(|message| message.kind == Kind::Text)
        {
            self.utf8.push(data).map_err(|_| ProtocolError::InvalidText)?;
            if end {
                self.utf8.finish().map_err(|_| ProtocolError::InvalidText)?;
            }
        }
        if end {
            self.message = None;
        }
        if !frame_done {
            self.payload = Some(payload);
        }
        Ok((at + take, Some(Event::Message(Part { begin, data, end }))))
    }

    fn read_control<'a>(
        &mut self,
        header: &Header,
        input: &'a mut [u8],
    ) -> Result<(usize, Option<Event<'a>>), ProtocolError> {
        // At most 125 bytes, as the header was checked.
        let size = header.size + header.len as usize;
        if input.len() < size {
            return Ok((0, None));
        }
        let payload = &mut input[header.size..size];
        unmask(payload, header.mask);
        let event = match header.opcode {
            opcode::PING => Event::Ping(payload),
            opcode::PONG => Event::Pong(payload),
            _ => {
                self.closed = true;
                Event::Close(CloseFrame::parse(payload)?)
            }
        };
        Ok((size, Some(event)))
    }
}

impl Header {
    fn is_control(&self) -> bool {
        self.opcode & 0x8 != 0
    }

    /// Parses a client's frame header (RFC 6455 §5.2), or asks for more bytes. Whatever the first two bytes tell is refused on them.
    fn parse(input: &[u8]) -> Result<Option<Self>, Violation> {
        let (first, second) = match *input {
            [] => return Ok(None),
            [first] => (first, None),
            [first, second, ..] => (first, Some(second)),
        };
        let fin = first & 0x80 != 0;
        let opcode = first & 0x0F;
        if first & 0x70 != 0 {
            return Err(Violation::ReservedBit);
        }
        match opcode {
            opcode::CONTINUATION | opcode::TEXT | opcode::BINARY => {}
            opcode::CLOSE | opcode::PING | opcode::PONG if fin => {}
            opcode::CLOSE | opcode::PING | opcode::PONG => return Err(Violation::ControlFragmented),
            _ => return Err(Violation::ReservedOpcode),
        }
        let Some(second) = second else { return Ok(None) };
        if second & 0x80 == 0 {
            return Err(Violation::NotMasked);
        }
        let short = second & 0x7F;
        if opcode & 0x8 != 0 && usize::from(short) > MAX_CONTROL {
            return Err(Violation::ControlTooLong);
        }
        let (len, at) = match short {
            126 => {
                let Some(bytes) = input.get(2..4).and_then(|bytes| bytes.try_into().ok()) else {
                    return Ok(None);
                };
                let len = u64::from(u16::from_be_bytes(bytes));
                if len < 126 {
                    return Err(Violation::LengthNotMinimal);
                }
                (len, 4)
            }
            127 => {
                let Some(bytes) = input.get(2..10).and_then(|bytes| bytes.try_into().ok()) else {
                    return Ok(None);
                };
                let len = u64::from_be_bytes(bytes);
                if len >> 63 != 0 {
                    return Err(Violation::LengthTopBit);
                }
                if len <= u64::from(u16::MAX) {
                    return Err(Violation::LengthNotMinimal);
                }
                (len, 10)
            }
            short => (u64::from(short), 2),
        };
        let Some(mask) = input.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()) else {
            return Ok(None);
        };
        Ok(Some(Self {
            fin,
            opcode,
            len,
            mask,
            size: at + 4,
        }))
    }
}
