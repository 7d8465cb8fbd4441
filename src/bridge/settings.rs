//! What a route says about its sessions.

use std::num::NonZeroU64;
use std::time::Duration;

use crate::charset::{Charset, Unmappable};
use crate::framing::{Embedded, Empty, Framing, Oversized, Partial};

/// Everything the bridge needs to know of a route. Made once, shared by its sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How messages become records.
    pub to_backend: Framing,
    /// How records become messages.
    pub to_client: Framing,
    /// Which kinds of message are taken from the client.
    pub accept: Accept,
    /// Which kind the client gets.
    pub deliver: Deliver,
    /// The charset of text in records; `None` is UTF-8.
    pub charset: Option<Charset>,
    /// A character of the client that the charset does not have.
    pub unmappable: Unmappable,
    /// A record that is no text, where it is to be delivered as text.
    pub invalid_text: InvalidText,
    /// The longest message and the longest record, in bytes, as they are received.
    pub max_message: u64,
    /// A delimiter inside a message.
    pub embedded: Embedded,
    /// A message or record over the limit.
    pub oversized: Both<Oversized>,
    /// A record cut short by the end of the backend's stream.
    pub partial: Partial,
    /// An empty message or record.
    pub empty: Both<Empty>,
    /// Whether a client can end its own direction alone.
    pub half_close: HalfClose,
    /// How fast the client may be.
    pub rates: Rates,
    /// How long things may take.
    pub timeouts: Timeouts,
}

/// A policy for each direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Both<T> {
    /// For the client's messages.
    pub to_backend: T,
    /// For the backend's records.
    pub to_client: T,
}

impl<T: Copy> Both<T> {
    /// The same policy for both.
    pub fn of(policy: T) -> Self {
        Self {
            to_backend: policy,
            to_client: policy,
        }
    }
}

/// What becomes of a record that is to be delivered as text and is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidText {
    /// The session ends (close 1007).
    Close,
    /// U+FFFD takes the place of what is no text.
    Replace,
    /// It is delivered as a binary message, as it came. Unfinished records are gathered to know.
    Binary,
}

/// Which kinds of message are taken from the client. Others are refused with 1003.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// Both.
    Any,
    /// Text only.
    Text,
    /// Binary only.
    Binary,
}

/// Which kind of message the client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deliver {
    /// Text, as far as it is text.
    Text,
    /// Binary.
    Binary,
    /// Binary once the client's first message was binary; otherwise text, as far as it is text.
    Auto,
}

/// Whether a client can end its own direction and still get the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HalfClose {
    /// No: the session ends as a whole.
    Never,
    /// An empty message ends the client's direction (FIN to the backend).
    EmptyMessage,
}

/// How much a client may send in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Messages.
    pub messages: Option<NonZeroU64>,
    /// Bytes, with all that WebSocket puts around messages.
    pub bytes: Option<NonZeroU64>,
    /// What becomes of more.
    pub policy: RatePolicy,
}

/// What becomes of a client that is faster than it may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RatePolicy {
    /// It is read no faster.
    #[default]
    Delay,
    /// The session ends (close 1008).
    Close,
}

/// The deadlines of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Longest time for another KiB of a message, or its end; and longest pause inside a record.
    pub record: Duration,
    /// Longest time in which a side takes neither a KiB of what waits for it nor all of it.
    pub write: Duration,
    /// Longest wait for the client's answer to a Close frame.
    pub close: Duration,
    /// Longest wait for the backend's end of stream once it was sent ours.
    pub linger: Duration,
    /// Longest time without a message in either direction.
    pub idle: Option<Duration>,
    /// Time between pings, ±10 %.
    pub ping: Option<Duration>,
    /// Longest silence of the client after a ping.
    pub pong: Duration,
    /// How old a session becomes, ±10 %.
    pub age: Option<Duration>,
    /// How long a session that is asked to end may look for a good moment.
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            record: Duration::from_secs(30),
            write: Duration::from_secs(60),
            close: Duration::from_secs(5),
            linger: Duration::from_secs(5),
            idle: None,
            ping: Some(Duration::from_secs(25)),
            pong: Duration::from_secs(20),
            age: None,
            drain: Duration::from_secs(25),
        }
    }
}
