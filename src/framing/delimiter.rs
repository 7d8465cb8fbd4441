//! `delimiter`: each record ends with a delimiter, as Netty's `DelimiterBasedFrameDecoder` reads it, with the writing half it lacks.
//!
//! Several delimiters may be listed. The first is written; on reading, the one that starts earliest ends the record, and the longest
//! of those that start at the same place. So with `["\r\n", "\r"]` a `\r` at the end of what has arrived waits for the next byte,
//! which makes the result independent of how the stream was cut.

use super::{
    DecodeError, DecodeRules, DecodeState, Decoded, Embedded, EncodeError, EncodeState, Phase, WholeRecord,
    runs,
};
use crate::message::Part;
use crate::outbox::Outbox;

/// How many delimiters may be listed, and how many bytes each may have.
pub(super) const MAX_DELIMITERS: usize = 16;
pub(super) const MAX_LEN: usize = 16;

/// Up to so many bytes are few.
const FEW: usize = 256;

/// How much is searched before it is copied: little enough that both find it in the nearest cache.
const PIECE: usize = 8 << 10;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A whole one.
    At { start: usize, len: usize },
    /// The start of one, cut off by the end of the input.
    Perhaps { start: usize },
    /// None.
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
        let listed: Vec<&[u8]> = listed.iter().map(Vec::as_slice).collect();
        let set = Self::set(written, &listed, keep);
        if is_start_of_another(written, &set.all) {
            return Err(DelimiterError::Ambiguous);
        }
        Ok(set)
    }

    /// A set of anything that can be looked for; none of it is empty.
    pub(super) fn set(written: &[u8], listed: &[&[u8]], keep: bool) -> Self {
        let mut all: Vec<Box<[u8]>> = listed.iter().map(|one| (*one).into()).collect();
        all.sort_by_key(|one| std::cmp::Reverse(one.len()));
        all.dedup();
        let mut leads: Vec<u8> = all.iter().filter_map(|one| one.first().copied()).collect();
        leads.sort_unstable();
        leads.dedup();
        let only = match &*all {
            [only] => <[u8; 1]>::try_from(&**only).ok().map(|[byte]| byte),
            _ => None,
        };
        Self {
            reach: all.first().map_or(0, |longest| longest.len() - 1),
            only,
            written: written.into(),
            all: all.into(),
            leads: leads.into(),
            keep,
        }
    }

    /// The one that is written.
    pub(super) fn written(&self) -> &[u8] {
        &self.written
    }

    /// How many bytes before new ones have to be looked at again with them.
    pub(super) fn reach(&self) -> usize {
        self.reach
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
    pub(super) fn find(&self, bytes: &[u8], from: usize, eof: bool) -> Found {
        match self.only {
            Some(byte) => {
                let at = match &bytes[from..] {
                    // Somebody types. To call for the search of one byte costs more than the search.
                    [one] => (*one == byte).then_some(0),
                    rest => memchr::memchr(byte, rest),
                };
                at.map_or(Found::No, |at| Found::At {
                    start: from + at,
                    len: 1,
                })
            }
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
        let (start, len) = match self.only {
            Some(byte) => (memchr::memchr(byte, input)?, 1),
            None => match self.find_any(input, 0, false) {
                Found::At { start, len } => (start, len),
                Found::Perhaps { .. } | Found::No => return None,
            },
        };
        Some(WholeRecord {
            start: 0,
            end: if self.keep { start + len } else { start },
            consumed: start + len,
        })
    }

    /// Reads a byte in the middle of a record. Somebody types: nearly every byte comes alone.
    #[inline]
    pub(super) fn decode_typed<'a>(
        &self,
        state: &mut DecodeState,
        rules: &DecodeRules,
        input: &'a [u8],
    ) -> Option<Decoded<'a>> {
        let ([byte], Some(only)) = (input, self.only) else {
            return None;
        };
        if *byte == only || !state.inside || state.discarding || state.seen >= rules.max_message {
            return None;
        }
        state.seen += 1;
        #[cfg(test)]
        {
            state.examined += 1;
        }
        Some(Decoded::middle(input))
    }

    #[inline(never)]
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
            runs::discard(state, consumed, end);
            if end {
                // What follows is the next record.
                return self.decode_rest(state, rules, input, consumed, eof);
            }
            return Ok(Decoded::more(consumed));
        }
        if data_len == 0 && !end {
            return Ok(Decoded::more(0));
        }
        runs::part(state, rules, &input[..data_len], end, consumed)
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

    #[inline(always)]
    pub(super) fn encode(
        &self,
        state: &mut EncodeState,
        embedded: &Embedded,
        part: &Part<'_>,
        out: &mut Outbox,
    ) -> Result<(), EncodeError> {
        if !part.is_whole() || self.keep || !embedded.is_refused() {
            return self.encode_part(state, embedded, part, out);
        }
        // What most messages are. They are searched where they lie: right behind the copy, the search would wait for its writes.
        match self.only {
            Some(end) if part.data.len() <= PIECE => encode_line(part.data, end, out),
            Some(end) => encode_long_line(part.data, end, out),
            None => self.encode_whole(state, embedded, part.data, out),
        }
    }

    #[inline(never)]
    fn encode_whole(
        &self,
        state: &mut EncodeState,
        embedded: &Embedded,
        message: &[u8],
        out: &mut Outbox,
    ) -> Result<(), EncodeError> {
        if matches!(self.find(message, 0, false), Found::At { .. }) {
            return Err(EncodeError::DelimiterInside);
        }
        out.push(message);
        state.embedded = self.append(embedded, out)?;
        out.commit();
        Ok(())
    }

    #[inline(never)]
    fn encode_part(
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
        if embedded.is_refused() && !self.keep {
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
        state.embedded = if self.keep {
            self.check_kept(embedded, out)?
        } else {
            self.append(embedded, out)?
        };
        out.commit();
        Ok(())
    }

    /// Ends the held message with the delimiter and makes sure that reading it back would give exactly this message, unless it may
    /// be split. Gives how many delimiters inside it were let pass or replaced.
    fn append(&self, embedded: &Embedded, out: &mut Outbox) -> Result<u64, EncodeError> {
        let met = match embedded {
            Embedded::Reject | Embedded::Escape => 0,
            Embedded::Split => self.count(out.held()),
            Embedded::Replace(with) => self.replace(with, 0, out),
        };
        let body = out.held().len();
        out.push(&self.written);
        // A single byte cannot form a delimiter together with others; and the body is free of it.
        if *embedded == Embedded::Split || self.only.is_some() {
            return Ok(met);
        }
        // The body itself is clean but for its last bytes, which might form a delimiter with what was appended, or start a longer one
        // that the next message completes.
        let from = if embedded.is_refused() {
            body.saturating_sub(self.reach)
        } else {
            0
        };
        match self.find(out.held(), from, false) {
            Found::At { start, len } if start == body && len == self.written.len() => Ok(met),
            _ => Err(EncodeError::DelimiterInside),
        }
    }

    /// How many delimiters there are.
    fn count(&self, bytes: &[u8]) -> u64 {
        let (mut count, mut from) = (0, 0);
        while let Found::At { start, len } = self.find(bytes, from, true) {
            count += 1;
            from = start + len;
        }
        count
    }

    /// Puts `with` in the place of each that is held at or behind `from`, and tells how many there were.
    pub(super) fn replace(&self, with: &[u8], from: usize, out: &mut Outbox) -> u64 {
        let Found::At { start: first, .. } = self.find(out.held(), from, true) else {
            return 0;
        };
        let mut count = 0;
        let dirty = out.held()[first..].to_vec();
        let mut clean = Vec::with_capacity(dirty.len());
        let mut from = 0;
        while let Found::At { start, len } = self.find(&dirty, from, true) {
            clean.extend_from_slice(&dirty[from..start]);
            clean.extend_from_slice(with);
            count += 1;
            from = start + len;
        }
        clean.extend_from_slice(&dirty[from..]);
        out.replace_held_from(first, &clean);
        count
    }

    /// `keep`: the message carries its own delimiter, at its end and nowhere else.
    fn check_kept(&self, embedded: &Embedded, out: &mut Outbox) -> Result<u64, EncodeError> {
        // One that starts another would be read together with the next message's first bytes.
        let mut ends = self.all.iter().filter(|one| out.held().ends_with(one));
        let Some(found) = ends.find(|one| !is_start_of_another(one, &self.all)) else {
            return Err(EncodeError::DelimiterMissing);
        };
        if *embedded == Embedded::Split {
            // All but the last one, which ends it.
            return Ok(self.count(out.held()).saturating_sub(1));
        }
        if self.is_one_record(out.held()) {
            return Ok(0);
        }
        if let Embedded::Replace(with) = embedded {
            let tail = found.to_vec();
            out.replace_held_from(out.held().len() - tail.len(), &[]);
            let met = self.replace(with, 0, out);
            out.push(&tail);
            // The body is clean now, but its last bytes might form a delimiter with the tail.
            if self.is_one_record(out.held()) {
                return Ok(met);
            }
        }
        Err(EncodeError::DelimiterInside)
    }

    /// True when the first delimiter is the end, and no longer one has begun that the next message could complete.
    fn is_one_record(&self, record: &[u8]) -> bool {
        matches!(self.find(record, 0, false), Found::At { start, len } if start + len == record.len())
    }
}

