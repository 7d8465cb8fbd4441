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

mod amqp;
mod block;
mod cobs;
mod content_length;
mod counted;
mod decimal;
mod delimiter;
mod error;
mod fix;
mod fixed;
mod json_seq;
mod length_prefix;
mod netstring;
mod octet_counting;
mod policy;
mod postgres;
mod preset;
mod raw;
mod runs;
mod slip;
mod stomp;
#[cfg(test)]
mod tests;
mod varint;

pub use block::{Block, BlockError, Outside};
pub use content_length::ContentLength;
pub use delimiter::{Delimiter, DelimiterError};
pub use error::{DecodeError, EncodeError, Garbage};
pub use fixed::{Fixed, FixedError};
pub use length_prefix::{Endian, LengthPrefix, LengthPrefixError};
pub use policy::{Embedded, EmbeddedError, Empty, Oversized, Partial};
pub use postgres::Postgres;
pub use preset::{Preset, preset, preset_names};
pub use varint::{Groups, Varint};

use netstring::Netstring;
use octet_counting::OctetCounting;

use crate::message::Part;
use crate::outbox::Outbox;

/// The most bytes a decoder leaves unconsumed: an incomplete header (or delimiter, or character).
pub const MAX_HEADER: usize = 512;
const _: () = assert!(length_prefix::MAX_OFFSET + 8 <= MAX_HEADER);

/// A framing with its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No framing: bytes go on as they arrive, and whatever was read is one message.
    Raw,
    /// Records end with a delimiter.
    Delimiter(Delimiter),
    /// Records start with their length.
    LengthPrefix(LengthPrefix),
    /// Records start with their length, in as many bytes as it takes.
    Varint(Varint),
    /// Records have one size.
    Fixed(Fixed),
    /// Records are netstrings.
    Netstring,
    /// Records start with header lines, one of which tells the length.
    ContentLength(ContentLength),
    /// Records start with their length in decimal digits and a space.
    OctetCounting,
    /// Frames of STOMP, and its heart-beats.
    Stomp,
    /// Messages of PostgreSQL's protocol.
    Postgres(Postgres),
    /// Frames of AMQP 0-9-1, and its protocol header.
    Amqp,
    /// Messages of FIX.
    Fix,
    /// Records stand between a start and an end.
    Block(Block),
    /// RFC 1055: a byte ends each record, and is escaped inside.
    Slip,
    /// Consistent Overhead Byte Stuffing: a zero ends each record, and inside there is none.
    Cobs,
    /// RFC 7464: JSON texts, each between a record separator and a line feed.
    JsonSeq,
}

/// Whether a record's header belongs to the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// The message is the body; the header is taken off and put on.
    Strip,
    /// The message carries its own header, whose length is checked.
    Keep,
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

impl<'a> Decoded<'a> {
    /// Nothing more can be said before more input arrives.
    #[inline]
    fn more(consumed: usize) -> Self {
        Self {
            consumed,
            event: Event::More,
        }
    }

    /// All of the input, out of the middle of a record.
    #[inline]
    fn middle(input: &'a [u8]) -> Self {
        Self {
            consumed: input.len(),
            event: Event::Part(Part {
                begin: None,
                data: input,
                end: false,
            }),
        }
    }
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
    /// The length of the message, where it was announced.
    announced: Option<u64>,
    /// How many of the held bytes were searched already.
    scanned: usize,
    /// A message has passed before this one.
    started: bool,
    stomp: stomp::Progress,
    /// Delimiters inside messages that were let pass or replaced, since the caller last asked.
    embedded: u64,
    /// What is known of a JSON text.
    json: json_seq::Scan,
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
    /// Bytes of the current record still to come and be delivered, where its length is known.
    remaining: u64,
    /// The same, to be dropped.
    to_drop: u64,
    /// Bytes of the current record seen so far, where it is not.
    seen: u64,
    /// How many bytes of an incomplete header were searched already.
    scanned: usize,
    /// A record has passed before this one.
    started: bool,
    stomp: stomp::Progress,
    /// Input bytes that were used up without being delivered, since the caller last asked.
    dropped: u64,
    /// Input bytes between records that were skipped, since the caller last asked.
    outside: u64,
    /// COBS: how many bytes stand before the next code.
    to_code: u8,
    /// COBS: a zero precedes what follows in this record.
    owes_zero: bool,
    /// What is known of a JSON text.
    json: json_seq::Scan,
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

