//! `postgres`: messages of PostgreSQL's protocol 3 with all their bytes (PostgreSQL documentation, "Message Formats").
//!
//! ```text
//! | length, 4 bytes, itself included | code | parameters ... |      a client's first message
//! | type | length, 4 bytes, itself included | contents ... |       every other
//! ```
//!
//! The first one starts a session (code 3.x) or cancels a query of another. A request for encryption looks like it, but what follows
//! is one byte, and then no messages at all; TLS ends at sealock, so it is refused.

use super::counted::{Counted, Measured, Place};
use super::{DecodeError, EncodeError, Garbage, Header};
use crate::outbox::Outbox;

/// The shortest and the longest first message that a server takes (`MAX_STARTUP_PACKET_LENGTH`).
const FIRST: std::ops::RangeInclusive<u32> = 8..=10_000;
const MAX_LENGTH: u32 = i32::MAX as u32;

const MAJOR: u32 = 3;
const CANCEL_REQUEST: u32 = 1234 << 16 | 5678;
const SSL_REQUEST: u32 = 1234 << 16 | 5679;
const GSSENC_REQUEST: u32 = 1234 << 16 | 5680;

/// The framing of one direction. See the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Postgres {
    /// True for the client's direction, whose first message has no type.
    pub(super) client: bool,
}

impl Postgres {
    /// True while the next record is one without a type, which is told by its place alone.
    fn is_untyped(self, place: Place) -> bool {
        self.client && place.first
    }
}

impl Counted for Postgres {
    fn header(&self) -> Header {
        Header::Keep
    }

    fn measure(&self, place: Place, input: &[u8]) -> Result<Measured, DecodeError> {
        let (header, before, length, sound) = match *input {
            [a, b, c, d, _, _, _, _, ..] if self.is_untyped(place) => {
                let length = u32::from_be_bytes([a, b, c, d]);
                (8, 0, length, FIRST.contains(&length))
            }
            [kind, a, b, c, d, ..] if !self.is_untyped(place) => {
                let length = u32::from_be_bytes([a, b, c, d]);
                // All types so far are letters and digits.
                let sound = kind.is_ascii_alphanumeric() && (4..=MAX_LENGTH).contains(&length);
                (5, 1, length, sound)
            }
            _ => return Ok(Measured::More { scanned: 0 }),
        };
        if !sound {
            return Err(DecodeError::Garbage(Garbage::Header));
        }
        // Both are at least as long as their headers.
        let body = u64::from(length) + before - header as u64;
        Ok(Measured::Header { header, body })
    }

    /// Nobody asks: what is kept is not written anew.
    fn push_header(&self, _body: u64, _out: &mut Outbox) -> Result<(), EncodeError> {
        Ok(())
    }

    fn check_kept(&self, place: Place, message: &[u8]) -> Result<(), EncodeError> {
        let [_, _, _, _, a, b, c, d, ..] = *message else {
            return Ok(());
        };
        match u32::from_be_bytes([a, b, c, d]) {
            _ if !self.is_untyped(place) => Ok(()),
            SSL_REQUEST | GSSENC_REQUEST => Err(EncodeError::EncryptionRequest),
            CANCEL_REQUEST => Ok(()),
            code if code >> 16 == MAJOR => Ok(()),
            // Protocol 2, whose later messages have no length.
            _ => Err(EncodeError::NotARecord),
        }
    }
}
