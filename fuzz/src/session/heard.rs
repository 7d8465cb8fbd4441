//! A strict reader of what a server sends (RFC 6455 §5): it forgives nothing but an end at any place.

use sealock::message::Kind;
use sealock::websocket::CloseCode;

/// What a client heard.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) messages: Vec<(Kind, Vec<u8>)>,
    /// The Close frame, with its code.
    pub(super) close: Option<Option<u16>>,
}

impl Heard {
    pub(super) fn read(mut stream: &[u8]) -> Self {
        let mut heard = Self::default();
        let mut open: Option<(Kind, Vec<u8>)> = None;
        while let Some((first, payload, rest)) = frame(stream) {
            stream = rest;
            let fin = first & 0x80 != 0;
            assert_eq!(first & 0x70, 0, "a reserved bit is set");
            assert_eq!(heard.close, None, "a frame behind the Close frame");
            match first & 0x0F {
                opcode @ 0..=2 => {
                    assert_eq!(opcode == 0, open.is_some(), "a fragment out of order");
                    let kind = if opcode == 1 { Kind::Text } else { Kind::Binary };
                    let (kind, mut message) = open.take().unwrap_or((kind, Vec::new()));
                    message.extend_from_slice(payload);
                    if !fin {
                        open = Some((kind, message));
                        continue;
                    }
                    assert!(
                        kind == Kind::Binary || std::str::from_utf8(&message).is_ok(),
                        "text that is not UTF-8"
                    );
                    heard.messages.push((kind, message));
                }
                8 => {
                    assert!(fin && payload.len() <= 125);
                    heard.close = Some(close(payload));
                }
                9 | 10 => assert!(fin && payload.len() <= 125),
                opcode => panic!("opcode {opcode}"),
            }
        }
        assert!(
            heard.close.is_none() || stream.is_empty(),
            "bytes behind the Close frame"
        );
        heard
    }
}

fn close(payload: &[u8]) -> Option<u16> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        assert!(payload.is_empty(), "a Close frame of one byte");
        return None;
    };
    let code = u16::from_be_bytes(*code);
    assert!(CloseCode(code).may_be_sent(), "close code {code}");
    assert!(std::str::from_utf8(reason).is_ok());
    Some(code)
}

/// The first byte of a frame, its payload, and what is behind; `None` where the frame is not whole.
fn frame(stream: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[first, second], rest) = stream.split_first_chunk()?;
    assert_eq!(second & 0x80, 0, "a server does not mask");
    let (len, rest) = match second {
        126 => {
            let (len, rest) = rest.split_first_chunk()?;
            let len = u16::from_be_bytes(*len);
            assert!(len > 125, "a length that is not minimal");
            (usize::from(len), rest)
        }
        127 => {
            let (len, rest) = rest.split_first_chunk()?;
            let len = u64::from_be_bytes(*len);
            assert!(len > u64::from(u16::MAX), "a length that is not minimal");
            (usize::try_from(len).ok()?, rest)
        }
        len => (usize::from(len), rest),
    };
    let (payload, rest) = rest.split_at_checked(len)?;
    Some((first, payload, rest))
}
