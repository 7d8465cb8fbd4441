//! Input: COBS instead of SLIP (a flag), then the traffic.

use sealock::framing::{DecodeError, Embedded, EncodeError, Framing, Garbage};

use super::{Read, Traffic, decode, rules};
use crate::input::Input;

/// A limit that no stream of a fuzzer reaches.
const FREE: u64 = 1 << 40;

/// Every message can be written and comes back; and streams are read as the definition says.
pub fn framing_stuffed(data: &[u8]) {
    let mut input = Input::new(data);
    let framing = if input.flag() {
        Framing::Cobs
    } else {
        Framing::Slip
    };
    let traffic = Traffic::read(&mut input);
    let (mut sent, mut stream) = (Vec::new(), Vec::new());
    for message in &traffic.messages {
        match traffic.encode(&framing, &Embedded::Escape, message) {
            Ok(record) => {
                sent.push(*message);
                stream.extend(record);
            }
            Err(error) => assert_eq!(
                (error, *message, &framing),
                (EncodeError::EmptyMessage, &b""[..], &Framing::Slip)
            ),
        }
    }
    let read = decode(&framing, rules(FREE), &traffic.stream_cuts.of(&stream));
    assert_eq!(read, Read::of(&sent), "what was sent did not come back");

    traffic.cuts_change_nothing(&framing);
    let read = decode(&framing, rules(FREE), &[traffic.stream]);
    let mark = if framing == Framing::Cobs { 0 } else { 0xC0 };
    let mut packets: Vec<&[u8]> = traffic.stream.split(|byte| *byte == mark).collect();
    let unfinished = packets.pop().unwrap_or_default();
    let mut expected = Vec::new();
    let mut is_good = true;
    for packet in packets.into_iter().filter(|packet| !packet.is_empty()) {
        let message = if framing == Framing::Cobs {
            from_cobs(packet)
        } else {
            from_slip(packet)
        };
        let Some(message) = message else {
            is_good = false;
            break;
        };
        expected.push(Some(message));
    }
    assert_eq!(read.records, expected);
    match read.error {
        None => assert!(is_good),
        Some(error) => {
            assert_eq!(error, DecodeError::Garbage(Garbage::Escape));
            // What has no end yet can be bad only where it holds a bad escape.
            assert!(
                !is_good
                    || (framing == Framing::Slip && from_slip(&[unfinished, &[0xDC]].concat()).is_none())
            );
        }
    }
}

fn from_slip(packet: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = packet.iter();
    let mut message = Vec::new();
    while let Some(byte) = bytes.next() {
        message.push(match byte {
            0xDB => match bytes.next()? {
                0xDC => 0xC0,
                0xDD => 0xDB,
                _ => return None,
            },
            byte => *byte,
        });
    }
    Some(message)
}

fn from_cobs(mut packet: &[u8]) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    while let [code, rest @ ..] = packet {
        let run = usize::from(*code) - 1;
        message.extend_from_slice(rest.get(..run)?);
        packet = &rest[run..];
        if *code < 0xFF && !packet.is_empty() {
            message.push(0);
        }
    }
    Some(message)
}
