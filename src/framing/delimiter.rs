//! `delimiter`: each record ends with a delimiter, as Netty's `DelimiterBasedFrameDecoder` reads it, with the writing half it lacks.
//!
//! Several delimiters may be listed. The first is written; on reading, the one that starts earliest ends the record, and the longest
//! of those that start at the same place. So with `["\r\n", "\r"]` a `\r` at the end of what has arrived waits for the next byte,
//! which makes the result independent of how the stream was cut.

use super::{
    DecodeError, DecodeRules, DecodeState, Decoded, Embedded, EncodeError, EncodeState, Event, Oversized,
    Phase, WholeRecord,
};
use crate::message::{Begin, Kind, Part};
use crate::outbox::Outbox;

/// How many delimiters may be listed, and how many bytes each may have.
pub(super) const MAX_DELIMITERS: usize = 16;
pub(super) const MAX_LEN: usize = 16;

/// A set of delimiters. See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delimiter {
    /// The one that is written.
    written: Box<[u8]>,
    /// All, the longest first.
    all: Box<[Box<[u8]>]>,
    /// The distinct first bytes of all of them.
    leads: Box<[u8]>,
    /// How far a delimiter that ends in new bytes may reach back over those before: one less than the longest has.
    reach: usize,
    /// The one delimiter there is, where it is a single byte: the usual case, which needs no search beyond that byte.
    only: Option<u8>,
    keep: bool,
}

/// Why a set of delimiters cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DelimiterError {
    /// Nothing listed.
    #[error("at least one delimiter is needed")]
    None,
    /// One of them is empty or too long.
    #[error("a delimiter has 1 to 16 bytes")]
    Length,
    /// Too many listed.
    #[error("at most 16 delimiters can be listed")]
    TooMany,
    /// The one that is written starts another one, so reading could not tell where a record ends.
    #[error("the first delimiter, which is written, must not be the start of another one")]
    Ambiguous,
    /// The replacement is empty or shares a byte with a delimiter.
    #[error("the replacement must not be empty nor share a byte with a delimiter")]
    Replacement,
}

/// Where a delimiter was found.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// A whole one.
    At {
        start: usize,
        len: usize,
    },
    /// The start of one, cut off by the end of the input.
    Perhaps {
        start: usize,
    },
    No,
}

impl Delimiter {
    /// Takes the delimiters in the order they were listed; `keep` leaves them on the message (and asks for them on the way back).
    pub fn new(listed: &[Vec<u8>], keep: bool) -> Result<Self, DelimiterError> {
        let written = listed.first().ok_or(DelimiterError::None)?;
        if listed.len() > MAX_DELIMITERS {
            return Err(DelimiterError::TooMany);
        }
        if listed.iter().any(|one| one.is_empty() || one.len() > MAX_LEN) {
            return Err(DelimiterError::Length);
        }
        let mut all: Vec<Box<[u8]>> = listed.iter().map(|one| one.as_slice().into()).collect();
        all.sort_by_key(|one| std::cmp::Reverse(one.len()));
        all.dedup();
        if is_start_of_another(written, &all) {
            return Err(DelimiterError::Ambiguous);
        }
        let mut leads: Vec<u8> = all.iter().filter_map(|one| one.first().copied()).collect();
        leads.sort_unstable();
        leads.dedup();
        let only = match &*all {
            [only] => <[u8; 1]>::try_from(&**only).ok().map(|[byte]| byte),
            _ => None,
        };
        Ok(Self {
            reach: all.first().map_or(0, |longest| longest.len() - 1),
            only,
            written: written.as_slice().into(),
            all: all.into(),
            leads: leads.into(),
            keep,
        })
    }

    /// Checks the bytes that are to stand for an embedded delimiter.
    pub fn check_replacement(&self, bytes: &[u8]) -> Result<(), DelimiterError> {
        let shared = bytes
            .iter()
            .any(|byte| self.all.iter().any(|one| one.contains(byte)));
        if bytes.is_empty() || shared {
            Err(DelimiterError::Replacement)
        } else {
            Ok(())
        }
    }

    fn next_lead(&self, bytes: &[u8]) -> Option<usize> {
        match *self.leads {
            [a] => memchr::memchr(a, bytes),
            [a, b] => memchr::memchr2(a, b, bytes),
            [a, b, c] => memchr::memchr3(a, b, c, bytes),
            _ => bytes.iter().position(|byte| self.leads.contains(byte)),
        }
    }

