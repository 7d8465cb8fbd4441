//! What all framings share whose records do not tell their length: runs of a record's bytes become its parts, within the limit.

use super::{DecodeError, DecodeRules, DecodeState, Decoded, Event, Oversized};
use crate::message::{Begin, Kind, Part};

/// The next run of a record: `data`, out of the first `consumed` bytes of the input. `end`: the record's end is among them.
#[inline]
pub(super) fn part<'a>(
    state: &mut DecodeState,
    rules: &DecodeRules,
    data: &'a [u8],
    end: bool,
    consumed: usize,
) -> Result<Decoded<'a>, DecodeError> {
    let begin = (!state.inside).then_some(Begin {
        kind: Kind::Binary,
        len: if end { Some(data.len() as u64) } else { None },
    });
    state.seen += data.len() as u64;
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
        event: Event::Part(Part { begin, data, end }),
    })
}

/// Drops the next `consumed` bytes of a record over the limit. `end`: its end is among them.
#[inline]
pub(super) fn discard(state: &mut DecodeState, consumed: usize, end: bool) {
    state.dropped += consumed as u64;
    if end {
        state.discarding = false;
        state.inside = false;
    }
}
