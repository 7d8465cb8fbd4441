//! Why a message cannot become a record, or bytes a message.

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
    /// The framing cannot express an empty message.
    #[error("empty message")]
    EmptyMessage,
    /// All records have one length, and the message has another.
    #[error("message does not have the size of a record")]
    SizeMismatch,
    /// The message carries its own framing, and is not exactly one record of it.
    #[error("message is not one whole record")]
    NotARecord,
    /// PostgreSQL's request for encryption to the backend, whose answer is no record.
    #[error("request for encryption behind sealock")]
    EncryptionRequest,
}

/// Why the backend's bytes cannot become messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A record is longer than the limit: announced so, or already that long.
    #[error("record over the limit")]
    TooBig,
    /// Bytes that no record can have in this place.
    #[error(transparent)]
    Garbage(Garbage),
}

/// What the backend sent in the place of something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Garbage {
    /// Where a record's header has to be.
    #[error("bad record header")]
    Header,
    /// Where the trailer has to be that follows a record's last byte.
    #[error("bad record trailer")]
    Trailer,
    /// Behind an escape, or in the place of one.
    #[error("bad escape")]
    Escape,
    /// Between two records, where nothing may be.
    #[error("bytes outside of a record")]
    Outside,
}

impl Garbage {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Header, Self::Trailer, Self::Escape, Self::Outside];
}
