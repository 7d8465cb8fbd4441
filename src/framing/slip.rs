//! `slip`: RFC 1055, "A Nonstandard for Transmission of IP Datagrams over Serial Lines".
//!
//! ```text
//! | C0 | message, with C0 as DB DC and DB as DB DD | C0 |
//! ```
//!
//! An END (`C0`) is written before each record too, as the RFC recommends: it ends what noise may have begun. Two ENDs in a row are
//! no record, so an empty message cannot be expressed. An ESC (`DB`) before anything but `DC` and `DD` is garbage; the RFC leaves
//! open what to do then, and its example takes the byte as it stands, which would be to invent data.

use super::{
    DecodeError, DecodeRules, DecodeState, Decoded, EncodeError, EncodeState, Garbage, Phase, WholeRecord,
    runs,
};
use crate::message::Part;
use crate::outbox::Outbox;

const END: u8 = 0xC0;
const ESC: u8 = 0xDB;
/// Behind an ESC: an END.
const ESC_END: u8 = 0xDC;
/// Behind an ESC: an ESC.
const ESC_ESC: u8 = 0xDD;

/// How many ENDs are in front.
fn ends(input: &[u8]) -> usize {
    input.iter().take_while(|byte| **byte == END).count()
}

/// See [`super::Framing::whole_record`].
#[inline]
pub(super) fn whole_record(input: &[u8]) -> Option<WholeRecord> {
    let start = ends(input);
    let len = memchr::memchr2(END, ESC, &input[start..])?;
    let end = start + len;
    (input[end] == END).then_some(WholeRecord {
        start,
        end,
        consumed: end + 1,
    })
}

/// See [`super::Framing::decode`].
pub(super) fn decode<'a>(
    state: &mut DecodeState,
    rules: &DecodeRules,
    input: &'a [u8],
    eof: bool,
) -> Result<Decoded<'a>, DecodeError> {
    let mut at = 0;
    if state.discarding {
        let end = memchr::memchr(END, input);
        at = end.map_or(input.len(), |end| end + 1);
        runs::discard(state, at, end.is_some());
        #[cfg(test)]
        {
            state.examined += at as u64;
        }
    }
    if !state.inside {
        at += ends(&input[at..]);
    }
    let here = &input[at..];
    let special = memchr::memchr2(END, ESC, here);
    let len = special.unwrap_or(here.len());
    #[cfg(test)]
    {
        state.examined += (at + here.len().min(len + 2)) as u64;
    }
    let tail = &here[len..];
    if let [END, ..] = tail {
        return runs::part(state, rules, &here[..len], true, at + len + 1);
    }
    if len > 0 {
        return runs::part(state, rules, &here[..len], false, at + len);
    }
    let escaped: &[u8] = match tail {
        [ESC, ESC_END, ..] => &[END],
        [ESC, ESC_ESC, ..] => &[ESC],
        [ESC, _, ..] => return Err(DecodeError::Garbage(Garbage::Escape)),
        // Half an escape, which at the end of the stream stays that.
        [_, ..] if eof && state.inside => {
            state.dropped += 1;
            return Ok(Decoded::more(at + 1));
        }
        _ => return Ok(Decoded::more(at)),
    };
    runs::part(state, rules, escaped, false, at + 2)
}

/// See [`super::Framing::encode`].
pub(super) fn encode(state: &mut EncodeState, part: &Part<'_>, out: &mut Outbox) -> Result<(), EncodeError> {
    if part.begin.is_some() {
        *state = EncodeState {
            phase: Phase::Holding,
            ..EncodeState::default()
        };
        out.push(&[END]);
    }
    #[cfg(test)]
    {
        state.examined += part.data.len() as u64;
    }
    let mut data = part.data;
    while let Some(at) = memchr::memchr2(END, ESC, data) {
        out.push(&data[..at]);
        out.push(if data[at] == END {
            &[ESC, ESC_END]
        } else {
            &[ESC, ESC_ESC]
        });
        state.embedded += 1;
        data = &data[at + 1..];
    }
    out.push(data);
    if part.end {
        if *out.held() == [END] {
            return Err(EncodeError::EmptyMessage);
        }
        *state = EncodeState {
            embedded: state.embedded,
            ..EncodeState::default()
        };
        out.push(&[END]);
        out.commit();
    }
    Ok(())
}
