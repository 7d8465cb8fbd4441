//! `stomp`: frames of STOMP 1.2, and of 1.1 and 1.0, with all their bytes, and the heart-beats between them (STOMP 1.2, "Augmented
//! BNF", "Heart-beating").
//!
//! ```text
//! COMMAND EOL  *( name ":" value EOL )  EOL  body  NUL         EOL: LF, or CR LF.  Between two frames an EOL is a heart-beat.
//! ```
//!
//! With a `content-length` the body has so many bytes, NUL among them; without one it ends at the first NUL. A frame is one message,
//! NUL included, and so is a heart-beat: this is how STOMP is spoken over WebSocket. Frames are read byte by byte up to the body,
//! and nothing but a [`Progress`] is kept of them.
//!
//! What a client sends is held to STOMP 1.2. What a backend sends may be older: a CR that ends no line is a byte like others (1.1),
//! a blank may stand before a number (1.0), and of several lengths the first counts.

use super::{
    DecodeError, DecodeRules, DecodeState, Decoded, EncodeError, EncodeState, Event, Garbage, Oversized,
};
use crate::message::{Begin, Kind, Part};
use crate::outbox::Outbox;

const CONTENT_LENGTH: &[u8] = b"content-length";

/// No command is longer: that of `UNSUBSCRIBE`.
const MAX_COMMAND: u8 = 11;

/// `Progress::matched` of a name that is not [`CONTENT_LENGTH`].
const ANOTHER_NAME: u8 = u8::MAX;

/// How far the current record has been read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    at: At,
    /// Letters of the command so far; or bytes of a header's name, as long as they are those of [`CONTENT_LENGTH`].
    matched: u8,
    /// A header has said how long the body is.
    counted: bool,
    /// How long it is; inside it, what is still to come.
    body: u64,
}

/// What stood before the next byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// A record's end.
    #[default]
    Start,
    /// A CR, which an LF makes a heart-beat.
    HeartBeat,
    /// Letters of the command.
    Command,
    /// The command and a CR.
    CommandEnd,
    /// A line's end.
    Line,
    /// A line's end and a CR, which an LF makes the end of the headers.
    LastLine,
    /// A part of a header's name.
    Name,
    /// A part of a value, or none of it yet.
    Value,
    /// A value's CR, perhaps the one of its line's end.
    ValueEnd,
    /// Digits of the length, or none yet.
    Length,
    /// The length and a CR.
    LengthEnd,
    /// Headers, or a part of a body that ends at a NUL.
    Body,
    /// Headers, or a part of a body whose length is known.
    Counted,
    /// All of such a body.
    Nul,
    /// All of the record.
    Done,
}

/// Whose bytes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Client,
    Backend,
}

/// Why reading stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// The bytes are over.
    Input,
    /// The headers are over, and have told the length of the body.
    Headers,
    /// The record is over.
    End,
}

impl Progress {
    /// Reads on, up to where something can be told. Returns how many bytes that took.
    fn read(&mut self, from: From, bytes: &[u8]) -> Result<(usize, Stop), Garbage> {
        let mut used = 0;
        loop {
            used += self.skip(&bytes[used..]);
            let Some(&byte) = bytes.get(used) else {
                return Ok((used, Stop::Input));
            };
            used += 1;
            self.at = self.next(from, byte)?;
            match self.at {
                At::Done => return Ok((used, Stop::End)),
                At::Counted | At::Nul => return Ok((used, Stop::Headers)),
                _ => {}
            }
        }
    }

    /// How many bytes at the start change nothing: the bulk of a frame.
    fn skip(&mut self, bytes: &[u8]) -> usize {
        match self.at {
            At::Value => memchr::memchr3(b'\n', b'\r', 0, bytes).unwrap_or(bytes.len()),
            At::Body => memchr::memchr(0, bytes).unwrap_or(bytes.len()),
            At::Counted => {
                let len = bytes.len().min(usize::try_from(self.body).unwrap_or(usize::MAX));
                self.body -= len as u64;
                if self.body == 0 {
                    self.at = At::Nul;
                }
                len
            }
            _ => 0,
        }
    }

