//! What all framings share whose records tell their length before their bytes: one way to read them, one to write them.
//!
//! ```text
//! | header | body ... | trailer |        strip: the message is the body        keep: the message is all of it
//! ```
//!
//! A framing of this kind says how its header reads and how it is written; streaming, limits, fragments and cuts are decided here,
//! once.

use super::{
    DecodeError, DecodeRules, DecodeState, Decoded, EncodeError, EncodeState, Event, Header, Oversized,
    Phase, WholeRecord,
};
use crate::message::{Begin, Kind, Part};
use crate::outbox::Outbox;

/// What a framing says of its records' form.
pub(super) trait Counted {
    /// Bytes that stand behind each body, at most 16.
    const TRAILER: usize = 0;

    /// Whether header and trailer belong to the message.
    fn header(&self) -> Header;

    /// Reads the header at the start of `input`.
    fn measure(&self, place: Place, input: &[u8]) -> Result<Measured, DecodeError>;

    /// Appends the header for a body of this length.
    fn push_header(&self, body: u64, out: &mut Outbox) -> Result<(), EncodeError>;

    /// Appends what stands behind a body of this length.
    fn push_trailer(&self, _body: u64, _out: &mut Outbox) {}

    /// Checks what stands where a trailer has to be.
    fn check_trailer(&self, _trailer: &[u8]) -> Result<(), DecodeError> {
        Ok(())
    }

    /// `keep`: what else must hold for a client's message before any of it leaves. It has a good header, and all of it is there
    /// where records have a trailer.
    fn check_kept(&self, _place: Place, _message: &[u8]) -> Result<(), EncodeError> {
        Ok(())
    }
}

/// Where a header is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// No record has passed before it.
    pub(super) first: bool,
    /// So many bytes of it were looked at before, without finding its end.
    pub(super) scanned: usize,
}

/// What can be told of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measured {
    /// Its end has not come. The first so many bytes need not be looked at again.
    More { scanned: usize },
    /// It has so many bytes, and announces a body of so many.
    Header { header: usize, body: u64 },
    /// It is a whole record of so many bytes, all there and all checked: nothing is behind it, not even a trailer. Only with `keep`.
    Whole { len: usize },
}

#[cfg(test)]
impl Measured {
    /// How many bytes were looked at to tell this.
    fn examined(self, place: Place, input: &[u8]) -> u64 {
        let end = match self {
            Self::More { .. } => input.len(),
            Self::Header { header, .. } => header,
            Self::Whole { len } => len,
        };
        (end - place.scanned) as u64
    }
}

/// See [`super::Framing::whole_record`].
#[inline]
pub(super) fn whole_record<C: Counted>(rule: &C, input: &[u8]) -> Option<WholeRecord> {
    let place = Place {
        first: false,
        scanned: 0,
    };
    let (header, body) = match rule.measure(place, input) {
        Ok(Measured::Header { header, body }) => (header, body),
        Ok(Measured::Whole { len }) => {
            return Some(WholeRecord {
                start: 0,
                end: len,
                consumed: len,
            });
        }
        Ok(Measured::More { .. }) | Err(_) => return None,
    };
    let end = usize::try_from(body).ok()?.checked_add(header)?;
    let consumed = end.checked_add(C::TRAILER)?;
    let trailer = input.get(end..consumed)?;
    if C::TRAILER > 0 && rule.check_trailer(trailer).is_err() {
        return None;
    }
    let (start, end) = match rule.header() {
        Header::Strip => (header, end),
        Header::Keep => (0, consumed),
    };
    Some(WholeRecord { start, end, consumed })
}

/// See [`super::Framing::decode`], which has passed on what is in the middle of a record.
#[inline(never)]
pub(super) fn decode<'a, C: Counted>(
    rule: &C,
    state: &mut DecodeState,
    rules: &DecodeRules,
    input: &'a [u8],
) -> Result<Decoded<'a>, DecodeError> {
    let mut skipped = 0;
    if state.discarding {
        skipped = input
            .len()
            .min(usize::try_from(state.to_drop).unwrap_or(usize::MAX));
        state.to_drop -= skipped as u64;
        state.dropped += skipped as u64;
        if state.to_drop > 0 {
            return Ok(Decoded::more(skipped));
        }
        state.inside = false;
        state.discarding = false;
        state.started = true;
    }
    let kept = rule.header() == Header::Keep;
    let input = &input[skipped..];
    let (begin, header) = if state.inside {
        (None, 0)
    } else {
        let place = Place {
            first: !state.started,
            scanned: state.scanned,
        };
        let measured = rule.measure(place, input)?;
        #[cfg(test)]
        {
            state.examined += measured.examined(place, input);
        }
        let (header, body) = match measured {
            Measured::More { scanned } => {
                state.scanned = scanned;
                return Ok(Decoded::more(skipped));
            }
            Measured::Header { header, body } => (header, body),
            Measured::Whole { len } => {
                let decoded = whole(state, rules, &input[..len])?;
                return Ok(Decoded {
                    consumed: skipped + len,
                    ..decoded
                });
            }
        };
        state.scanned = 0;
        let around = if kept { (header + C::TRAILER) as u64 } else { 0 };
        let len = body.checked_add(around).ok_or(DecodeError::TooBig)?;
        let header = if kept { 0 } else { header };
        if len > rules.max_message {
            if rules.oversized == Oversized::Close {
                return Err(DecodeError::TooBig);
            }
            // All of it goes, its trailer unseen: what follows shows whether it was one.
            state.to_drop = if kept {
                len
            } else {
                len.saturating_add(C::TRAILER as u64)
            };
            state.inside = true;
            state.discarding = true;
            state.dropped += header as u64;
            return Ok(Decoded {
                consumed: skipped + header,
                event: Event::Discarded,
            });
        }
        state.remaining = if kept { len - C::TRAILER as u64 } else { len };
        let begin = Begin {
            kind: Kind::Binary,
            len: Some(len),
        };
        (Some(begin), header)
    };
    let here = &input[header..];
    let mut take = here
        .len()
        .min(usize::try_from(state.remaining).unwrap_or(usize::MAX));
    state.remaining -= take as u64;
    let mut data = &here[..take];
    let mut end = state.remaining == 0;
    if C::TRAILER > 0 && end {
        // The end of a message is not told before the trailer has shown that it is one.
        if let Some(trailer) = here.get(take..take + C::TRAILER) {
            rule.check_trailer(trailer)?;
            take += C::TRAILER;
            if kept {
                data = &here[..take];
            }
        } else {
            end = false;
        }
    }
    state.inside = !end;
    state.started |= end;
    if begin.is_none() && take == 0 {
        return Ok(Decoded::more(skipped));
    }
    Ok(Decoded {
        consumed: skipped + header + take,
        event: Event::Part(Part { begin, data, end }),
    })
}

