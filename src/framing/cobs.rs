//! `cobs`: Consistent Overhead Byte Stuffing (S. Cheshire and M. Baker, IEEE/ACM Transactions on Networking 7, 1999), with a
//! zero behind each record.
//!
//! ```text
//! | code | code - 1 bytes, none of them zero | code | ... | 00 |
//! ```
//!
//! A code below `FF` stands for its bytes and a zero behind them, `FF` for its 254 bytes alone. The last zero of a record is implied:
//! it is not part of the message. So a record costs one byte, and one more for each 254 bytes without a zero. The empty message is
//! `01 00`. A message that ends with 254 such bytes in a row is written without the code `01` that may follow them, and read with or
//! without it.
//!
//! A zero between two records is skipped: senders write one to end what a receiver may have begun to read.

use super::{DecodeError, DecodeRules, DecodeState, Decoded, EncodeState, Garbage, Phase, WholeRecord, runs};
use crate::message::Part;
use crate::outbox::Outbox;

/// What ends a record, and what codes stand for.
const ZERO: u8 = 0;
/// The code of as many bytes as one can stand for, and of no zero.
const FULL: u8 = 0xFF;

/// See [`super::Framing::whole_record`].
#[inline]
pub(super) fn whole_record(input: &[u8]) -> Option<WholeRecord> {
    let end = usize::from(*input.first()?);
    let is_whole = end > 0 && input.get(end) == Some(&ZERO) && memchr::memchr(ZERO, &input[1..end]).is_none();
    is_whole.then_some(WholeRecord {
        start: 1,
        end,
        consumed: end + 1,
    })
}

/// See [`super::Framing::decode`].
pub(super) fn decode<'a>(
    state: &mut DecodeState,
    rules: &DecodeRules,
    input: &'a [u8],
) -> Result<Decoded<'a>, DecodeError> {
    let mut at = 0;
    if state.discarding {
        let end = memchr::memchr(ZERO, input);
        at = end.map_or(input.len(), |end| end + 1);
        runs::discard(state, at, end.is_some());
        #[cfg(test)]
        {
            state.examined += at as u64;
        }
    }
    let begins = !state.inside;
    if begins {
        state.to_code = 0;
        state.owes_zero = false;
        at += input[at..].iter().take_while(|byte| **byte == ZERO).count();
    }
    let Some(first) = input.get(at) else {
        return Ok(Decoded::more(at));
    };
    if state.to_code == 0 {
        at += 1;
        #[cfg(test)]
        {
            state.examined += 1;
        }
        if *first == ZERO {
            return runs::part(state, rules, &[], true, at);
        }
        let owed = std::mem::replace(&mut state.owes_zero, *first != FULL);
        state.to_code = *first - 1;
        if owed {
            return runs::part(state, rules, &[ZERO], false, at);
        }
    }
    let here = &input[at..];
    let there = here.len().min(usize::from(state.to_code));
    let len = memchr::memchr(ZERO, &here[..there]).unwrap_or(there);
    #[cfg(test)]
    {
        state.examined += here.len().min(len + 1) as u64;
    }
    if len == 0 && there > 0 {
        return Err(DecodeError::Garbage(Garbage::Escape));
    }
    // At most as many as there were to come.
    state.to_code -= len as u8;
    let end = state.to_code == 0 && here.get(len) == Some(&ZERO);
    runs::part(state, rules, &here[..len], end, at + len + usize::from(end))
}

/// See [`super::Framing::encode`]. Every message can be a record.
pub(super) fn encode(state: &mut EncodeState, part: &Part<'_>, out: &mut Outbox) {
    // Where the code stands whose bytes are being written; all before it is done.
    let mut open = state.scanned;
    if part.begin.is_some() {
        open = 0;
        state.embedded = 0;
        out.push(&[ZERO]);
    }
    #[cfg(test)]
    {
        state.examined += part.data.len() as u64;
    }
    let mut data = part.data;
    while !data.is_empty() {
        if out.held().len() - open == usize::from(FULL) {
            open = next(open, out);
        }
        let room = usize::from(FULL) - (out.held().len() - open);
        let run = &data[..room.min(data.len())];
        match memchr::memchr(ZERO, run) {
            Some(zero) => {
                out.push(&run[..zero]);
                open = next(open, out);
                state.embedded += 1;
                data = &data[zero + 1..];
            }
            None => {
                out.push(run);
                data = &data[run.len()..];
            }
        }
    }
    if part.end {
        // The end stands where a next code would.
        next(open, out);
        *state = EncodeState {
            embedded: state.embedded,
            ..EncodeState::default()
        };
        out.commit();
    } else {
        state.phase = Phase::Holding;
        state.scanned = open;
    }
}

/// Fills in the code at `open`, and makes room for another behind its bytes: returns where.
fn next(open: usize, out: &mut Outbox) -> usize {
    let end = out.held().len();
    // At most 254 bytes follow it.
    out.held_mut()[open] = (end - open) as u8;
    out.push(&[ZERO]);
    end
}
