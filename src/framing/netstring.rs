//! `netstring`: a length in decimal digits, a colon, the bytes, a comma (D. J. Bernstein, Netstrings, 1997).
//!
//! ```text
//! 12:hello world!,
//! ```

use super::counted::{Counted, Measured, Place};
use super::{DecodeError, EncodeError, Garbage, Header, decimal};
use crate::outbox::Outbox;

/// The framing; it has no parameters.
pub(super) struct Netstring;

impl Counted for Netstring {
    const TRAILER: usize = 1;

    fn header(&self) -> Header {
        Header::Strip
    }

    #[inline]
    fn measure(&self, place: Place, input: &[u8]) -> Result<Measured, DecodeError> {
        decimal::measure(place.scanned, input, b':')
    }

    #[inline]
    fn push_header(&self, body: u64, out: &mut Outbox) -> Result<(), EncodeError> {
        decimal::push(body, out);
        out.push(b":");
        Ok(())
    }

    fn push_trailer(&self, _body: u64, out: &mut Outbox) {
        out.push(b",");
    }

    fn check_trailer(&self, trailer: &[u8]) -> Result<(), DecodeError> {
        if trailer == b"," {
            Ok(())
        } else {
            Err(DecodeError::Garbage(Garbage::Trailer))
        }
    }
}
