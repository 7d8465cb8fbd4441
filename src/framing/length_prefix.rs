//! `length-prefix`: each record starts with its length, with the parameters of Netty's `LengthFieldBasedFrameDecoder`, and the same
//! parameters on the way back (where Netty's `LengthFieldPrepender` and others know only half of them).
//!
//! ```text
//! | offset bytes | length field | body ... |      body = value + adjustment (- offset - width, if the value counts the header)
//! '--------- header -----------'
//! ```

use super::{
    DecodeError, DecodeRules, DecodeState, Decoded, EncodeError, EncodeState, Event, Oversized, Phase,
    WholeRecord,
};
use crate::message::{Begin, Kind, Part};
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

    /// Writes the low bytes of a value into a field of 1 to 8 bytes.
    fn write(self, value: u64, field: &mut [u8]) {
        let width = field.len();
        match self {
            Self::Big => field.copy_from_slice(&value.to_be_bytes()[8 - width..]),
            Self::Little => field.copy_from_slice(&value.to_le_bytes()[..width]),
        }
    }
}

/// Whether the header belongs to the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// The message is the body; the header is taken off and put on.
    Strip,
    /// The message carries its own header, whose length is checked.
    Keep,
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

/// Why a length prefix cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LengthPrefixError {
    /// Not 1 to 8.
    #[error("width is 1 to 8 bytes")]
    Width,
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
        let mut errors = Vec::new();
        if !(1..=8).contains(&self.width) {
            errors.push(LengthPrefixError::Width);
        }
        if self.offset > MAX_OFFSET {
            errors.push(LengthPrefixError::Offset);
        }
        if self.adjustment.unsigned_abs() > 1 << 32 {
            errors.push(LengthPrefixError::Adjustment);
        }
        if !self.template.is_empty() && self.template.len() != self.offset {
            errors.push(LengthPrefixError::Template);
        }
        if self.header == Header::Strip && self.offset > 0 && self.template.is_empty() {
            errors.push(LengthPrefixError::TemplateMissing);
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
            return Err(DecodeError::BadHeader);
        }
        let field = &header[self.offset..self.header_len()];
        let bias = self.bias();
        let body = self.endian.read(field).checked_add_signed(bias);
        body.ok_or(if bias < 0 {
            DecodeError::BadHeader
        } else {
            DecodeError::TooBig
        })
    }

    /// What the field says of a body of this length.
    #[inline]
    fn field_value(&self, body: u64) -> Result<u64, EncodeError> {
        let limit = u64::MAX >> (64 - 8 * self.width);
        body.checked_sub_signed(self.bias())
            .filter(|value| *value <= limit)
            .ok_or(EncodeError::LengthDoesNotFit)
    }

    /// Appends the header for a body of this length. The usual widths are spelled out, because each is a single store.
    #[inline]
    fn push_header(&self, body: u64, out: &mut Outbox) -> Result<(), EncodeError> {
        let value = self.field_value(body)?;
        if !self.template.is_empty() {
            out.push(&self.template);
        }
        match (self.endian, self.width) {
            (_, 1) => out.push(&[value as u8]),
            (Endian::Big, 2) => out.push(&(value as u16).to_be_bytes()),
            (Endian::Big, 4) => out.push(&(value as u32).to_be_bytes()),
            (Endian::Big, width) => out.push(&value.to_be_bytes()[8 - width..]),
            (Endian::Little, 2) => out.push(&(value as u16).to_le_bytes()),
            (Endian::Little, 4) => out.push(&(value as u32).to_le_bytes()),
            (Endian::Little, width) => out.push(&value.to_le_bytes()[..width]),
        }
        Ok(())
    }

    /// Writes the header for a body of this length into `header`, which has [`Self::header_len`] bytes.
    fn write_header(&self, body: u64, header: &mut [u8]) -> Result<(), EncodeError> {
        let value = self.field_value(body)?;
        header[..self.template.len()].copy_from_slice(&self.template);
        self.endian.write(value, &mut header[self.offset..]);
        Ok(())
    }

    /// See [`super::Framing::whole_record`].
    #[inline]
    pub(super) fn whole_record(&self, input: &[u8]) -> Option<WholeRecord> {
        let header_len = self.header_len();
        let body = self.body_len(input.get(..header_len)?).ok()?;
        let end = usize::try_from(body).ok()?.checked_add(header_len)?;
        let start = match self.header {
            Header::Strip => header_len,
            Header::Keep => 0,
        };
        (end <= input.len()).then_some(WholeRecord {
            start,
            end,
            consumed: end,
        })
    }

    pub(super) fn decode<'a>(
        &self,
        state: &mut DecodeState,
        rules: &DecodeRules,
        input: &'a [u8],
    ) -> Result<Decoded<'a>, DecodeError> {
        let mut skipped = 0;
        if state.discarding {
            skipped = input
                .len()
                .min(usize::try_from(state.remaining).unwrap_or(usize::MAX));
            state.remaining -= skipped as u64;
            state.dropped += skipped as u64;
            if state.remaining > 0 {
                return Ok(Decoded {
                    consumed: skipped,
                    event: Event::More,
                });
            }
            state.inside = false;
            state.discarding = false;
        }
        let input = &input[skipped..];
        let (begin, header) = if state.inside {
            (None, 0)
        } else {
            if input.len() < self.header_len() {
                return Ok(Decoded {
                    consumed: skipped,
                    event: Event::More,
                });
            }
            let body = self.body_len(&input[..self.header_len()])?;
            let kept = if self.header == Header::Keep {
                self.header_len()
            } else {
                0
            };
            let len = body.checked_add(kept as u64).ok_or(DecodeError::TooBig)?;
            let header = self.header_len() - kept;
            state.remaining = len;
            if len > rules.max_message {
                if rules.oversized == Oversized::Close {
                    return Err(DecodeError::TooBig);
                }
                state.inside = true;
                state.discarding = true;
                state.dropped += header as u64;
                return Ok(Decoded {
                    consumed: skipped + header,
                    event: Event::Discarded,
                });
            }
            (
                Some(Begin {
                    kind: Kind::Binary,
                    len: Some(len),
                }),
                header,
            )
        };
        let here = input.len() - header;
        let take = here.min(usize::try_from(state.remaining).unwrap_or(usize::MAX));
        let data = &input[header..header + take];
        state.remaining -= take as u64;
        let end = state.remaining == 0;
        state.inside = !end;
        if begin.is_none() && data.is_empty() {
            return Ok(Decoded {
                consumed: skipped,
                event: Event::More,
            });
        }
        Ok(Decoded {
            consumed: skipped + header + take,
            event: Event::Part(Part { begin, data, end }),
        })
    }

    pub(super) fn encode(
        &self,
        state: &mut EncodeState,
        part: &Part<'_>,
        out: &mut Outbox,
    ) -> Result<(), EncodeError> {
        match self.header {
            Header::Strip => self.encode_stripped(state, part, out),
            Header::Keep => self.encode_kept(state, part, out),
        }
    }

    fn encode_stripped(
        &self,
        state: &mut EncodeState,
        part: &Part<'_>,
        out: &mut Outbox,
    ) -> Result<(), EncodeError> {
        match part.begin {
            Some(Begin { len: Some(len), .. }) => {
                self.push_header(len, out)?;
                state.phase = Phase::Streaming;
            }
            Some(Begin { len: None, .. }) => {
                out.push_zeros(self.header_len());
                state.phase = Phase::Holding;
            }
            None => {}
        }
        out.push(part.data);
        if part.end && state.phase == Phase::Holding {
            let body = (out.held().len() - self.header_len()) as u64;
            self.write_header(body, &mut out.held_mut()[..self.header_len()])?;
            state.phase = Phase::Streaming;
        }
        if state.phase == Phase::Streaming {
            out.commit();
        }
        if part.end {
            state.phase = Phase::Between;
        }
        Ok(())
    }

    /// `keep`: the message starts with its own header. Nothing of it leaves before that has been checked.
    fn encode_kept(
        &self,
        state: &mut EncodeState,
        part: &Part<'_>,
        out: &mut Outbox,
    ) -> Result<(), EncodeError> {
        if let Some(begin) = part.begin {
            *state = EncodeState {
                phase: Phase::Holding,
                announced: begin.len,
                ..EncodeState::default()
            };
        }
        out.push(part.data);
        if state.phase == Phase::Holding {
            let held = out.held().len();
            let len = if part.end {
                Some(held as u64)
            } else {
                state.announced
            };
            match len {
                Some(len) if held >= self.header_len() => {
                    let body = self.body_len(&out.held()[..self.header_len()]);
                    if body
                        .ok()
                        .and_then(|body| body.checked_add(self.header_len() as u64))
                        != Some(len)
                    {
                        return Err(EncodeError::HeaderMismatch);
                    }
                    state.phase = Phase::Streaming;
                }
                Some(_) if part.end => return Err(EncodeError::HeaderMismatch),
                _ => {}
            }
        }
        if state.phase == Phase::Streaming {
            out.commit();
        }
        if part.end {
            *state = EncodeState::default();
        }
        Ok(())
    }
}