    /// Finds the first delimiter that starts at or behind `from`.
    #[inline]
    fn find(&self, bytes: &[u8], from: usize, eof: bool) -> Found {
        match self.only {
            Some(byte) => memchr::memchr(byte, &bytes[from..]).map_or(Found::No, |at| Found::At {
                start: from + at,
                len: 1,
            }),
            None => self.find_any(bytes, from, eof),
        }
    }

    fn find_any(&self, bytes: &[u8], mut from: usize, eof: bool) -> Found {
        while let Some(at) = self.next_lead(&bytes[from..]) {
            let start = from + at;
            let rest = &bytes[start..];
            for one in &self.all {
                if starts_with(rest, one) {
                    return Found::At {
                        start,
                        len: one.len(),
                    };
                }
                // The longest first: a longer one that might still complete is waited for.
                if !eof && one.starts_with(rest) {
                    return Found::Perhaps { start };
                }
            }
            from = start + 1;
        }
        Found::No
    }

    /// See [`super::Framing::whole_record`].
    #[inline]
    pub(super) fn whole_record(&self, input: &[u8]) -> Option<WholeRecord> {
        let Found::At { start, len } = self.find(input, 0, false) else {
            return None;
        };
        let end = if self.keep { start + len } else { start };
        Some(WholeRecord {
            start: 0,
            end,
            consumed: start + len,
        })
    }

