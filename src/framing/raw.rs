//! `raw`: bytes go on as they arrive; whatever was read is one message. What websockify does.

use super::{DecodeError, DecodeRules, Decoded, Event};
use crate::message::{Kind, Part};
use crate::outbox::Outbox;
use crate::utf8::incomplete_tail;

pub(super) fn encode(part: &Part<'_>, out: &mut Outbox) {
    out.push(part.data);
    out.commit();
}

pub(super) fn decode<'a>(rules: &DecodeRules, input: &'a [u8]) -> Result<Decoded<'a>, DecodeError> {
    let most = usize::try_from(rules.max_message)
        .unwrap_or(usize::MAX)
        .min(input.len());
    let mut data = &input[..most];
    if rules.text {
        // A text message must not end inside a character; the rest of it leads the next one.
        data = &data[..most - incomplete_tail(data)];
        if data.is_empty() && most < input.len() {
            // The limit is smaller than this one character.
            return Err(DecodeError::TooBig);
        }
    }
    let event = if data.is_empty() {
        Event::More
    } else {
        Event::Part(Part::whole(Kind::Binary, data))
    };
    Ok(Decoded {
        consumed: data.len(),
        event,
    })
}
