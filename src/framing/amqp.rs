//! `amqp091`: frames of AMQP 0-9-1 with all their bytes (specification §2.3.5, §4.2.3), and the protocol header that is none (§4.2.2).
//!
//! ```text
//! | type 1 2 3 8 | channel, 2 bytes | size, 4 bytes | payload ... | CE |
//! | A M Q P 0 0 9 1 |       the client's first bytes; a server that wants another version answers with its own, and closes
//! ```
//!
//! The first byte tells one from the other. A heartbeat is of type 8 in the machine-readable part of the specification, and in every
//! broker; the 4 of its text is an error.

use super::counted::{Counted, Measured, Place};
use super::{DecodeError, EncodeError, Garbage, Header};
use crate::outbox::Outbox;

const NAME: &[u8] = b"AMQP";
const PROTOCOL_HEADER: &[u8] = b"AMQP\0\0\x09\x01";
const FRAME_HEADER: usize = 7;
const FRAME_END: u8 = 0xCE;

/// The framing of AMQP 0-9-1. See the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Amqp;

impl Counted for Amqp {
    const TRAILER: usize = 1;

    fn header(&self) -> Header {
        Header::Keep
    }

    fn measure(&self, _place: Place, input: &[u8]) -> Result<Measured, DecodeError> {
        const MORE: Measured = Measured::More { scanned: 0 };
        match *input {
            [] => Ok(MORE),
            [b'A', ..] => {
                if !input.iter().zip(NAME).all(|(byte, name)| byte == name) {
                    Err(DecodeError::Garbage(Garbage::Header))
                } else if input.len() < PROTOCOL_HEADER.len() {
                    Ok(MORE)
                } else {
                    Ok(Measured::Whole {
                        len: PROTOCOL_HEADER.len(),
                    })
                }
            }
            [1 | 2 | 3 | 8, _, _, a, b, c, d, ..] => Ok(Measured::Header {
                header: FRAME_HEADER,
                body: u32::from_be_bytes([a, b, c, d]).into(),
            }),
            [1 | 2 | 3 | 8, ..] => Ok(MORE),
            [..] => Err(DecodeError::Garbage(Garbage::Header)),
        }
    }

    /// Nobody asks: what is kept is not written anew.
    fn push_header(&self, _body: u64, _out: &mut Outbox) -> Result<(), EncodeError> {
        Ok(())
    }

    fn check_trailer(&self, trailer: &[u8]) -> Result<(), DecodeError> {
        if *trailer == [FRAME_END] {
            Ok(())
        } else {
            Err(DecodeError::Garbage(Garbage::Trailer))
        }
    }

    /// A server may name any version. A client that asks for one has to speak it, and the frames of 1.0 are others.
    fn check_kept(&self, _place: Place, message: &[u8]) -> Result<(), EncodeError> {
        if message.starts_with(NAME) && message != PROTOCOL_HEADER {
            return Err(EncodeError::NotARecord);
        }
        Ok(())
    }
}