    pub(super) fn decode<'a>(
        &self,
        state: &mut DecodeState,
        rules: &DecodeRules,
        input: &'a [u8],
        eof: bool,
    ) -> Result<Decoded<'a>, DecodeError> {
        let (data_len, consumed, end) = match self.find(input, 0, eof) {
            Found::At { start, len } => (if self.keep { start + len } else { start }, start + len, true),
            Found::Perhaps { start } => (start, start, false),
            Found::No => (input.len(), input.len(), false),
        };
        #[cfg(test)]
        {
            state.examined += if end { consumed } else { input.len() } as u64;
        }
        if state.discarding {
            state.dropped += consumed as u64;
            if end {
                state.discarding = false;
                state.inside = false;
                // What follows is the next record; the caller asks again.
                return self.decode_rest(state, rules, input, consumed, eof);
            }
            return Ok(Decoded {
                consumed,
                event: Event::More,
            });
        }
        if data_len == 0 && !end {
            return Ok(Decoded {
                consumed: 0,
                event: Event::More,
            });
        }
        let begin = (!state.inside).then_some(Begin {
            kind: Kind::Binary,
            len: if end { Some(data_len as u64) } else { None },
        });
        state.seen += data_len as u64;
        state.inside = !end;
        if state.seen > rules.max_message {
            if rules.oversized == Oversized::Close {
                return Err(DecodeError::TooBig);
            }
            // When its end is here already there is nothing left to drop.
            state.discarding = !end;
            state.seen = 0;
            state.dropped += consumed as u64;
            return Ok(Decoded {
                consumed,
                event: Event::Discarded,
            });
        }
        if end {
            state.seen = 0;
        }
        Ok(Decoded {
            consumed,
            event: Event::Part(Part {
                begin,
                data: &input[..data_len],
                end,
            }),
        })
    }

    fn decode_rest<'a>(
        &self,
        state: &mut DecodeState,
        rules: &DecodeRules,
        input: &'a [u8],
        skip: usize,
        eof: bool,
    ) -> Result<Decoded<'a>, DecodeError> {
        let next = self.decode(state, rules, &input[skip..], eof)?;
        Ok(Decoded {
            consumed: skip + next.consumed,
            event: next.event,
        })
    }

    pub(super) fn encode(
        &self,
        state: &mut EncodeState,
        embedded: &Embedded,
        part: &Part<'_>,
        out: &mut Outbox,
    ) -> Result<(), EncodeError> {
        if part.begin.is_some() {
            *state = EncodeState {
                phase: Phase::Holding,
                ..EncodeState::default()
            };
        }
        out.push(part.data);
        if *embedded == Embedded::Reject && !self.keep {
            // Refuse early: a long message with a delimiter near its start need not be gathered first.
            let from = state.scanned;
            #[cfg(test)]
            {
                state.examined += (out.held().len() - from) as u64;
            }
            if let Found::At { .. } = self.find(out.held(), from, false) {
                *state = EncodeState::default();
                return Err(EncodeError::DelimiterInside);
            }
            state.scanned = out.held().len().saturating_sub(self.reach).max(from);
        }
        if !part.end {
            return Ok(());
        }
        *state = EncodeState::default();
        if *embedded != Embedded::Reject {
            state.embedded = self.count(out.held());
        }
        if self.keep {
            self.check_kept(embedded, out)?
        } else {
            self.append(embedded, out)?
        }
        out.commit();
        Ok(())
    }

    /// How many delimiters a message has, but for the one that ends it where it carries that.
    #[cold]
    fn count(&self, message: &[u8]) -> u64 {
        let (mut count, mut from) = (0, 0);
        while let Found::At { start, len } = self.find(message, from, true) {
            count += 1;
            from = start + len;
        }
        if self.keep && count > 0 && from == message.len() {
            count -= 1;
        }
        count
    }

    /// Ends the held message with the delimiter and makes sure that reading it back would give exactly this message.
    fn append(&self, embedded: &Embedded, out: &mut Outbox) -> Result<(), EncodeError> {
        if let Embedded::Replace(with) = embedded {
            self.replace(with, out);
        }
        let body = out.held().len();
        out.push(&self.written);
        // A single byte cannot form a delimiter together with others; and the body is free of it.
        if *embedded == Embedded::Split || self.only.is_some() {
            return Ok(());
        }
        // The body itself is clean but for its last bytes, which might form a delimiter with what was appended, or start a longer one
        // that the next message completes.
        let from = if *embedded == Embedded::Reject {
            body.saturating_sub(self.reach)
        } else {
            0
        };
        match self.find(out.held(), from, false) {
            Found::At { start, len } if start == body && len == self.written.len() => Ok(()),
            _ => Err(EncodeError::DelimiterInside),
        }
    }

    fn replace(&self, with: &[u8], out: &mut Outbox) {
        let Found::At { start: first, .. } = self.find(out.held(), 0, true) else {
            return;
        };
        let dirty = out.held()[first..].to_vec();
        let mut clean = Vec::with_capacity(dirty.len());
        let mut from = 0;
        while let Found::At { start, len } = self.find(&dirty, from, true) {
            clean.extend_from_slice(&dirty[from..start]);
            clean.extend_from_slice(with);
            from = start + len;
        }
        clean.extend_from_slice(&dirty[from..]);
        out.replace_held_from(first, &clean);
    }

    /// `keep`: the message carries its own delimiter, at its end and nowhere else.
    fn check_kept(&self, embedded: &Embedded, out: &mut Outbox) -> Result<(), EncodeError> {
        // One that starts another would be read together with the next message's first bytes.
        let mut ends = self.all.iter().filter(|one| out.held().ends_with(one));
        let Some(found) = ends.find(|one| !is_start_of_another(one, &self.all)) else {
            return Err(EncodeError::DelimiterMissing);
        };
        if *embedded == Embedded::Split || self.is_one_record(out.held()) {
            return Ok(());
        }
        if let Embedded::Replace(with) = embedded {
            let tail = found.to_vec();
            out.replace_held_from(out.held().len() - tail.len(), &[]);
            self.replace(with, out);
            out.push(&tail);
            // The body is clean now, but its last bytes might form a delimiter with the tail.
            if self.is_one_record(out.held()) {
                return Ok(());
            }
        }
        Err(EncodeError::DelimiterInside)
    }

    /// True when the first delimiter is the end, and no longer one has begun that the next message could complete.
    fn is_one_record(&self, record: &[u8]) -> bool {
        matches!(self.find(record, 0, false), Found::At { start, len } if start + len == record.len())
    }
}

/// Compares in place: a delimiter is too short for a call to pay.
#[inline]
fn starts_with(bytes: &[u8], start: &[u8]) -> bool {
    bytes.len() >= start.len() && bytes.iter().zip(start).all(|(a, b)| a == b)
}

fn is_start_of_another(one: &[u8], all: &[Box<[u8]>]) -> bool {
    all.iter()
        .any(|other| other.len() > one.len() && other.starts_with(one))
}
