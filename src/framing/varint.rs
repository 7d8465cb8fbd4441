//! `varint`: each record starts with its length in groups of seven bits, one in each byte, whose highest bit says that another one
//! follows. With the least significant group first it is LEB128 (Protocol Buffers, "Base 128 Varints"; MQTT 5.0 §1.5.5), with the
//! most significant first the variable-length quantity of MIDI (Standard MIDI Files 1.0).
//!
//! ```text
//! | offset bytes | length, 1 to max_width bytes | body ... |
//! '----------------- header -------------------'
//! ```
//!
//! A length is written in as few bytes as it takes. It is read with leading zero groups too: its value is the same for every reader,
//! and some writers reserve the bytes before they know the length.

use super::counted::{Counted, Measured, Place};
use super::length_prefix::{LengthPrefixError, MAX_OFFSET, check_offset};
use super::{DecodeError, EncodeError, Garbage, Header};
use crate::outbox::Outbox;

/// What 64 bits take.
pub(super) const MAX_WIDTH: usize = 10;

/// Says that another group follows.
const MORE: u8 = 0x80;

const BAD: DecodeError = DecodeError::Garbage(Garbage::Header);

/// The order of the groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Groups {
    /// The least significant first.
    Leb128,
    /// The most significant first.
    BigEndian,
}

/// A length of variable width. See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Varint {
    /// The order of its groups.
    pub groups: Groups,
    /// Bytes before it, 0 to 255.
    pub offset: usize,
    /// The most bytes it may take, 1 to 10.
    pub max_width: usize,
    /// Whether the header belongs to the message.
    pub header: Header,
    /// The fixed bytes before it: written, and required on reading. Empty or `offset` bytes.
    pub template: Box<[u8]>,
}

impl Varint {
    /// Nothing before it, and as wide as a length can be.
    pub fn plain(groups: Groups) -> Self {
        Self {
            groups,
            offset: 0,
            max_width: MAX_WIDTH,
            header: Header::Strip,
            template: Box::default(),
        }
    }

    /// Checks the parameters against each other; every problem is told.
    pub fn check(&self) -> Vec<LengthPrefixError> {
        let mut errors = check_offset(self.offset, &self.template, self.header);
        if !(1..=MAX_WIDTH).contains(&self.max_width) {
            errors.push(LengthPrefixError::MaxWidth);
        }
        errors
    }
}

impl Groups {
    /// The value of a whole length; `None` where it has more than 64 bits.
    #[inline]
    fn read(self, field: &[u8]) -> Option<u64> {
        let add =
            |value: u64, byte: &u8| (value <= u64::MAX >> 7).then(|| value << 7 | u64::from(byte & !MORE));
        match self {
            Self::Leb128 => field.iter().rev().try_fold(0, add),
            Self::BigEndian => field.iter().try_fold(0, add),
        }
    }

    /// Writes a value that fits into the field and fills it.
    #[inline]
    fn write(self, value: u64, field: &mut [u8]) {
        for (at, byte) in field.iter_mut().enumerate() {
            *byte = (value >> (7 * at)) as u8 | MORE;
        }
        if self == Self::BigEndian {
            field.reverse();
        }
        if let Some(last) = field.last_mut() {
            *last &= !MORE;
        }
    }
}

/// How many bytes a value takes.
#[inline]
fn width(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

impl Counted for Varint {
    #[inline]
    fn header(&self) -> Header {
        self.header
    }

    #[inline]
    fn measure(&self, place: Place, input: &[u8]) -> Result<Measured, DecodeError> {
        if !self.template.is_empty() {
            let (from, to) = (place.scanned.min(self.offset), input.len().min(self.offset));
            if self.template.get(from..to) != input.get(from..to) {
                return Err(BAD);
            }
        }
        if input.len() <= self.offset {
            return Ok(Measured::More { scanned: input.len() });
        }
        let most = input.len().min(self.offset + self.max_width);
        let from = place.scanned.max(self.offset);
        match input[from..most].iter().position(|byte| *byte < MORE) {
            Some(at) => {
                let header = from + at + 1;
                let body = self.groups.read(&input[self.offset..header]).ok_or(BAD)?;
                Ok(Measured::Header { header, body })
            }
            None if most == self.offset + self.max_width => Err(BAD),
            None => Ok(Measured::More { scanned: most }),
        }
    }

    #[inline]
    fn push_header(&self, body: u64, out: &mut Outbox) -> Result<(), EncodeError> {
        let width = width(body);
        if width > self.max_width {
            return Err(EncodeError::LengthDoesNotFit);
        }
        let mut field = [0; MAX_WIDTH];
        self.groups.write(body, &mut field[..width]);
        if !self.template.is_empty() {
            out.push(&self.template);
        }
        out.push(&field[..width]);
        Ok(())
    }
}

const _: () = assert!(MAX_OFFSET + MAX_WIDTH <= super::MAX_HEADER);
