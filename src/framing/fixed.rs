//! `fixed`: all records have one size, and nothing stands between them. What Netty's `FixedLengthFrameDecoder` reads, and a writer
//! for it.
//!
//! A shorter message is refused, or filled up with a padding byte. Reading gives the padding back with the rest: nobody can tell it
//! from data.

use std::num::NonZeroU64;

use super::counted::{Counted, Measured, Place};
use super::{DecodeError, EncodeError, Header};
use crate::outbox::Outbox;

/// The longest record that is filled up. A client's empty message costs it six bytes and the backend a whole record, so this is the
/// factor by which it can grow on its way.
pub(super) const MAX_PADDED: u64 = 1024;

/// A size of records. See the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fixed {
    size: NonZeroU64,
    pad: Option<u8>,
}

/// Why a size of records cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FixedError {
    /// Zero.
    #[error("a record has at least one byte")]
    Empty,
    /// Too long to be filled up.
    #[error("records with `pad` have at most 1024 bytes")]
    Padded,
}

impl Fixed {
    /// Records of `size` bytes. `pad` fills up what is shorter.
    pub fn new(size: u64, pad: Option<u8>) -> Result<Self, FixedError> {
        let size = NonZeroU64::new(size).ok_or(FixedError::Empty)?;
        if pad.is_some() && size.get() > MAX_PADDED {
            return Err(FixedError::Padded);
        }
        Ok(Self { size, pad })
    }

    /// Bytes of each record.
    pub fn size(&self) -> u64 {
        self.size.get()
    }

    /// How many bytes a message of this length lacks.
    fn lack(&self, body: u64) -> Result<u64, EncodeError> {
        match self.size().checked_sub(body) {
            Some(lack) if lack == 0 || self.pad.is_some() => Ok(lack),
            _ => Err(EncodeError::SizeMismatch),
        }
    }
}

impl Counted for Fixed {
    fn header(&self) -> Header {
        Header::Strip
    }

    /// No header: a record begins with its first byte.
    #[inline]
    fn measure(&self, _place: Place, input: &[u8]) -> Result<Measured, DecodeError> {
        if input.is_empty() {
            return Ok(Measured::More { scanned: 0 });
        }
        Ok(Measured::Header {
            header: 0,
            body: self.size(),
        })
    }

    fn push_header(&self, body: u64, _out: &mut Outbox) -> Result<(), EncodeError> {
        self.lack(body).map(drop)
    }

    fn push_trailer(&self, body: u64, out: &mut Outbox) {
        if let (Some(pad), Ok(lack)) = (self.pad, self.lack(body)) {
            let padding = [pad; MAX_PADDED as usize];
            out.push(&padding[..lack as usize]);
        }
    }
}