/// A message that one byte ends.
#[inline]
fn encode_line(message: &[u8], end: u8, out: &mut Outbox) -> Result<(), EncodeError> {
    if holds(message, end) {
        return Err(EncodeError::DelimiterInside);
    }
    out.push(message);
    out.push(&[end]);
    out.commit();
    Ok(())
}

/// A long one goes in pieces, each copied while the search has it near.
#[inline(never)]
fn encode_long_line(message: &[u8], end: u8, out: &mut Outbox) -> Result<(), EncodeError> {
    out.reserve(message.len() + 1);
    for piece in message.chunks(PIECE) {
        if memchr::memchr(end, piece).is_some() {
            return Err(EncodeError::DelimiterInside);
        }
        out.push(piece);
    }
    out.push(&[end]);
    out.commit();
    Ok(())
}

/// True when the byte is among them. To call for the search of few bytes costs more than the search.
#[inline]
fn holds(bytes: &[u8], byte: u8) -> bool {
    if bytes.len() > FEW {
        return memchr::memchr(byte, bytes).is_some();
    }
    ends_hold::<128>(bytes, byte)
        .or_else(|| ends_hold::<64>(bytes, byte))
        .or_else(|| ends_hold::<32>(bytes, byte))
        .or_else(|| ends_hold::<16>(bytes, byte))
        .or_else(|| ends_hold::<8>(bytes, byte))
        .unwrap_or_else(|| bytes.contains(&byte))
}

/// The same for the first `N` bytes and the last: for all, of `N` up to twice as many.
#[inline]
fn ends_hold<const N: usize>(bytes: &[u8], byte: u8) -> Option<bool> {
    // Without a way out, so that many are compared at once.
    let holds = |end: &[u8; N]| end.iter().fold(false, |met, one| met | (*one == byte));
    Some(holds(bytes.first_chunk()?) | holds(bytes.last_chunk()?))
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
