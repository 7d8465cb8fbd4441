//! Input: which framing, its parameters, then the traffic. A varint has its order (a flag), the most bytes it takes, keep (a flag), an
//! offset, and the template behind its length; a fixed size has the size in two bytes, and a padding byte behind a flag; header lines
//! have keep (a flag); the others have nothing.

use sealock::framing::{ContentLength, Embedded, EncodeError, Fixed, Framing, Groups, Header, Varint};

use super::{Read, Traffic, decode, rules};
use crate::input::Input;

/// A limit that no stream of a fuzzer reaches.
const FREE: u64 = 1 << 40;

/// A message becomes the record of the definition and comes back, or is refused where the definition has no record for it.
pub fn framing_counted(data: &[u8]) {
    let mut input = Input::new(data);
    let Some((framing, model)) = framing(&mut input) else {
        return;
    };
    let traffic = Traffic::read(&mut input);
    let (mut sent, mut stream) = (Vec::new(), Vec::new());
    for message in &traffic.messages {
        let encoded = traffic.encode(&framing, &Embedded::Reject, message);
        assert_eq!(encoded, model.record(message));
        if let Ok(record) = encoded {
            sent.push(model.message(message));
            stream.extend(record);
        }
    }
    let read = decode(&framing, rules(FREE), &traffic.stream_cuts.of(&stream));
    assert_eq!(read, Read::of(&sent), "what was sent did not come back");
    traffic.cuts_change_nothing(&framing);
}

fn framing(input: &mut Input<'_>) -> Option<(Framing, Model)> {
    let header = |keep| if keep { Header::Keep } else { Header::Strip };
    Some(match input.byte() % 5 {
        0 => {
            let rule = Varint {
                groups: if input.flag() {
                    Groups::BigEndian
                } else {
                    Groups::Leb128
                },
                max_width: input.byte().into(),
                header: header(input.flag()),
                offset: input.byte().into(),
                template: input.text().into(),
            };
            if !rule.check().is_empty() {
                return None;
            }
            (Framing::Varint(rule.clone()), Model::Varint(rule))
        }
        1 => {
            let (size, padded, pad) = (input.number(), input.flag(), input.byte());
            let pad = padded.then_some(pad);
            let rule = Fixed::new(size.into(), pad).ok()?;
            (Framing::Fixed(rule), Model::Fixed(size.into(), pad))
        }
        2 => (Framing::Netstring, Model::Netstring),
        3 => {
            let header = header(input.flag());
            let model = match header {
                Header::Strip => Model::Lines,
                Header::Keep => Model::LinesKept,
            };
            (Framing::ContentLength(ContentLength { header }), model)
        }
        _ => (Framing::OctetCounting, Model::OctetCounting),
    })
}

/// The definitions, written for being plain.
enum Model {
    Varint(Varint),
    Fixed(usize, Option<u8>),
    Netstring,
    Lines,
    LinesKept,
    OctetCounting,
}

impl Model {
    fn record(&self, message: &[u8]) -> Result<Vec<u8>, EncodeError> {
        let (len, data) = (message.len(), message);
        let kept = |header: Option<(usize, u128)>| match header {
            Some((header, body)) if header as u128 + body == len as u128 => Ok(data.to_vec()),
            _ => Err(EncodeError::HeaderMismatch),
        };
        match self {
            Self::Varint(rule) if rule.header == Header::Keep => kept(varint(rule, data)),
            Self::Varint(rule) => {
                let mut groups = vec![len as u8 & 0x7F];
                let mut rest = len >> 7;
                while rest > 0 {
                    groups.push(rest as u8 & 0x7F);
                    rest >>= 7;
                }
                if groups.len() > rule.max_width {
                    return Err(EncodeError::LengthDoesNotFit);
                }
                if rule.groups == Groups::BigEndian {
                    groups.reverse();
                }
                let last = groups.len() - 1;
                groups[..last].iter_mut().for_each(|group| *group |= 0x80);
                Ok([&rule.template, &groups[..], data].concat())
            }
            Self::Fixed(size, _) if len == *size => Ok(data.to_vec()),
            Self::Fixed(size, Some(_)) if len < *size => Ok(self.message(data)),
            Self::Fixed(..) => Err(EncodeError::SizeMismatch),
            Self::Netstring => Ok([format!("{len}:").as_bytes(), data, b","].concat()),
            Self::Lines => Ok([format!("Content-Length: {len}\r\n\r\n").as_bytes(), data].concat()),
            Self::LinesKept => kept(lines(data)),
            Self::OctetCounting if len == 0 => Err(EncodeError::EmptyMessage),
            Self::OctetCounting => Ok([format!("{len} ").as_bytes(), data].concat()),
        }
    }

    /// What comes back of a message that has become a record.
    fn message(&self, message: &[u8]) -> Vec<u8> {
        let mut message = message.to_vec();
        if let Self::Fixed(size, Some(pad)) = self {
            message.resize(*size, *pad);
        }
        message
    }
}

/// The bytes of a header and the length of the body behind it.
fn varint(rule: &Varint, bytes: &[u8]) -> Option<(usize, u128)> {
    let field = bytes
        .get(rule.offset..)
        .filter(|_| bytes.starts_with(&rule.template))?;
    let width = 1 + field.iter().take(rule.max_width).position(|byte| *byte < 0x80)?;
    let add = |value: u128, byte: &u8| value << 7 | u128::from(byte & 0x7F);
    let value = match rule.groups {
        Groups::BigEndian => field[..width].iter().fold(0, add),
        Groups::Leb128 => field[..width].iter().rev().fold(0, add),
    };
    Some((rule.offset + width, value))
}

/// The same for a block of header lines.
fn lines(bytes: &[u8]) -> Option<(usize, u128)> {
    // Each byte a character; above ASCII, one that stands for no byte of a name.
    let text: String = bytes
        .iter()
        .map(|byte| if byte.is_ascii() { char::from(*byte) } else { '"' })
        .collect();
    let (block, _) = text.split_once("\r\n\r\n")?;
    let mut lengths = Vec::new();
    for line in block.split("\r\n") {
        let (name, value) = line.split_once(':')?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(is_name) {
            return None;
        }
        if value.contains(|c: char| c.is_ascii_control() && c != '\t') {
            return None;
        }
        if name.eq_ignore_ascii_case("content-length") {
            lengths.push(value.trim_matches([' ', '\t']));
        }
    }
    let header = block.len() + 4;
    match *lengths {
        [length] if header <= 512 && length.bytes().all(|byte| byte.is_ascii_digit()) => {
            let significant = length.trim_start_matches('0');
            let number = if significant.is_empty() && !length.is_empty() {
                "0"
            } else {
                significant
            };
            Some((header, number.parse().ok()?))
        }
        _ => None,
    }
}
