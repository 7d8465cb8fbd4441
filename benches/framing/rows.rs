//! What is measured: one row for each way to frame, and what of tokio-util stands beside it.

use sealock::framing::{Block, Fixed, Framing, Groups, Outside, Varint, preset};

/// What is measured: one line for each.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// None where there is no framing for messages of this size.
    pub(crate) framing: fn(usize) -> Option<Framing>,
    /// A message of about this size.
    pub(crate) message: fn(usize) -> Vec<u8>,
    /// What of tokio-util reads and writes the same.
    pub(crate) peers: &'static [Peer],
}

/// A codec of tokio-util, with its name.
#[derive(Clone, Copy)]
pub(crate) enum Peer {
    LengthDelimited,
    Lines,
    /// As our encoder does, this one looks for a delimiter inside the message first.
    CheckedLines,
    AnyDelimiter,
}

impl Row {
    /// Text in records of a preset.
    fn preset(name: &'static str, framing: fn(usize) -> Option<Framing>) -> Self {
        Self {
            name,
            framing,
            message: text,
            peers: &[],
        }
    }

    fn message(self, message: fn(usize) -> Vec<u8>) -> Self {
        Self { message, ..self }
    }

    fn beside(self, peers: &'static [Peer]) -> Self {
        Self { peers, ..self }
    }
}

/// A row that bears the name of its preset.
macro_rules! row {
    ($name:literal) => {
        Row::preset($name, |_| preset($name).map(|preset| preset.to_client))
    };
}

/// One row for each way to frame; presets that differ in numbers only would tell the same again.
pub(crate) fn rows() -> Vec<Row> {
    const LINES: &[Peer] = &[Peer::Lines, Peer::CheckedLines, Peer::AnyDelimiter];
    const LENGTHS: &[Peer] = &[Peer::LengthDelimited];
    vec![
        row!("raw"),
        row!("lines").beside(LINES),
        row!("crlf"),
        row!("irc"),
        row!("u16be"),
        row!("u32be").beside(LENGTHS),
        row!("tpkt"),
        row!("mongodb").message(|size| join(&[&(size as u32).to_le_bytes(), &text(size - 4)])),
        row!("protobuf"),
        row!("mqtt").message(mqtt),
        Row::preset("varint, big endian", |_| {
            Some(Framing::Varint(Varint::plain(Groups::BigEndian)))
        }),
        Row::preset("fixed", |size| {
            Fixed::new(size as u64, None).ok().map(Framing::Fixed)
        }),
        row!("netstring"),
        row!("syslog"),
        row!("lsp"),
        row!("mllp"),
        Row::preset("block, escape", |_| {
            Block::new(b"\x02", b"\x03", Some(0x10), Outside::Close)
                .ok()
                .map(Framing::Block)
        }),
        row!("json-seq").message(|size| join(&[b"\"", &text(size - 2), b"\""])),
        row!("slip"),
        row!("cobs"),
        row!("stomp").message(|size| join(&[b"SEND\n\n", &text(size - 7), b"\0"])),
        row!("postgres").message(|size| {
            let length = (size - 1) as u32;
            join(&[b"D", &length.to_be_bytes(), &text(size - 5)])
        }),
        row!("amqp091").message(|size| {
            let length = (size - 8) as u32;
            join(&[&[3, 0, 1], &length.to_be_bytes(), &text(size - 8), &[0xCE]])
        }),
        row!("fix").message(fix),
    ]
}

/// Text without any delimiter, nor anything that is escaped.
fn text(size: usize) -> Vec<u8> {
    let letters = b"The quick brown fox jumps over the lazy dog; ".iter();
    letters.copied().cycle().take(size).collect()
}

fn join(pieces: &[&[u8]]) -> Vec<u8> {
    pieces.concat()
}

/// PUBLISH, with a length of as many bytes as it takes.
fn mqtt(size: usize) -> Vec<u8> {
    let body = text(size - 2);
    let (mut header, mut left) = (vec![0x30], body.len());
    while left > 0x7F {
        header.push(left as u8 | 0x80);
        left >>= 7;
    }
    header.push(left as u8);
    join(&[&header, &body])
}

/// News, with its checksum. The shortest are longer than 16 bytes.
fn fix(size: usize) -> Vec<u8> {
    let body = join(&[b"35=B\x0158=", &text(size.saturating_sub(40)), b"\x01"]);
    let header = format!("8=FIX.4.4\x019={}\x01", body.len());
    let message = join(&[header.as_bytes(), &body]);
    let sum = message.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    join(&[&message, format!("10={sum:03}\x01").as_bytes()])
}
