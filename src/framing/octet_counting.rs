//! `octet-counting`: a length in decimal digits, a space, the message (RFC 6587 §3.4.1, and the same over TLS in RFC 5425 §4.3).
//!
//! ```text
//! 15 <13>1 - - - - -
//! ```
//!
//! The length starts with a digit other than zero, so there is no empty record.

use super::counted::{Counted, Measured, Place};
use super::{DecodeError, EncodeError, Garbage, Header, decimal};
use crate::outbox::Outbox;

/// The framing; it has no parameters.
pub(super) struct OctetCounting;

impl Counted for OctetCounting {
    fn header(&self) -> Header {
        Header::Strip
    }

    #[inline]
    fn measure(&self, place: Place, input: &[u8]) -> Result<Measured, DecodeError> {
        if input.first() == Some(&b'0') {
            return Err(DecodeError::Garbage(Garbage::Header));
        }
        decimal::measure(place.scanned, input, b' ')
    }

    #[inline]
    fn push_header(&self, body: u64, out: &mut Outbox) -> Result<(), EncodeError> {
        if body == 0 {
            return Err(EncodeError::EmptyMessage);
        }
        decimal::push(body, out);
        out.push(b" ");
        Ok(())
    }
}
