//! Framings: the rules that map messages to records of a byte stream, and back.
//!
//! A framing is a value, made once from the configuration and shared by all sessions of a route. What a session needs to remember is
//! in [`EncodeState`] and [`DecodeState`], a few words each; the bytes themselves stay with the caller. Nothing here does I/O.
//!
//! - *Encode* (uplink) takes the [`Part`]s of a message and appends its record to an [`Outbox`]. A framing whose records show when
//!   they are cut short lets the bytes go as they come; the others hold them until the message has ended, because half a line
//!   followed by an end of stream can be executed by a legacy server.
//! - *Decode* (downlink) takes whatever the backend sent and gives back parts. It consumes all it can use; what it leaves (at most
//!   [`MAX_HEADER`] bytes) must stand at the start of the next input.

mod delimiter;
mod length_prefix;
mod preset;
mod raw;
#[cfg(test)]
mod tests;

pub use delimiter::{Delimiter, DelimiterError};
pub use length_prefix::{Endian, Header, LengthPrefix, LengthPrefixError};
pub use preset::{Preset, preset, preset_names};

use crate::message::Part;
use crate::outbox::Outbox;

/// The most bytes a decoder leaves unconsumed: an incomplete length header (or delimiter, or character).
pub const MAX_HEADER: usize = length_prefix::MAX_OFFSET + 8;

/// A framing with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No framing: bytes go on as they arrive, and whatever was read is one message.
    Raw,
    /// Records end with a delimiter.
    Delimiter(Delimiter),
    /// Records start with their length.
    LengthPrefix(LengthPrefix),
}

/// What to do with a delimiter inside a client's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Embedded {
    /// Refuse the message (close 1007 for text, 1008 for binary). Otherwise a page could inject a second command.
    Reject,
    /// Let it pass: the backend sees several records.
    Split,
    /// Put these bytes in its place. They share no byte with any delimiter, so no new one can arise.
    Replace(Box<[u8]>),
}

/// What to do with a record longer than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oversized {
    /// End the session (close 1009).
    Close,
    /// Drop this record, count it, and go on with the next.
    Discard,
}

/// What to do with a record that the end of the stream cuts short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partial {
    /// Close 1011; the part is dropped and counted.
    Error,
    /// Deliver what is there as a message, then close 1000.
    Deliver,
    /// Drop what is there, count it, then close 1000.
    Drop,
}

/// What to do with an empty message or record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Empty {
    /// Treat it like any other.
    Deliver,
    /// Leave it out and count it.
    Skip,
}

/// Why a message cannot become a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// It holds a delimiter (or would form one with the delimiter behind it).
    #[error("delimiter inside a message")]
    DelimiterInside,
    /// The message must carry its delimiter (`keep`), and does not end with one.
    #[error("message does not end with the delimiter")]
    DelimiterMissing,
    /// The length field cannot express its length.
    #[error("message length does not fit the length field")]
    LengthDoesNotFit,
    /// The message carries its own header (`header = "keep"`), which is incomplete or does not match it.
    #[error("message does not match its own length header")]
    HeaderMismatch,
}

/// Why the backend's bytes cannot become messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A record is longer than the limit: announced so, or already that long.
    #[error("record over the limit")]
    TooBig,
    /// The bytes where a header should be cannot be one.
    #[error("bad length header")]
    BadHeader,
}

/// What a decoder checks records against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeRules {
    /// The longest record that is delivered, in bytes of the message.
    pub max_message: u64,
    /// What happens to longer ones.
    pub oversized: Oversized,
    /// True when records must not be cut inside a UTF-8 character (only [`Framing::Raw`] cuts where it likes).
    pub text: bool,
}

/// What a decoder made of some input.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded<'a> {
    /// How many bytes of the input were used.
    pub consumed: usize,
    /// What they gave.
    pub event: Event<'a>,
}

/// A record that lies whole at the start of some input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WholeRecord {
    /// Where its message starts.
    pub start: usize,
    /// Where its message ends.
    pub end: usize,
    /// How many bytes of the input the record takes.
    pub consumed: usize,
}

/// See [`Decoded`].
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Nothing more can be said before more input arrives.
    More,
    /// A piece of a record.
    Part(Part<'a>),
    /// The current record is over the limit: whatever was delivered of it is to be forgotten ([`Oversized::Discard`]).
    Discarded,
}

