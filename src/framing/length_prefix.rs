//! `length-prefix`: each record starts with its length, with the parameters of Netty's `LengthFieldBasedFrameDecoder`, and the same
//! parameters on the way back (where Netty's `LengthFieldPrepender` and others know only half of them).
//!
//! ```text
//! | offset bytes | length field | body ... |      body = value + adjustment (- offset - width, if the value counts the header)
//! '--------- header -----------'
//! ```

use super::counted::{Counted, Measured, Place};
use super::{DecodeError, EncodeError, Garbage, Header};
use crate::outbox::Outbox;

/// The most bytes that may stand before the length field.
pub(super) const MAX_OFFSET: usize = 255;

/// Byte order of the length field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endian {
    /// Most significant byte first (network order).
    Big,
    /// Least significant byte first.
    Little,
}

impl Endian {
    /// Reads a field of 1 to 8 bytes. The usual widths are spelled out, because each is a single load.
    #[inline]
    fn read(self, field: &[u8]) -> u64 {
        match (self, field) {
            (_, [a]) => u64::from(*a),
            (Self::Big, [a, b]) => u64::from(u16::from_be_bytes([*a, *b])),
            (Self::Little, [a, b]) => u64::from(u16::from_le_bytes([*a, *b])),
            (Self::Big, [a, b, c, d]) => u64::from(u32::from_be_bytes([*a, *b, *c, *d])),
            (Self::Little, [a, b, c, d]) => u64::from(u32::from_le_bytes([*a, *b, *c, *d])),
            (Self::Big, _) => field.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)),
            (Self::Little, _) => field
                .iter()
                .rev()
                .fold(0, |value, byte| value << 8 | u64::from(*byte)),
        }
    }
}

/// A length prefix. See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LengthPrefix {
    /// Bytes of the length field, 1 to 8 (3 included).
    pub width: usize,
    /// Its byte order.
    pub endian: Endian,
    /// Bytes before it, 0 to 255.
    pub offset: usize,
    /// Added to the value of the field to get the length of the body.
    pub adjustment: i64,
    /// True when the value counts the header too.
    pub includes_header: bool,
    /// Whether the header belongs to the message.
    pub header: Header,
    /// The fixed bytes before the length field: written, and required on reading. Empty or `offset` bytes.
    pub template: Box<[u8]>,
}

/// Why a length prefix, of fixed or of variable width, cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LengthPrefixError {
    /// Not 1 to 8.
    #[error("width is 1 to 8 bytes")]
    Width,
    /// Not 1 to 10.
    #[error("max_width is 1 to 10 bytes")]
    MaxWidth,
    /// Over 255.
    #[error("offset is 0 to 255 bytes")]
    Offset,
    /// Outside ±2^32.
    #[error("adjustment lies between -4294967296 and 4294967296")]
    Adjustment,
    /// The template has another length than `offset`.
    #[error("template has exactly as many bytes as offset says")]
    Template,
    /// Header bytes that would be lost on reading and unknown on writing.
    #[error("with an offset and header = \"strip\", a template is needed")]
    TemplateMissing,
}

impl LengthPrefix {
    /// A plain prefix of `width` bytes that counts the body.
    pub fn plain(width: usize, endian: Endian) -> Self {
        Self {
            width,
            endian,
            offset: 0,
            adjustment: 0,
            includes_header: false,
            header: Header::Strip,
            template: Box::default(),
        }
    }

    /// Checks the parameters against each other; every problem is told.
    pub fn check(&self) -> Vec<LengthPrefixError> {
        let mut errors = check_offset(self.offset, &self.template, self.header);
        if !(1..=8).contains(&self.width) {
            errors.push(LengthPrefixError::Width);
        }
        if self.adjustment.unsigned_abs() > 1 << 32 {
            errors.push(LengthPrefixError::Adjustment);
        }
        errors
    }

    fn header_len(&self) -> usize {
        self.offset + self.width
    }

    /// What is added to the value of the field to get the length of the body. Both parts are bounded by [`Self::check`].
    fn bias(&self) -> i64 {
        let counted = if self.includes_header {
            self.header_len() as i64
        } else {
            0
        };
        self.adjustment - counted
    }

    /// The length of the body that a complete header announces.
    #[inline]
    fn body_len(&self, header: &[u8]) -> Result<u64, DecodeError> {
        // Not `starts_with` alone: comparing with the dangling pointer of an empty box is slow on some processors.
        if !self.template.is_empty() && !header.starts_with(&self.template) {
            return Err(DecodeError::Garbage(Garbage::Header));
        }
        let field = &header[self.offset..self.header_len()];
        let bias = self.bias();
        let body = self.endian.read(field).checked_add_signed(bias);
        body.ok_or(if bias < 0 {
            DecodeError::Garbage(Garbage::Header)
        } else {
            DecodeError::TooBig
        })
    }

    /// How many of eight bytes the field does not have, in bits.
    #[inline]
    fn spare_bits(&self) -> usize {
        64 - 8 * self.width
    }

    /// What the field says of a body of this length.
    #[inline]
    fn field_value(&self, body: u64) -> Result<u64, EncodeError> {
        let limit = u64::MAX >> self.spare_bits();
        body.checked_sub_signed(self.bias())
            .filter(|value| *value <= limit)
            .ok_or(EncodeError::LengthDoesNotFit)
    }
}

/// Checks what stands before a length.
pub(super) fn check_offset(offset: usize, template: &[u8], header: Header) -> Vec<LengthPrefixError> {
    let mut errors = Vec::new();
    if offset > MAX_OFFSET {
        errors.push(LengthPrefixError::Offset);
    }
    if !template.is_empty() && template.len() != offset {
        errors.push(LengthPrefixError::Template);
    }
    if header == Header::Strip && offset > 0 && template.is_empty() {
        errors.push(LengthPrefixError::TemplateMissing);
    }
    errors
}

impl Counted for LengthPrefix {
    #[inline]
    fn header(&self) -> Header {
        self.header
    }

    #[inline(always)]
    fn measure(&self, _place: Place, input: &[u8]) -> Result<Measured, DecodeError> {
        let header = self.header_len();
        if input.len() < header {
            return Ok(Measured::More { scanned: 0 });
        }
        let body = self.body_len(input)?;
        Ok(Measured::Header { header, body })
    }

    #[inline]
    fn push_header(&self, body: u64, out: &mut Outbox) -> Result<(), EncodeError> {
        let value = self.field_value(body)?;
        if !self.template.is_empty() {
            out.push(&self.template);
        }
        let field = match self.endian {
            Endian::Big => (value << self.spare_bits()).to_be_bytes(),
            Endian::Little => value.to_le_bytes(),
        };
        out.push_start(field, self.width);
        Ok(())
    }
}
