//! Each codec for itself.

use std::hint::black_box;

use sealock::framing::{DecodeRules, DecodeState, Embedded, EncodeState, Event, Framing, Oversized};
use sealock::message::{Kind, Part};
use sealock::outbox::Outbox;
use sealock::utf8::Utf8Check;
use sealock::websocket::{self, Decoder, Encoder};

use super::{ASCII, Shape, Work, frames, message, records};

const MAX_MESSAGE: u64 = 1024 * 1024;

/// Frames that lie ready. They are unmasked in place, so every other time they are masked again, which is as much work.
pub(super) fn decode_frames(shape: Shape) -> Work {
    let mut input = frames(Kind::Binary, shape);
    let mut decoder = Decoder::new(MAX_MESSAGE);
    Box::new(move || {
        let (mut used, mut messages) = (0, 0);
        loop {
            let input = black_box(&mut input[used..]);
            if let Some(whole) = decoder.whole_message(input) {
                used += whole.end;
                messages += usize::from(black_box(decoder.open(whole, input)).is_ok());
            } else if let Ok((consumed, Some(event))) = decoder.decode(input) {
                used += consumed;
                messages += usize::from(matches!(event, websocket::Event::Message(part) if part.is_whole()));
            } else {
                break;
            }
        }
        assert_eq!((used, messages), (input.len(), shape.count));
    })
}

pub(super) fn encode_frames(shape: Shape) -> Work {
    let message = message(ASCII, shape.size);
    let mut out = roomy();
    Box::new(move || {
        for _ in 0..shape.count {
            Encoder::whole(Kind::Binary, black_box(&message), &mut out);
        }
        assert!(take(&mut out) > shape.total());
    })
}

pub(super) fn check_utf8(text: &str, shape: Shape) -> Work {
    let message = message(text, shape.size);
    let mut check = Utf8Check::default();
    Box::new(move || {
        for _ in 0..shape.count {
            let good = check.push(black_box(&message)).and_then(|()| check.finish());
            assert_eq!(good, Ok(()));
        }
    })
}

pub(super) fn encode(framing: Framing, shape: Shape) -> Work {
    let message = message(ASCII, shape.size);
    let mut out = roomy();
    Box::new(move || {
        encode_all(&framing, &message, shape.count, &mut out);
        assert!(take(&mut out) >= shape.total());
    })
}

pub(super) fn encode_all(framing: &Framing, message: &[u8], count: usize, out: &mut Outbox) {
    let mut state = EncodeState::default();
    for _ in 0..count {
        let part = Part::whole(Kind::Binary, black_box(message));
        let encoded = framing.encode(&mut state, &Embedded::Reject, &part, out);
        assert_eq!(encoded, Ok(()));
    }
}

/// Records that lie ready; but for `raw`, where each message is what a read gives.
pub(super) fn decode(framing: Framing, shape: Shape) -> Work {
    let input = records(&framing, shape);
    let read = match framing {
        Framing::Raw => shape.size,
        _ => input.len(),
    };
    let mut state = DecodeState::default();
    let rules = DecodeRules {
        max_message: MAX_MESSAGE,
        oversized: Oversized::Close,
        text: false,
    };
    Box::new(move || {
        let mut messages = 0;
        for input in input.chunks(read) {
            let mut used = 0;
            loop {
                let input = black_box(&input[used..]);
                if let Some(record) = framing.whole_record(&state, &rules, input) {
                    used += record.consumed;
                    messages += usize::from(!black_box(&input[record.start..record.end]).is_empty());
                } else if let Ok(decoded) = framing.decode(&mut state, &rules, input, false)
                    && let Event::Part(part) = decoded.event
                {
                    used += decoded.consumed;
                    messages += usize::from(part.is_whole());
                } else {
                    break;
                }
            }
            assert_eq!(used, input.len());
        }
        assert_eq!(messages, shape.count);
    })
}

/// An outbox with the room that one has on the thread's scratch.
fn roomy() -> Outbox {
    let mut out = Outbox::default();
    out.borrow(&mut Vec::with_capacity(1024 * 1024));
    out
}

/// Lets everything leave that may.
fn take(out: &mut Outbox) -> usize {
    let ready = out.ready().len();
    out.advance(ready);
    ready
}