    /// Where the next byte leads.
    fn next(&mut self, from: From, byte: u8) -> Result<At, Garbage> {
        let strict = from == From::Client;
        Ok(match (self.at, byte) {
            (At::Start | At::HeartBeat, b'\n') | (At::Body | At::Nul, 0) => At::Done,
            (At::Start, b'\r') => At::HeartBeat,
            (At::Start | At::Command, b'A'..=b'Z') if self.matched < MAX_COMMAND => {
                self.matched += 1;
                At::Command
            }
            (At::Command, b'\r') => At::CommandEnd,
            (At::Command | At::CommandEnd | At::Value | At::ValueEnd, b'\n') => At::Line,
            (At::Length | At::LengthEnd, b'\n') if self.counted => At::Line,
            (At::Line, b'\r') => At::LastLine,
            (At::Line | At::LastLine, b'\n') => match (self.counted, self.body) {
                (false, _) => At::Body,
                (true, 0) => At::Nul,
                (true, _) => At::Counted,
            },
            (At::Name, b':') if usize::from(self.matched) == CONTENT_LENGTH.len() => {
                match (self.counted, strict) {
                    (false, _) => At::Length,
                    (true, false) => At::Value,
                    // Whoever takes the last one, as some do, would find another end.
                    (true, true) => return Err(Garbage::Header),
                }
            }
            (At::Name, b':') => At::Value,
            (At::Line | At::Name, byte) if !matches!(byte, b':' | b'\n' | b'\r' | 0) => {
                let before = if self.at == At::Line { 0 } else { self.matched };
                self.matched = match CONTENT_LENGTH.get(usize::from(before)) {
                    Some(expected) if *expected == byte => before + 1,
                    _ => ANOTHER_NAME,
                };
                At::Name
            }
            (At::Value, b'\r') => At::ValueEnd,
            (At::ValueEnd, b'\r') if !strict => At::ValueEnd,
            (At::ValueEnd, 1..) if !strict => At::Value,
            (At::Length, b'0'..=b'9') => {
                self.counted = true;
                // A number that does not fit is over any limit.
                self.body = self.body.saturating_mul(10).saturating_add((byte - b'0').into());
                At::Length
            }
            (At::Length, b' ') if !strict && !self.counted => At::Length,
            (At::Length, b'\r') if self.counted => At::LengthEnd,
            (At::Nul, _) => return Err(Garbage::Trailer),
            (At::Done, _) => return Err(Garbage::Outside),
            _ => return Err(Garbage::Header),
        })
    }
}

pub(super) fn decode<'a>(
    state: &mut DecodeState,
    rules: &DecodeRules,
    input: &'a [u8],
) -> Result<Decoded<'a>, DecodeError> {
    let mut skipped = 0;
    while state.discarding {
        let (len, stop) = state
            .stomp
            .read(From::Backend, &input[skipped..])
            .map_err(DecodeError::Garbage)?;
        skipped += len;
        state.dropped += len as u64;
        match stop {
            Stop::Headers => {}
            Stop::Input => {
                return Ok(Decoded::more(skipped));
            }
            Stop::End => {
                state.discarding = false;
                state.inside = false;
                state.stomp = Progress::default();
            }
        }
    }
    let input = &input[skipped..];
    // One byte more than fits shows that the limit is passed. What is behind it is not looked at before that has been said.
    let room = rules.max_message.saturating_sub(state.seen).saturating_add(1);
    let near = &input[..input.len().min(usize::try_from(room).unwrap_or(usize::MAX))];
    let mut used = 0;
    let (stop, over) = loop {
        let (len, stop) = state
            .stomp
            .read(From::Backend, &near[used..])
            .map_err(DecodeError::Garbage)?;
        used += len;
        let seen = state.seen + used as u64;
        let known = match stop {
            Stop::Headers => seen.saturating_add(state.stomp.body).saturating_add(1),
            Stop::Input | Stop::End => seen,
        };
        let over = known > rules.max_message;
        if over || stop != Stop::Headers {
            break (stop, over);
        }
    };
    #[cfg(test)]
    {
        state.examined += used as u64;
    }
    if used == 0 {
        return Ok(Decoded::more(skipped));
    }
    let end = stop == Stop::End;
    let begin = (!state.inside).then_some(Begin {
        kind: Kind::Binary,
        len: end.then_some(used as u64),
    });
    state.inside = !end;
    state.seen += used as u64;
    if end || over {
        state.seen = 0;
    }
    if end {
        state.stomp = Progress::default();
    }
    let event = if !over {
        Event::Part(Part {
            begin,
            data: &input[..used],
            end,
        })
    } else if rules.oversized == Oversized::Close {
        return Err(DecodeError::TooBig);
    } else {
        state.discarding = !end;
        state.dropped += used as u64;
        Event::Discarded
    };
    Ok(Decoded {
        consumed: skipped + used,
        event,
    })
}

/// Holds the message until its end: a backend might act on a frame that the end of the stream cuts short.
pub(super) fn encode(state: &mut EncodeState, part: &Part<'_>, out: &mut Outbox) -> Result<(), EncodeError> {
    if part.begin.is_some() {
        state.stomp = Progress::default();
    }
    out.push(part.data);
    let mut rest = part.data;
    while !rest.is_empty() {
        let (len, _) = state
            .stomp
            .read(From::Client, rest)
            .map_err(|_| EncodeError::NotARecord)?;
        #[cfg(test)]
        {
            state.examined += len as u64;
        }
        rest = &rest[len..];
    }
    if part.end {
        if state.stomp.at != At::Done {
            return Err(EncodeError::NotARecord);
        }
        out.commit();
    }
    Ok(())
}