    /// Forgets the current message, but not that others have passed before it.
    pub fn forget_message(&mut self) {
        *self = Self {
            started: self.started,
            ..Self::default()
        };
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

    /// How many bytes between records were skipped ([`Outside::Skip`]) since this was last asked.
    pub fn take_outside(&mut self) -> u64 {
        std::mem::take(&mut self.outside)
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
            Self::LengthPrefix(rule) => counted::encode(rule, state, part, out),
            Self::Varint(rule) => counted::encode(rule, state, part, out),
            Self::Fixed(rule) => counted::encode(rule, state, part, out),
            Self::Netstring => counted::encode(&Netstring, state, part, out),
            Self::ContentLength(rule) => counted::encode(rule, state, part, out),
            Self::OctetCounting => counted::encode(&OctetCounting, state, part, out),
            Self::Stomp => stomp::encode(state, part, out),
            Self::Postgres(rule) => counted::encode(rule, state, part, out),
            Self::Amqp => counted::encode(&amqp::Amqp, state, part, out),
            Self::Fix => counted::encode(&fix::Fix, state, part, out),
            Self::Block(rule) => rule.encode(state, embedded, part, out),
            Self::Slip => slip::encode(state, part, out),
            Self::Cobs => {
                cobs::encode(state, part, out);
                Ok(())
            }
            Self::JsonSeq => json_seq::encode(state, part, out),
        };
        if result.is_err() {
            state.forget_message();
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
        // Most records are short: a call for each would cost as much as what it does.
        let whole = match self {
            Self::Delimiter(rule) => rule.whole_record(input),
            Self::LengthPrefix(rule) => counted::whole_record(rule, input),
            Self::Raw => return None,
            _ => self.other_whole_record(state, input),
        };
        whole.filter(|record| (record.end - record.start) as u64 <= rules.max_message)
    }

    #[inline(never)]
    fn other_whole_record(&self, state: &DecodeState, input: &[u8]) -> Option<WholeRecord> {
        match self {
            Self::Block(rule) => rule.whole_record(input),
            Self::Slip => slip::whole_record(input),
            Self::Cobs => cobs::whole_record(input),
            // `decode` has searched the start of this header, and goes on where it stopped.
            _ if state.scanned > 0 => None,
            Self::Varint(rule) => counted::whole_record(rule, input),
            Self::Fixed(rule) => counted::whole_record(rule, input),
            Self::Netstring => counted::whole_record(&Netstring, input),
            Self::ContentLength(rule) => counted::whole_record(rule, input),
            Self::OctetCounting => counted::whole_record(&OctetCounting, input),
            Self::Postgres(rule) if state.started => counted::whole_record(rule, input),
            // Reading from the start again what turns out not to be whole would cost more than it saves.
            Self::JsonSeq | Self::Stomp | Self::Postgres(_) => None,
            // Seen to already.
            Self::Raw | Self::Delimiter(_) | Self::LengthPrefix(_) => None,
            Self::Amqp => counted::whole_record(&amqp::Amqp, input),
            Self::Fix => counted::whole_record(&fix::Fix, input),
        }
    }

    /// Takes the next piece out of what the backend sent. `eof` says that nothing follows `input`.
    ///
    /// Call again with the rest of the input until it says [`Event::More`].
    #[inline]
    pub fn decode<'a>(
        &self,
        state: &mut DecodeState,
        rules: &DecodeRules,
        input: &'a [u8],
        eof: bool,
    ) -> Result<Decoded<'a>, DecodeError> {
        // How every pass ends: it pays not to ask the framing.
        if input.is_empty() && !eof {
            return Ok(Decoded::more(0));
        }
        // The middle of a record: of a long one, or of one that comes in crumbs, nearly all is.
        if (input.len() as u64) < state.remaining && !input.is_empty() {
            state.remaining -= input.len() as u64;
            return Ok(Decoded::middle(input));
        }
        if let Self::Delimiter(rule) = self
            && let Some(typed) = rule.decode_typed(state, rules, input)
        {
            return Ok(typed);
        }
        self.decode_edge(state, rules, input, eof)
    }

    #[inline(never)]
    fn decode_edge<'a>(
        &self,
        state: &mut DecodeState,
        rules: &DecodeRules,
        input: &'a [u8],
        eof: bool,
    ) -> Result<Decoded<'a>, DecodeError> {
        match self {
            Self::Raw => raw::decode(rules, input),
            Self::Delimiter(rule) => rule.decode(state, rules, input, eof),
            Self::LengthPrefix(rule) => counted::decode(rule, state, rules, input),
            Self::Varint(rule) => counted::decode(rule, state, rules, input),
            Self::Fixed(rule) => counted::decode(rule, state, rules, input),
            Self::Netstring => counted::decode(&Netstring, state, rules, input),
            Self::ContentLength(rule) => counted::decode(rule, state, rules, input),
            Self::OctetCounting => counted::decode(&OctetCounting, state, rules, input),
            Self::Stomp => stomp::decode(state, rules, input),
            Self::Postgres(rule) => counted::decode(rule, state, rules, input),
            Self::Amqp => counted::decode(&amqp::Amqp, state, rules, input),
            Self::Fix => counted::decode(&fix::Fix, state, rules, input),
            Self::Block(rule) => rule.decode(state, rules, input, eof),
            Self::Slip => slip::decode(state, rules, input, eof),
            Self::Cobs => cobs::decode(state, rules, input),
            Self::JsonSeq => json_seq::decode(state, rules, input, eof),
        }
    }

    /// True when there are no records.
    pub fn is_raw(&self) -> bool {
        matches!(self, Self::Raw)
    }

    /// True when a record's length is known before its bytes arrive.
    pub fn announces_length(&self) -> bool {
        match self {
            Self::Raw
            | Self::Delimiter(_)
            | Self::Block(_)
            | Self::Slip
            | Self::Cobs
            | Self::JsonSeq
            | Self::Stomp => false,
            Self::LengthPrefix(_)
            | Self::Varint(_)
            | Self::Fixed(_)
            | Self::Netstring
            | Self::ContentLength(_)
            | Self::OctetCounting
            | Self::Postgres(_)
            | Self::Amqp
            | Self::Fix => true,
        }
    }

    /// True when records carry their headers into the messages.
    pub fn keeps_header(&self) -> bool {
        let header = match self {
            Self::LengthPrefix(rule) => rule.header,
            Self::Varint(rule) => rule.header,
            Self::ContentLength(rule) => rule.header,
            Self::Raw
            | Self::Delimiter(_)
            | Self::Fixed(_)
            | Self::Netstring
            | Self::OctetCounting
            | Self::Block(_)
            | Self::Slip
            | Self::Cobs
            | Self::JsonSeq => Header::Strip,
            Self::Stomp | Self::Postgres(_) | Self::Amqp | Self::Fix => Header::Keep,
        };
        header == Header::Keep
    }
}
