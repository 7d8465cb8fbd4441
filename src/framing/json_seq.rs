//! `json-seq`: RFC 7464, JSON text sequences. Each text stands between a record separator and a line feed.
//!
//! ```text
//! | 1E | JSON text | 0A |
//! ```
//!
//! The RFC lets a text end at the next separator (§2.1), which a live stream cannot wait for; and a text may hold line feeds between
//! its tokens. So a small scanner follows brackets and strings, and a text ends at the first line feed behind its value. It may also
//! end at the next separator or the end of the stream, when it is a value that cannot go on (§2.4: not a number, `true`, `false` or
//! `null`, which might have been cut).
//!
//! A separator inside a text, and anything that cannot be one JSON text, is garbage, up to the next separator: the RFC leaves it to
//! the parser to go on there (§2.3), and so does [`Oversized::Discard`], which drops and counts. The scanner is no parser: what it
//! lets pass has an end, and may still be wrong.

use super::{
    DecodeError, DecodeRules, DecodeState, Decoded, EncodeError, EncodeState, Event, Garbage, Oversized,
    Phase, runs,
};
use crate::message::Part;
use crate::outbox::Outbox;

/// The record separator, which no JSON text can hold.
const RS: u8 = 0x1E;
const LF: u8 = b'\n';

/// What is known of a text of which some bytes have passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    /// How many brackets are open.
    depth: u64,
    place: Place,
}

/// Where in a text the next byte stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Before anything.
    #[default]
    First,
    /// Behind white space.
    Before,
    /// In a number, or in a word, outside of all brackets.
    Word,
    /// Inside brackets, but not in a string.
    Inside,
    String,
    /// Behind a backslash in a string.
    Escaped,
    /// Behind the value.
    Behind,
}

/// Why a scanner stops at a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// A line feed behind the value.
    End,
    /// A record separator.
    Separator,
    /// No text can go on so.
    Broken,
}

impl Scan {
    /// Follows a text: how many bytes of it there are, and what stopped it.
    fn follow(&mut self, bytes: &[u8]) -> (usize, Option<Stop>) {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            match self.step(*byte) {
                Ok(place) => self.place = place,
                Err(stop) => return (at, Some(stop)),
            }
            at += 1;
            if self.place == Place::String {
                // Most of a text is in strings, and most of a string means nothing.
                at += memchr::memchr3(b'"', b'\\', RS, &bytes[at..]).unwrap_or(bytes.len() - at);
            }
        }
        (at, None)
    }

    /// Where the byte behind this one stands.
    fn step(&mut self, byte: u8) -> Result<Place, Stop> {
        let is_space = matches!(byte, b' ' | b'\t' | LF | b'\r');
        Ok(match (self.place, byte) {
            (_, RS) => return Err(Stop::Separator),
            (Place::Escaped, _) => Place::String,
            (Place::String, b'\\') => Place::Escaped,
            (Place::String, b'"') => self.behind(),
            (Place::String, _) => Place::String,
            (Place::Word | Place::Behind, LF) => return Err(Stop::End),
            (Place::Word | Place::Behind, _) if is_space => Place::Behind,
            (Place::Behind, _) => return Err(Stop::Broken),
            (Place::First | Place::Before, _) if is_space => Place::Before,
            (Place::First | Place::Before | Place::Inside, b'"') => Place::String,
            (Place::First | Place::Before | Place::Inside, b'{' | b'[') => {
                self.depth += 1;
                Place::Inside
            }
            (Place::Inside, b'}' | b']') => {
                self.depth -= 1;
                self.behind()
            }
            (Place::Inside, _) => Place::Inside,
            (Place::First | Place::Before | Place::Word, b'"' | b'{' | b'[' | b'}' | b']' | b',' | b':') => {
                return Err(Stop::Broken);
            }
            (Place::First | Place::Before | Place::Word, _) => Place::Word,
        })
    }

    /// The place behind a value that has just ended.
    fn behind(&self) -> Place {
        if self.depth == 0 {
            Place::Behind
        } else {
            Place::Inside
        }
    }
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
        let next = memchr::memchr(RS, input);
        at = next.unwrap_or(input.len());
        runs::discard(state, at, next.is_some());
        #[cfg(test)]
        {
            state.examined += at as u64;
        }
        if next.is_none() {
            return Ok(Decoded::more(at));
        }
    }
    let begins = !state.inside;
    if begins {
        let is_space = |byte: &&u8| matches!(**byte, b' ' | b'\t' | LF | b'\r');
        at += input[at..].iter().take_while(is_space).count();
        match input.get(at) {
            None => return Ok(Decoded::more(at)),
            Some(&RS) => at += 1,
            Some(_) => return broken(state, rules, at, Garbage::Outside),
        }
        state.json = Scan::default();
    }
    if state.json.place == Place::First {
        // Separators in a row are one (§2.1).
        at += input[at..].iter().take_while(|byte| **byte == RS).count();
    }
    let here = &input[at..];
    let (len, stop) = state.json.follow(here);
    #[cfg(test)]
    {
        state.examined += (at + len + usize::from(stop.is_some())) as u64;
    }
    let is_behind = state.json.place == Place::Behind;
    let end = match stop {
        Some(Stop::End) => true,
        Some(Stop::Separator) => is_behind,
        Some(Stop::Broken) => false,
        None => eof && is_behind,
    };
    if len == 0 && !end {
        if stop.is_some() {
            return broken(state, rules, at, Garbage::Trailer);
        }
        if !begins {
            return Ok(Decoded::more(at));
        }
    }
    let consumed = at + len + usize::from(stop == Some(Stop::End));
    let decoded = runs::part(state, rules, &here[..len], end, consumed)?;
    if decoded.event == Event::Discarded {
        // Whether its end was seen with it depends on the cuts; the next separator does not.
        state.inside = true;
        state.discarding = true;
    }
    Ok(decoded)
}

/// Nothing up to the next separator can be a text.
fn broken<'a>(
    state: &mut DecodeState,
    rules: &DecodeRules,
    consumed: usize,
    garbage: Garbage,
) -> Result<Decoded<'a>, DecodeError> {
    if rules.oversized == Oversized::Close {
        return Err(DecodeError::Garbage(garbage));
    }
    state.inside = true;
    state.discarding = true;
    state.seen = 0;
    Ok(Decoded {
        consumed,
        event: Event::Discarded,
    })
}

/// See [`super::Framing::encode`].
pub(super) fn encode(state: &mut EncodeState, part: &Part<'_>, out: &mut Outbox) -> Result<(), EncodeError> {
    if part.begin.is_some() {
        *state = EncodeState {
            phase: Phase::Holding,
            ..EncodeState::default()
        };
        out.push(&[RS]);
    }
    let (_, stop) = state.json.follow(part.data);
    #[cfg(test)]
    {
        state.examined += part.data.len() as u64;
    }
    match stop {
        None => out.push(part.data),
        Some(Stop::Separator) => return Err(EncodeError::DelimiterInside),
        Some(Stop::End | Stop::Broken) => return Err(EncodeError::NotARecord),
    }
    if part.end {
        match state.json.place {
            Place::Word | Place::Behind => {}
            Place::First => return Err(EncodeError::EmptyMessage),
            _ => return Err(EncodeError::NotARecord),
        }
        out.push(&[LF]);
        *state = EncodeState::default();
        out.commit();
    }
    Ok(())
}
