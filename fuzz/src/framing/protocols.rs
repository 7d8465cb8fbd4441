//! Input: the protocol (0 STOMP, 1 a PostgreSQL server, 2 AMQP 0-9-1, 3 FIX, 4 the first message of a PostgreSQL client), then the
//! traffic.

use sealock::framing::{Embedded, Framing, Preset, preset};

use super::{Read, Traffic, decode, rules};
use crate::input::Input;

/// A limit that no stream of a fuzzer reaches.
const FREE: u64 = 1 << 40;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Stomp,
    Postgres,
    Amqp,
    Fix,
    /// Each message is the first of its session.
    PostgresStart,
}

/// A message leaves as it is, exactly where it is one record by the definition; and streams are split where that says.
pub fn framing_protocols(data: &[u8]) {
    use Protocol::*;
    let mut input = Input::new(data);
    let protocol = input.pick(&[Stomp, Postgres, Amqp, Fix, PostgresStart]);
    let framing = protocol.framing();
    let traffic = Traffic::read(&mut input);

    let mut sent = Vec::new();
    for message in &traffic.messages {
        let encoded = traffic.encode(&framing, &Embedded::Reject, message);
        if protocol.record(message, true) == Some(message.len()) {
            assert_eq!(encoded.as_deref(), Ok(*message));
            assert_eq!(decode(&framing, rules(FREE), &[message]), Read::of(&[message]));
            sent.push(*message);
        } else {
            assert!(encoded.is_err(), "not one record: {message:?}");
        }
    }
    if protocol != PostgresStart {
        let read = decode(&framing, rules(FREE), &traffic.stream_cuts.of(&sent.concat()));
        assert_eq!(read, Read::of(&sent), "what was sent did not come back");
        let read = decode(&framing, rules(FREE), &[traffic.stream]);
        let records = Read::of(&protocol.records(traffic.stream)).records;
        assert_eq!(read.records, records, "split elsewhere than defined");
    }
    traffic.cuts_change_nothing(&framing);
}

impl Protocol {
    fn framing(self) -> Framing {
        let made = |name| -> Preset { preset(name).expect("a preset") };
        match self {
            Self::Stomp => made("stomp").to_client,
            Self::Postgres => made("postgres").to_client,
            Self::Amqp => made("amqp091").to_client,
            Self::Fix => made("fix").to_client,
            Self::PostgresStart => made("postgres").to_backend,
        }
    }

    /// The records of a stream, up to what is none or is unfinished.
    fn records(self, mut stream: &[u8]) -> Vec<&[u8]> {
        let mut records = Vec::new();
        while let Some(len) = self.record(stream, false) {
            records.push(&stream[..len]);
            stream = &stream[len..];
        }
        records
    }

    /// The length of the record at the start of some bytes. `client`: one that a client may send.
    fn record(self, bytes: &[u8], client: bool) -> Option<usize> {
        let len = match self {
            Self::Stomp => stomp(bytes, client)?,
            Self::Postgres => {
                let len = i32::from_be_bytes(bytes.get(1..5)?.try_into().ok()?);
                (bytes[0].is_ascii_alphanumeric() && len >= 4).then_some(1 + len as usize)?
            }
            Self::PostgresStart => {
                let len = i32::from_be_bytes(bytes.get(..4)?.try_into().ok()?);
                let code = bytes.get(4..8)?;
                let known = code[..2] == [0, 3] || code == [0x04, 0xD2, 0x16, 0x2E];
                ((8..=10_000).contains(&len) && (known || !client)).then_some(len as usize)?
            }
            Self::Amqp if bytes.starts_with(b"AMQP") => {
                if client && bytes.get(4..8)? != [0, 0, 9, 1] {
                    return None;
                }
                8
            }
            Self::Amqp => {
                let size = u32::from_be_bytes(bytes.get(3..7)?.try_into().ok()?) as usize;
                let sound = [1, 2, 3, 8].contains(&bytes[0]) && *bytes.get(7 + size)? == 0xCE;
                sound.then_some(7 + size + 1)?
            }
            Self::Fix => fix(bytes, client)?,
        };
        (len <= bytes.len()).then_some(len)
    }
}

fn stomp(bytes: &[u8], client: bool) -> Option<usize> {
    if bytes.starts_with(b"\n") {
        return Some(1);
    }
    if bytes.starts_with(b"\r\n") {
        return Some(2);
    }
    let (mut lines, mut length, mut at) = (0, None, 0);
    loop {
        let end = at + bytes[at..].iter().position(|byte| *byte == b'\n')?;
        let line = &bytes[at..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        at = end + 1;
        lines += 1;
        if line.contains(&0) || (client && line.contains(&b'\r')) {
            return None;
        }
        if lines == 1 {
            if !(1..=11).contains(&line.len()) || !line.iter().all(u8::is_ascii_uppercase) {
                return None;
            }
            continue;
        }
        if line.is_empty() {
            break;
        }
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if name.is_empty() || name.contains(&b'\r') {
            return None;
        }
        if name == b"content-length" {
            match length {
                Some(_) if client => return None,
                Some(_) => {}
                None => {
                    let digits = std::str::from_utf8(value).ok()?;
                    let digits = if client {
                        digits
                    } else {
                        digits.trim_start_matches(' ')
                    };
                    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                        return None;
                    }
                    length = Some(digits.parse().unwrap_or(usize::MAX));
                }
            }
        }
    }
    let body = match length {
        Some(length) => length,
        None => bytes[at..].iter().position(|byte| *byte == 0)?,
    };
    let end = at.checked_add(body)?;
    (*bytes.get(end)? == 0).then_some(end + 1)
}

fn fix(bytes: &[u8], client: bool) -> Option<usize> {
    let mut fields = bytes.split(|byte| *byte == 1);
    let (begin, length) = (fields.next()?, fields.next()?);
    let header = begin.len() + 1 + length.len() + 1;
    let version = std::str::from_utf8(begin.strip_prefix(b"8=")?).ok()?;
    let digits = std::str::from_utf8(length.strip_prefix(b"9=")?).ok()?;
    if header > 32
        || version.is_empty()
        || version.contains(|c: char| !c.is_ascii_graphic())
        || digits.contains(|c: char| !c.is_ascii_digit())
    {
        return None;
    }
    let body: usize = digits
        .parse()
        .ok()
        .filter(|length| (5..1 << 32).contains(length))?;
    let end = header + body;
    let summed = bytes.get(..end)?;
    let trailer = std::str::from_utf8(bytes.get(end..end + 7)?).ok()?;
    let sum = trailer.strip_prefix("10=")?.strip_suffix('\x01')?;
    let right = summed.iter().map(|byte| u64::from(*byte)).sum::<u64>() % 256;
    let sound = summed.ends_with(b"\x01")
        && sum.bytes().all(|byte| byte.is_ascii_digit())
        && (!client || sum.parse() == Ok(right));
    sound.then_some(end + 7)
}
