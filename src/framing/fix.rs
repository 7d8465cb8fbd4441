//! `fix`: messages of FIX (4.x, FIXT 1.1) in tag=value encoding with all their bytes (FIX TagValue Encoding, "Message structure").
//!
//! ```text
//! 8=FIX.4.4 SOH 9=<length> SOH | 35=... SOH ... SOH | 10=ddd SOH       length: of what lies between the bars
//! ```
//!
//! A client's message has to have the right checksum, for a counterparty would ignore it without a word. A counterparty's message
//! goes on with whatever checksum it has: to ignore a garbled one, and to see the gap that it leaves, is the session protocol's
//! business, and the client speaks it.

use super::counted::{Counted, Measured, Place};
use super::{DecodeError, EncodeError, Garbage, Header};
use crate::outbox::Outbox;

const SOH: u8 = 1;

/// The SOH of the body's last field, and `10=ddd` with its own. So the end of the body is checked too, wherever the stream is cut.
const TRAILER: usize = 8;

/// A header has at most so many bytes; `8=FIXT.1.1`, `9=` and seven digits are 21.
const MAX_FIX_HEADER: usize = 32;

/// A body is a message type at least: `35=0` and its SOH.
const MIN_BODY: u32 = 5;

/// The framing of FIX. See the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fix;

impl Fix {
    /// What BodyLength says, where the first two fields are what they have to be.
    fn body_length(begin_string: &[u8], body_length: &[u8]) -> Option<u32> {
        let version = begin_string.strip_prefix(b"8=")?;
        let digits = body_length.strip_prefix(b"9=")?;
        let sound = !version.is_empty()
            && version.iter().all(u8::is_ascii_graphic)
            && digits.iter().all(u8::is_ascii_digit);
        let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
        (sound && number >= MIN_BODY).then_some(number)
    }
}

impl Counted for Fix {
    const TRAILER: usize = TRAILER;

    fn header(&self) -> Header {
        Header::Keep
    }

    /// The header is so short that it is looked at again rather than remembered.
    fn measure(&self, _place: Place, input: &[u8]) -> Result<Measured, DecodeError> {
        let head = &input[..input.len().min(MAX_FIX_HEADER)];
        let mut ends = memchr::memchr_iter(SOH, head);
        let (Some(first), Some(second)) = (ends.next(), ends.next()) else {
            let may_become = head.iter().zip(b"8=").all(|(byte, start)| byte == start);
            return if may_become && head.len() < MAX_FIX_HEADER {
                Ok(Measured::More { scanned: 0 })
            } else {
                Err(DecodeError::Garbage(Garbage::Header))
            };
        };
        let length = Self::body_length(&head[..first], &head[first + 1..second])
            .ok_or(DecodeError::Garbage(Garbage::Header))?;
        Ok(Measured::Header {
            header: second + 1,
            body: u64::from(length) - 1,
        })
    }

    /// Nobody asks: what is kept is not written anew.
    fn push_header(&self, _body: u64, _out: &mut Outbox) -> Result<(), EncodeError> {
        Ok(())
    }

    fn check_trailer(&self, trailer: &[u8]) -> Result<(), DecodeError> {
        match *trailer {
            [SOH, b'1', b'0', b'=', ref sum @ .., SOH] if sum.iter().all(u8::is_ascii_digit) => Ok(()),
            _ => Err(DecodeError::Garbage(Garbage::Trailer)),
        }
    }

    /// The sum of all bytes up to the SOH before `10=`, modulo 256, in three digits.
    fn check_kept(&self, _place: Place, message: &[u8]) -> Result<(), EncodeError> {
        let (summed, field) = message.split_at(message.len() - (TRAILER - 1));
        let sum = summed.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte));
        if field[3..6] == [b'0' + sum / 100, b'0' + sum / 10 % 10, b'0' + sum % 10] {
            Ok(())
        } else {
            Err(EncodeError::NotARecord)
        }
    }
}
