//! Presets: names for framings with the parameters that a well-known protocol needs.

use super::{
    Block, ContentLength, Delimiter, Endian, Framing, Groups, Header, LengthPrefix, Outside, Postgres, Varint,
};
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
    // RFC 1035 §4.2.2, RFC 7766 §8: two bytes before each message.
    ("dns", || counted(LengthPrefix::plain(2, Endian::Big))),
    // RFC 1006 §6: version 3, a reserved byte (which nobody sets, so another value is taken for garbage), the length of the whole
    // packet. That a packet has at least 7 bytes is left to the backend.
    ("tpkt", || {
        counted(LengthPrefix {
            offset: 2,
            includes_header: true,
            template: Box::new([3, 0]),
            ..LengthPrefix::plain(2, Endian::Big)
        })
    }),
    // Client/server protocol, "MySQL Packets": three bytes little endian, a sequence number, the payload. Numbers matter, so they stay.
    // A payload of 2^24 - 1 bytes goes on in the next packet: a message is a packet, not a payload. Behind a request for TLS or
    // compression there are no such packets.
    ("mysql", || {
        counted(LengthPrefix {
            adjustment: 1,
            header: Header::Keep,
            ..LengthPrefix::plain(3, Endian::Little)
        })
    }),
    // Wire protocol, "Standard Message Header": a message starts with its own length, itself included. That the header has 12 bytes
    // more is left to the backend.
    ("mongodb", || {
        counted(LengthPrefix {
            includes_header: true,
            header: Header::Keep,
            ..LengthPrefix::plain(4, Endian::Little)
        })
    }),
    // Apache Kafka protocol guide, "Protocol Primitives": four bytes before each request and response. They are signed, which shows at
    // lengths that no limit allows.
    ("kafka", || counted(LengthPrefix::plain(4, Endian::Big))),
    // MODBUS Messaging on TCP/IP V1.0b §3.1.3: transaction, protocol, then the length of what follows. Lengths outside of 2 to 254 and
    // protocols other than 0 are left to the backend: the number of the transaction stands in front of both.
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
    // HL7 v2 Implementation Support Guide, Appendix C, Minimal Lower Layer Protocol: VT, the message, FS CR.
    ("mllp", || block(b"\x0b", b"\x1c\r", Kind::Text)),
    // ISO 1745: STX, the text, ETX. No escape, as each device has its own; nor is its text always UTF-8.
    ("stx-etx", || block(b"\x02", b"\x03", Kind::Binary)),
    // RFC 7464: a record separator, a JSON text, a line feed.
    ("json-seq", || both(Framing::JsonSeq, Kind::Text)),
    // RFC 1055.
    ("slip", || both(Framing::Slip, Kind::Binary)),
    // Cheshire and Baker 1999, with a zero behind each record.
    ("cobs", || both(Framing::Cobs, Kind::Binary)),
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

fn block(start: &[u8], end: &[u8], kind: Kind) -> Option<Preset> {
    let rule = Block::new(start, end, None, Outside::Close).ok()?;
    both(Framing::Block(rule), kind)
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
