//! Input: width (0 to 8), flags (little endian; includes header; keep), offset, adjustment (a magnitude by index, a sign), the
//! template behind its length, then the traffic.

use sealock::framing::{Embedded, EncodeError, Endian, Framing, Header, LengthPrefix};

use super::{Read, Traffic, decode, rules};
use crate::input::Input;

/// A limit that no stream of a fuzzer reaches.
const FREE: u64 = 1 << 40;

/// A record comes back as its message, or the message is refused exactly where the length field cannot tell of it.
pub fn framing_length_prefix(data: &[u8]) {
    let mut input = Input::new(data);
    let rule = LengthPrefix {
        width: usize::from(input.byte() % 9),
        endian: if input.flag() { Endian::Little } else { Endian::Big },
        includes_header: input.flag(),
        header: if input.flag() { Header::Keep } else { Header::Strip },
        offset: input.byte().into(),
        adjustment: input.pick(&[0, 1, 2, 3, 4, 7, 100, 255, 256, 65_536, 1 << 32])
            * if input.flag() { -1 } else { 1 },
        template: input.text().into(),
    };
    if !rule.check().is_empty() {
        return;
    }
    let framing = Framing::LengthPrefix(rule.clone());
    let traffic = Traffic::read(&mut input);
    let (mut sent, mut stream) = (Vec::new(), Vec::new());
    for message in &traffic.messages {
        let encoded = traffic.encode(&framing, &Embedded::Reject, message);
        let expected = match rule.header {
            Header::Strip => strip(&rule, message).ok_or(EncodeError::LengthDoesNotFit),
            Header::Keep if announces_itself(&rule, message) => Ok(message.to_vec()),
            Header::Keep => Err(EncodeError::HeaderMismatch),
        };
        assert_eq!(encoded, expected);
        if let Ok(record) = encoded {
            sent.push(*message);
            stream.extend(record);
        }
    }
    let read = decode(&framing, rules(FREE), &traffic.stream_cuts.of(&stream));
    assert_eq!(read, Read::of(&sent), "what was sent did not come back");
    traffic.cuts_change_nothing(&framing);
}

/// What the value of the length field is more than the length of the body.
fn excess(rule: &LengthPrefix) -> i128 {
    let header = if rule.includes_header {
        rule.offset + rule.width
    } else {
        0
    };
    header as i128 - i128::from(rule.adjustment)
}

/// The record of a body, by the definition; `None` where the field cannot hold the value.
fn strip(rule: &LengthPrefix, body: &[u8]) -> Option<Vec<u8>> {
    let value = u128::try_from(body.len() as i128 + excess(rule)).ok()?;
    let mut field = value.to_be_bytes().to_vec();
    let behind = field.split_off(field.len() - rule.width);
    if field.iter().any(|byte| *byte != 0) {
        return None;
    }
    let mut field = behind;
    if rule.endian == Endian::Little {
        field.reverse();
    }
    Some([&rule.template, &field[..], body].concat())
}

/// True when a message starts with a header that tells its length.
fn announces_itself(rule: &LengthPrefix, message: &[u8]) -> bool {
    let Some(field) = message.get(rule.offset..rule.offset + rule.width) else {
        return false;
    };
    let add = |value: i128, byte: &u8| value << 8 | i128::from(*byte);
    let value = match rule.endian {
        Endian::Big => field.iter().fold(0, add),
        Endian::Little => field.iter().rev().fold(0, add),
    };
    let body = (message.len() - rule.offset - rule.width) as i128;
    message.starts_with(&rule.template) && value - excess(rule) == body
}
