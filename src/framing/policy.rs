//! What becomes of messages and records at the edges: the policies, and which framing has a use for which.

use super::{DelimiterError, Framing};

/// What to do with a delimiter inside a client's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Embedded {
    /// Refuse the message (close 1007 for text, 1008 for binary). Otherwise a page could inject a second command.
    Reject,
    /// Let it pass: the backend sees several records.
    Split,
    /// Put these bytes in its place. They share no byte with any delimiter, so no new one can arise.
    Replace(Box<[u8]>),
    /// Escape it, where the framing has an escape: it arrives as it was.
    Escape,
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

/// Why a policy has no meaning for a framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmbeddedError {
    /// Nothing that a message holds can be taken for a delimiter.
    #[error("the framing to the backend has no delimiter")]
    NoDelimiter,
    /// To escape needs an escape.
    #[error("the framing to the backend has no escape")]
    NoEscape,
    /// Whatever would have to be split or replaced is escaped.
    #[error("the framing to the backend escapes every delimiter")]
    Escapes,
    /// The replacement cannot be used.
    #[error(transparent)]
    Replacement(#[from] DelimiterError),
}

impl Embedded {
    /// True when a framing without an escape refuses such a message.
    pub(super) fn is_refused(&self) -> bool {
        matches!(self, Self::Reject | Self::Escape)
    }
}

impl Framing {
    /// True when whatever a message holds can be written, so that it arrives as it was.
    fn escapes(&self) -> bool {
        match self {
            Self::Block(rule) => rule.escapes(),
            Self::Slip | Self::Cobs => true,
            _ => false,
        }
    }

    /// What to do with an embedded delimiter when the route does not say.
    pub fn default_embedded(&self) -> Embedded {
        if self.escapes() {
            Embedded::Escape
        } else {
            Embedded::Reject
        }
    }

    /// What to do with a record cut short when the route does not say: an unfinished last line is often meant, any other unfinished
    /// record never is.
    pub fn default_partial(&self) -> Partial {
        match self {
            Self::Raw | Self::Delimiter(_) => Partial::Deliver,
            _ => Partial::Error,
        }
    }

    /// Checks what is to become of an embedded delimiter against this framing.
    pub fn check_embedded(&self, embedded: &Embedded) -> Result<(), EmbeddedError> {
        match (self, embedded) {
            (Self::Block(rule), Embedded::Reject) if rule.escapes() => Ok(()),
            (_, Embedded::Escape) if self.escapes() => Ok(()),
            (_, _) if self.escapes() => Err(EmbeddedError::Escapes),
            (Self::Delimiter(_) | Self::Block(_), Embedded::Escape) => Err(EmbeddedError::NoEscape),
            (Self::Delimiter(rule), Embedded::Replace(bytes)) => Ok(rule.check_replacement(bytes)?),
            (Self::Block(rule), Embedded::Replace(bytes)) => Ok(rule.check_replacement(bytes)?),
            (Self::Delimiter(_) | Self::Block(_), _) => Ok(()),
            (_, _) => Err(EmbeddedError::NoDelimiter),
        }
    }
}
