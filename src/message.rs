//! The vocabulary that the WebSocket codec and the framings share.
//!
//! A message (or a record, its image on the backend's stream) travels as one or more [`Part`]s in order. The first has
//! [`Part::begin`], the last has [`Part::end`]; a message that lies whole in the buffer is a single part with both. So any framing
//! meets the WebSocket side without either knowing the other, nothing ever needs a whole message in memory, and the common small
//! message costs one call on each side.

/// What a WebSocket data message carries (RFC 6455 §5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8 text, opcode 1.
    Text,
    /// Arbitrary bytes, opcode 2.
    Binary,
}

/// What is known when a message starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    /// Text or binary. Records of a byte stream have no kind of their own: framings say [`Kind::Binary`].
    pub kind: Kind,
    /// The length of the whole message in bytes, where the sender announced it.
    pub len: Option<u64>,
}

/// The next piece of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// Present on the first piece of a message.
    pub begin: Option<Begin>,
    /// The bytes of this piece; may be empty.
    pub data: &'a [u8],
    /// True on the last piece.
    pub end: bool,
}

impl<'a> Part<'a> {
    /// A message that lies whole in `data`.
    pub fn whole(kind: Kind, data: &'a [u8]) -> Self {
        Self {
            begin: Some(Begin {
                kind,
                len: Some(data.len() as u64),
            }),
            data,
            end: true,
        }
    }

    /// True when this part is an entire message.
    pub fn is_whole(&self) -> bool {
        self.begin.is_some() && self.end
    }
}