/// A record that its header is all of.
fn whole<'a>(
    state: &mut DecodeState,
    rules: &DecodeRules,
    record: &'a [u8],
) -> Result<Decoded<'a>, DecodeError> {
    state.scanned = 0;
    state.started = true;
    let event = if record.len() as u64 <= rules.max_message {
        Event::Part(Part::whole(Kind::Binary, record))
    } else if rules.oversized == Oversized::Close {
        return Err(DecodeError::TooBig);
    } else {
        state.dropped += record.len() as u64;
        Event::Discarded
    };
    Ok(Decoded {
        consumed: record.len(),
        event,
    })
}

/// See [`super::Framing::encode`].
#[inline(always)]
pub(super) fn encode<C: Counted>(
    rule: &C,
    state: &mut EncodeState,
    part: &Part<'_>,
    out: &mut Outbox,
) -> Result<(), EncodeError> {
    match rule.header() {
        // What most messages are.
        Header::Strip if part.is_whole() => {
            let body = part.data.len() as u64;
            rule.push_header(body, out)?;
            out.push(part.data);
            rule.push_trailer(body, out);
            out.commit();
            Ok(())
        }
        Header::Strip => encode_stripped(rule, state, part, out),
        Header::Keep => encode_kept(rule, state, part, out),
    }
}

#[inline(never)]
fn encode_stripped<C: Counted>(
    rule: &C,
    state: &mut EncodeState,
    part: &Part<'_>,
    out: &mut Outbox,
) -> Result<(), EncodeError> {
    if let Some(begin) = part.begin {
        state.phase = Phase::Holding;
        state.announced = begin.len;
        if let Some(len) = begin.len {
            rule.push_header(len, out)?;
        }
    }
    out.push(part.data);
    if part.end {
        let body = if let Some(len) = state.announced {
            len
        } else {
            let body = out.held().len();
            rule.push_header(body as u64, out)?;
            let held = out.held_mut();
            let header = held.len() - body;
            held.rotate_right(header);
            body as u64
        };
        rule.push_trailer(body, out);
        state.phase = Phase::Between;
        out.commit();
    } else if state.announced.is_some() && !out.held().is_empty() {
        state.phase = Phase::Streaming;
        out.commit();
    }
    Ok(())
}

/// `keep`: the message carries its own header. Nothing of it leaves before that has been checked, nor before its trailer has, where
/// there is one.
#[inline(never)]
fn encode_kept<C: Counted>(
    rule: &C,
    state: &mut EncodeState,
    part: &Part<'_>,
    out: &mut Outbox,
) -> Result<(), EncodeError> {
    if let Some(begin) = part.begin {
        state.phase = Phase::Holding;
        state.announced = begin.len;
        state.scanned = 0;
    }
    out.push(part.data);
    if state.phase == Phase::Holding {
        let held = out.held();
        let len = if part.end {
            Some(held.len() as u64)
        } else {
            state.announced
        };
        if let Some(len) = len
            && (part.end || C::TRAILER == 0)
        {
            let place = Place {
                first: !state.started,
                scanned: state.scanned,
            };
            let measured = rule
                .measure(place, held)
                .map_err(|_| EncodeError::HeaderMismatch)?;
            #[cfg(test)]
            {
                state.examined += measured.examined(place, held);
            }
            match measured {
                Measured::Header { header, body } => {
                    let whole = body.checked_add((header + C::TRAILER) as u64);
                    if whole != Some(len) {
                        return Err(EncodeError::HeaderMismatch);
                    }
                    if C::TRAILER > 0 {
                        rule.check_trailer(&held[held.len() - C::TRAILER..])
                            .map_err(|_| EncodeError::HeaderMismatch)?;
                    }
                    rule.check_kept(place, held)?;
                    state.phase = Phase::Streaming;
                }
                Measured::Whole { len: whole } => {
                    if whole as u64 != len {
                        return Err(EncodeError::HeaderMismatch);
                    }
                    rule.check_kept(place, held)?;
                    state.phase = Phase::Streaming;
                }
                Measured::More { .. } if part.end => return Err(EncodeError::HeaderMismatch),
                Measured::More { scanned } => state.scanned = scanned,
            }
        }
    }
    if state.phase == Phase::Streaming {
        out.commit();
    }
    if part.end {
        *state = EncodeState {
            started: true,
            ..EncodeState::default()
        };
    }
    Ok(())
}
