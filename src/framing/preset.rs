//! Presets: names for framings with the parameters that a well-known protocol needs.

use super::{ContentLength, Delimiter, Endian, Framing, Groups, Header, LengthPrefix, Postgres, Varint};
use crate::message::Kind;

/// A named framing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preset {
    /// How messages become records.
    pub to_backend: Framing,
    /// How records become messages: nearly always the same.
    pub to_client: Framing,
    /// What its records are when a route does not say: text or binary.
    pub kind: Kind,
}

/// All names, in the order of the documentation.
pub fn preset_names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|(name, _)| *name)
}

/// Looks a preset up by its name.
pub fn preset(name: &str) -> Option<Preset> {
    TABLE
        .iter()
        .find(|(known, _)| *known == name)
        .and_then(|(_, make)| make())
}

type Make = fn() -> Option<Preset>;

const TABLE: &[(&str, Make)] = &[
    // The bytes as they come.
    ("raw", || both(Framing::Raw, Kind::Binary)),
    // One LF.
    ("lines", || lines(&[b"\n"])),
    // CR LF is written. A bare LF ends a record too: many servers take it for one, so a page must not smuggle it in.
    ("crlf", || lines(&[b"\r\n", b"\n"])),
    // One NUL.
    ("nul", || lines(&[b"\0"])),
    // RFC 1459 §2.3.1, RFC 2812 §2.3: CR LF; servers take either alone.
    ("irc", || lines(&[b"\r\n", b"\n", b"\r"])),
    ("u8", || counted(LengthPrefix::plain(1, Endian::Big))),
    ("u16be", || counted(LengthPrefix::plain(2, Endian::Big))),
    ("u16le", || counted(LengthPrefix::plain(2, Endian::Little))),
    ("u32be", || counted(LengthPrefix::plain(4, Endian::Big))),
    ("u32le", || counted(LengthPrefix::plain(4, Endian::Little))),
    // RFC 1035 §4.2.2: two bytes before each message.
    ("dns", || counted(LengthPrefix::plain(2, Endian::Big))),
    // RFC 1006 §6: version 3, a reserved byte, the length of the whole packet.
    ("tpkt", || {
        counted(LengthPrefix {
            offset: 2,
            includes_header: true,
            template: Box::new([3, 0]),
            ..LengthPrefix::plain(2, Endian::Big)
        })
    }),
    // Client/server protocol: three bytes little endian, a sequence number, the payload. Numbers matter, so they stay.
    ("mysql", || {
        counted(LengthPrefix {
            adjustment: 1,
            header: Header::Keep,
            ..LengthPrefix::plain(3, Endian::Little)
        })
    }),
    // Wire protocol: a message starts with its own length, itself included.
    ("mongodb", || {
        counted(LengthPrefix {
            includes_header: true,
            header: Header::Keep,
            ..LengthPrefix::plain(4, Endian::Little)
        })
    }),
    // Apache Kafka protocol guide: four bytes before each request and response.
    ("kafka", || counted(LengthPrefix::plain(4, Endian::Big))),
    // MODBUS Messaging on TCP/IP V1.0b §3.1.3: transaction, protocol, then the length of what follows.
    ("modbus", || {
        counted(LengthPrefix {
            offset: 4,
            header: Header::Keep,
            ..LengthPrefix::plain(2, Endian::Big)
        })
    }),
    // MQTT 3.1.1 §2.2, 5.0 §2.1: type and flags, then the remaining length in at most four bytes. Types matter, so they stay.
    ("mqtt", || {
        let rule = Varint {
            offset: 1,
            max_width: 4,
            header: Header::Keep,
            ..Varint::plain(Groups::Leb128)
        };
        both(Framing::Varint(rule), Kind::Binary)
    }),
    // Protocol Buffers, "Streaming Multiple Messages", as `delimited_message_util.h` and `writeDelimitedTo` do it: the length is an
    // int32, which takes at most five bytes.
    ("protobuf", || {
        let rule = Varint {
            max_width: 5,
            ..Varint::plain(Groups::Leb128)
        };
        both(Framing::Varint(rule), Kind::Binary)
    }),
    // D. J. Bernstein, Netstrings (1997): they hold any bytes.
    ("netstring", || both(Framing::Netstring, Kind::Binary)),
    // RFC 6587 §3.4.1, RFC 5425 §4.3. Messages are UTF-8 by RFC 5424 §6.4, and what older senders write is text too.
    ("syslog", || both(Framing::OctetCounting, Kind::Text)),
    // Language Server Protocol 3.17, "Base Protocol": UTF-8, whatever `Content-Type` says.
    ("lsp", || header_lines()),
    // Debug Adapter Protocol, "Base Protocol": the same, with this one header.
    ("dap", || header_lines()),
    // STOMP 1.2: frames with their NUL, and heart-beats.
    ("stomp", || both(Framing::Stomp, Kind::Text)),
    // PostgreSQL documentation, "Message Formats": only the client has a first message without a type.
    ("postgres", || {
        Some(Preset {
            to_backend: Framing::Postgres(Postgres { client: true }),
            to_client: Framing::Postgres(Postgres { client: false }),
            kind: Kind::Binary,
        })
    }),
    // AMQP 0-9-1 §2.3.5, §4.2.2: frames with their end, and the protocol header.
    ("amqp091", || both(Framing::Amqp, Kind::Binary)),
    // FIX TagValue Encoding. Data fields may hold any bytes, so not even an ASCII protocol is safe as text.
    ("fix", || both(Framing::Fix, Kind::Binary)),
];

fn header_lines() -> Option<Preset> {
    let rule = ContentLength {
        header: Header::Strip,
    };
    both(Framing::ContentLength(rule), Kind::Text)
}

fn lines(delimiters: &[&[u8]]) -> Option<Preset> {
    let listed: Vec<Vec<u8>> = delimiters.iter().map(|one| one.to_vec()).collect();
    both(
        Framing::Delimiter(Delimiter::new(&listed, false).ok()?),
        Kind::Text,
    )
}

fn counted(rule: LengthPrefix) -> Option<Preset> {
    both(Framing::LengthPrefix(rule), Kind::Binary)
}

/// The same framing in both directions.
fn both(framing: Framing, kind: Kind) -> Option<Preset> {
    Some(Preset {
        to_backend: framing.clone(),
        to_client: framing,
        kind,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_exists_and_has_sound_parameters() {
        assert!(preset_names().count() > 10);
        for name in preset_names() {
            let made = preset(name).unwrap_or_else(|| panic!("{name} cannot be made"));
            for framing in [made.to_backend, made.to_client] {
                match framing {
                    Framing::LengthPrefix(rule) => assert_eq!(rule.check(), [], "{name}"),
                    Framing::Varint(rule) => assert_eq!(rule.check(), [], "{name}"),
                    _ => {}
                }
            }
        }
        assert_eq!(preset("nonsense"), None);
    }
}