/// What a session remembers between calls of [`Framing::encode`].
#[derive(Clone, Copy, Debug, Default)]
pub struct EncodeState {
    phase: Phase,
    /// The length of the message as announced, while its header is not complete.
    announced: Option<u64>,
    /// How many of the held bytes were searched already.
    scanned: usize,
    /// Delimiters inside messages that were let pass or replaced, since the caller last asked.
    embedded: u64,
    /// Bytes of the message looked at so far: proves that work is linear.
    #[cfg(test)]
    examined: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Between,
    /// Bytes of the message wait in the outbox.
    Holding,
    /// The record's start has left; the rest follows as it arrives.
    Streaming,
}

/// What a session remembers between calls of [`Framing::decode`].
#[derive(Clone, Copy, Debug, Default)]
pub struct DecodeState {
    inside: bool,
    discarding: bool,
    /// Bytes of the current record still to come, where its length is known.
    remaining: u64,
    /// Bytes of the current record seen so far, where it is not.
    seen: u64,
    /// Input bytes that were used up without being delivered, since the caller last asked.
    dropped: u64,
    /// Input bytes looked at so far: proves that work is linear.
    #[cfg(test)]
    examined: u64,
}

impl EncodeState {
    /// True while a record is on its way of which the rest is still to come: ending the stream now would cut it in a way that the
    /// backend must be told about by a reset.
    pub fn is_cut(&self) -> bool {
        self.phase == Phase::Streaming
    }

    /// How many delimiters inside messages were let pass or replaced since this was last asked.
    #[inline]
    pub fn take_embedded(&mut self) -> u64 {
        std::mem::take(&mut self.embedded)
    }
}

impl DecodeState {
    /// True while the start of a record has been delivered (or dropped) and its end has not been seen.
    pub fn is_inside(&self) -> bool {
        self.inside
    }

    /// How many bytes of records over the limit were used up since this was last asked.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// True while the current record is being dropped.
    pub fn is_discarding(&self) -> bool {
        self.discarding
    }
}

impl Framing {
    /// Appends the next part of a client's message to `out` as its record's image, and commits what may leave.
    ///
    /// After an error nothing of this message is left in `out` beyond what had been committed.
    // Each message passes here: one call, the rule's, is enough for it.
    #[inline(always)]
    pub fn encode(
        &self,
        state: &mut EncodeState,
        embedded: &Embedded,
        part: &Part<'_>,
        out: &mut Outbox,
    ) -> Result<(), EncodeError> {
        let result = match self {
            Self::Raw => {
                raw::encode(part, out);
                Ok(())
            }
            Self::Delimiter(rule) => rule.encode(state, embedded, part, out),
            Self::LengthPrefix(rule) => rule.encode(state, part, out),
        };
        if result.is_err() {
            *state = EncodeState::default();
            out.discard_held();
        }
        result
    }

    /// Recognises what most of the input is: a record of which all is there, between others, that [`Framing::decode`] would deliver
    /// in one part. Nothing but a shortcut: it says little, so that it costs little, and leaves `state` alone. `None` means that
    /// `decode` has to look.
    #[inline]
    pub fn whole_record(
        &self,
        state: &DecodeState,
        rules: &DecodeRules,
        input: &[u8],
    ) -> Option<WholeRecord> {
        // A record that is being discarded is one that we are inside of, too.
        if state.inside {
            return None;
        }
        let whole = match self {
            Self::Raw => None,
            Self::Delimiter(rule) => rule.whole_record(input),
            Self::LengthPrefix(rule) => rule.whole_record(input),
        };
        whole.filter(|record| (record.end - record.start) as u64 <= rules.max_message)
    }

    /// Takes the next piece out of what the backend sent. `eof` says that nothing follows `input`.
    ///
    /// Call again with the rest of the input until it says [`Event::More`].
    pub fn decode<'a>(
        &self,
        state: &mut DecodeState,
        rules: &DecodeRules,
        input: &'a [u8],
        eof: bool,
    ) -> Result<Decoded<'a>, DecodeError> {
        match self {
            Self::Raw => raw::decode(rules, input),
            Self::Delimiter(rule) => rule.decode(state, rules, input, eof),
            Self::LengthPrefix(rule) => rule.decode(state, rules, input),
        }
    }

    /// True when there are no records.
    pub fn is_raw(&self) -> bool {
        matches!(self, Self::Raw)
    }

    /// True when a record's length is known before its bytes arrive.
    pub fn announces_length(&self) -> bool {
        matches!(self, Self::LengthPrefix(_))
    }

    /// What to do with a record cut short when the route does not say: an unfinished last line is often meant, an unfinished
    /// counted record never is.
    pub fn default_partial(&self) -> Partial {
        match self {
            Self::Raw | Self::Delimiter(_) => Partial::Deliver,
            Self::LengthPrefix(_) => Partial::Error,
        }
    }
}
