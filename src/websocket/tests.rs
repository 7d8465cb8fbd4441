//! The frame engine against the text of RFC 6455, against cuts, and against tungstenite.

use proptest::prelude::*;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket, protocol};

use super::*;
use crate::message::{Begin, Kind, Part};
use crate::outbox::Outbox;

const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// A client's frame in its shortest form.
fn frame(fin: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![u8::from(fin) << 7 | opcode];
    match payload.len() {
        len @ 0..126 => bytes.push(0x80 | len as u8),
        len @ 126..0x1_0000 => {
            bytes.push(0x80 | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(0x80 | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    bytes
}

/// What a client said, with the pieces of a message put together.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Message(Kind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
    /// So many bytes of a message over the limit, those before it turned out to be included.
    Skipped(usize),
}

/// Feeds `pieces` as a stream, as the bridge does.
fn listen(max: u64, pieces: &[&[u8]]) -> (Vec<Said>, Result<(), ProtocolError>) {
    listen_or_skip(max, false, pieces)
}

/// The same, where messages over the limit may be skipped.
fn listen_or_skip(max: u64, skip: bool, pieces: &[&[u8]]) -> (Vec<Said>, Result<(), ProtocolError>) {
    let mut decoder = Decoder::new(max);
    let (mut said, mut left, mut open) = (Vec::new(), Vec::new(), None::<(Kind, Vec<u8>)>);
    for piece in pieces {
        let mut input: Vec<u8> = std::mem::take(&mut left);
        input.extend_from_slice(piece);
        let mut at = 0;
        loop {
            let mut copy = input[at..].to_vec();
            let shortcut = decoder.whole_message(&copy).map(|whole| {
                let opened = Decoder::new(max).open(whole, &mut copy).map(<[u8]>::to_vec);
                opened.map(|data| (whole.end, whole.kind, data))
            });
            let step = decoder.decode(&mut input[at..]);
            if let Some(shortcut) = shortcut {
                let whole = |(end, kind, data)| (end, Some(Event::Message(Part::whole(kind, data))));
                let shortcut = shortcut
                    .as_ref()
                    .map(|(end, kind, data)| whole((*end, *kind, data)));
                assert_eq!(
                    step,
                    shortcut.map_err(|error| *error),
                    "the shortcut leads to the same place"
                );
            }
            let (consumed, event) = match step {
                Ok(step) => step,
                Err(ProtocolError::TooBig) if skip => {
                    decoder.skip();
                    said.push(Said::Skipped(open.take().map_or(0, |(_, data)| data.len())));
                    continue;
                }
                Err(error) => return (said, Err(error)),
            };
            at += consumed;
            match event {
                None => break,
                Some(Event::Ping(payload)) => said.push(Said::Ping(payload.to_vec())),
                Some(Event::Pong(payload)) => said.push(Said::Pong(payload.to_vec())),
                Some(Event::Skipped(len)) => {
                    let Some(Said::Skipped(all)) =
                        said.iter_mut().rfind(|said| matches!(said, Said::Skipped(_)))
                    else {
                        panic!("skipped without being asked");
                    };
                    *all += len;
                }
                Some(Event::Close(frame)) => {
                    said.push(Said::Close(
                        frame.code.map(|code| code.0),
                        frame.reason.to_owned(),
                    ));
                    return (said, Ok(()));
                }
                Some(Event::Message(part)) => {
                    assert_eq!(part.begin.is_some(), open.is_none(), "a message begins once");
                    let (kind, mut data) = open
                        .take()
                        .unwrap_or_else(|| (part.begin.map_or(Kind::Binary, |begin| begin.kind), Vec::new()));
                    data.extend_from_slice(part.data);
                    if let Some(Begin { len: Some(len), .. }) = part.begin {
                        assert!(
                            !part.end || len == data.len() as u64,
                            "an announced length is true"
                        );
                    }
                    assert_eq!(decoder.is_inside_message(), !part.end);
                    if part.end {
                        said.push(Said::Message(kind, data));
                    } else {
                        open = Some((kind, data));
                    }
                }
            }
        }
        left = input[at..].to_vec();
        assert!(left.len() <= MAX_LEFT, "{} bytes are left", left.len());
    }
    (said, Ok(()))
}

#[test]
fn each_violation_is_noticed_on_its_first_bytes() {
    use Violation as V;
    let rows: &[(&[u8], V)] = &[
        (b"\x91", V::ReservedBit),
        (b"\xA1", V::ReservedBit),
        (b"\xC2", V::ReservedBit),
        (b"\x83", V::ReservedOpcode),
        (b"\x87", V::ReservedOpcode),
        (b"\x8B", V::ReservedOpcode),
        (b"\x8F", V::ReservedOpcode),
        (b"\x81\x05", V::NotMasked),
        (b"\x82\xFE\x00\x7D", V::LengthNotMinimal),
        (b"\x82\xFF\x00\x00\x00\x00\x00\x00\xFF\xFF", V::LengthNotMinimal),
        (b"\x82\xFF\x80\x00\x00\x00\x00\x00\x00\x00", V::LengthTopBit),
        (b"\x09", V::ControlFragmented),
        (b"\x0A", V::ControlFragmented),
        (b"\x08", V::ControlFragmented),
        (b"\x89\xFE", V::ControlTooLong),
        (b"\x88\xFF", V::ControlTooLong),
        (b"\x80\x80\x00\x00\x00\x00", V::NothingToContinue),
    ];
    for (bytes, violation) in rows {
        for size in 1..=bytes.len() {
            let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
            assert_eq!(
                listen(100, &pieces),
                (vec![], Err((*violation).into())),
                "{bytes:x?}"
            );
        }
    }
    let interrupted = [frame(false, 1, b"a"), frame(true, 1, b"b")].concat();
    assert_eq!(
        listen(100, &[&interrupted]).1,
        Err(Violation::MessageNotEnded.into())
    );
}

#[test]
fn close_frames_are_checked() {
    let close = |payload: &[u8]| listen(100, &[&frame(true, 8, payload)]);
    assert_eq!(close(b"").0, [Said::Close(None, String::new())]);
    assert_eq!(close(b"\x03").1, Err(Violation::CloseLength.into()));
    assert_eq!(close(b"\x03\xE8\xFF").1, Err(ProtocolError::InvalidText));
    for code in 0..=u16::MAX {
        let may = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
        let (said, result) = close(&code.to_be_bytes());
        assert_eq!(result.is_ok(), may, "{code}");
        assert_eq!(said.is_empty(), !may);
    }
    let behind = [frame(true, 8, b"\x03\xE8bye"), vec![0xFF; 20]].concat();
    assert_eq!(
        listen(100, &[&behind]),
        (vec![Said::Close(Some(1000), "bye".into())], Ok(()))
    );
}

#[test]
fn a_message_over_the_limit_is_refused_on_its_header() {
    let announced = &frame(true, 2, &[0; 200])[..8];
    assert_eq!(listen(199, &[announced]), (vec![], Err(ProtocolError::TooBig)));
    let fragments = [
        frame(false, 2, &[0; 150]),
        frame(false, 0, &[0; 49]),
        frame(true, 0, &[0; 1]),
    ]
    .concat();
    assert!(listen(200, &[&fragments]).1.is_ok());
    assert_eq!(listen(199, &[&fragments]).1, Err(ProtocolError::TooBig));
    let huge = b"\x82\xFF\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF\0\0\0\0";
    assert_eq!(listen(u64::MAX >> 2, &[huge]).1, Err(ProtocolError::TooBig));
}

#[test]
fn a_message_over_the_limit_can_be_skipped_to_its_end() {
    let good = || Said::Message(Kind::Text, b"good".into());
    let text = |payload: &[u8]| frame(true, 1, payload);
    // Bytes that are no UTF-8 are nothing to those that are not looked at.
    let rows = [
        (text(&[0xFF; 11]), 11),
        (text(&[b'x'; 300]), 300),
        ([frame(false, 1, &[0xFF; 11]), frame(true, 0, b"x")].concat(), 12),
        (
            [
                frame(false, 1, b"12345\xE2"),
                frame(false, 0, b"678901"),
                frame(true, 9, b"?"),
                frame(false, 0, &[b'x'; 200]),
                frame(true, 0, b""),
            ]
            .concat(),
            212,
        ),
    ];
    for (bytes, len) in rows {
        let ping = bytes
            .ends_with(&frame(true, 0, b""))
            .then(|| Said::Ping(b"?".into()));
        let mut expected = vec![good(), Said::Skipped(len)];
        expected.extend(ping);
        expected.push(good());
        let bytes = [text(b"good"), bytes, text(b"good")].concat();
        for size in 1..=bytes.len() {
            let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
            let (said, result) = listen_or_skip(10, true, &pieces);
            assert_eq!((&said, result), (&expected, Ok(())), "by {size}");
        }
    }
}

#[test]
fn bad_text_is_noticed_at_its_byte() {
    let text = |payload: &[u8]| frame(true, 1, payload);
    assert_eq!(
        listen(100, &[&text(b"\xC0\xAF")]).1,
        Err(ProtocolError::InvalidText)
    );
    assert_eq!(
        listen(100, &[&text(b"ab\xE2\x82")]).1,
        Err(ProtocolError::InvalidText),
        "cut at the end"
    );
    // Long before the message ends.
    let long = frame(false, 1, &[b"\xF4\x90".as_slice(), &[b'x'; 50]].concat());
    assert_eq!(listen(100, &[&long[..8]]).1, Err(ProtocolError::InvalidText));
    let across = [frame(false, 1, b"\xE2\x82"), frame(true, 0, b"\xAC")].concat();
    assert_eq!(listen(100, &[&across]).0, [Said::Message(Kind::Text, "€".into())]);
    assert!(
        listen(100, &[&frame(true, 2, b"\xFF")]).1.is_ok(),
        "binary is free"
    );
}

#[test]
fn control_frames_stand_between_fragments() {
    let bytes = [
        frame(false, 1, b"ab"),
        frame(true, 9, b"?"),
        frame(true, 10, b""),
        frame(true, 0, b"c"),
    ]
    .concat();
    let expected = [
        Said::Ping(b"?".into()),
        Said::Pong(vec![]),
        Said::Message(Kind::Text, b"abc".into()),
    ];
    for size in 1..=bytes.len() {
        let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
        assert_eq!(listen(100, &pieces).0, expected, "by {size}");
    }
}

#[test]
fn the_header_alone_opens_a_message() {
    let bytes = frame(true, 2, &[1; 5]);
    let mut decoder = Decoder::new(100);
    let mut header = bytes[..6].to_vec();
    let begin = Some(Begin {
        kind: Kind::Binary,
        len: Some(5),
    });
    assert_eq!(
        decoder.decode(&mut header),
        Ok((
            6,
            Some(Event::Message(Part {
                begin,
                data: &[],
                end: false
            }))
        ))
    );
}

/// A frame in a stream that is mostly right: whatever is wrong with it comes from `flaw`.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        4 => "\\PC{0,30}".prop_map(String::into_bytes),
        2 => proptest::collection::vec(any::<u8>(), 0..140),
        1 => Just(vec![0x03, 0xE8]),
        1 => Just(vec![b'x'; 70_000]),
    ];
    (
        any::<bool>(),
        prop_oneof![Just(0u8), Just(1), Just(2), Just(8), Just(9), Just(10), 0u8..16],
        payload,
        0u8..20,
        any::<u8>(),
    )
        .prop_map(|(fin, opcode, payload, flaw, byte)| {
            let fin = fin || (opcode >= 8 && flaw != 1);
            let payload = if opcode >= 8 && flaw != 2 {
                &payload[..payload.len().min(125)]
            } else {
                &payload
            };
            let mut bytes = frame(fin, opcode, payload);
            if flaw == 0 {
                bytes[0] ^= byte;
            }
            bytes
        })
}

/// Something to read from; what is written to it is dropped.
struct Wire(std::io::Cursor<Vec<u8>>);
impl std::io::Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buf)
    }
}
impl std::io::Write for Wire {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        Ok(buf.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What tungstenite makes of the same bytes.
fn tungstenite(max: usize, bytes: &[u8]) -> (Vec<Said>, bool) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(max))
        .max_frame_size(Some(max));
    let wire = Wire(std::io::Cursor::new(bytes.to_vec()));
    let mut socket = WebSocket::from_raw_socket(wire, Role::Server, Some(config));
    let mut said = Vec::new();
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => said.push(Said::Message(Kind::Text, text.as_bytes().to_vec())),
            Ok(Message::Binary(bytes)) => said.push(Said::Message(Kind::Binary, bytes.to_vec())),
            Ok(Message::Ping(payload)) => said.push(Said::Ping(payload.to_vec())),
            Ok(Message::Pong(payload)) => said.push(Said::Pong(payload.to_vec())),
            Ok(Message::Close(None)) => {
                said.push(Said::Close(None, String::new()));
                return (said, true);
            }
            Ok(Message::Close(Some(protocol::CloseFrame { code, reason }))) => {
                said.push(Said::Close(Some(code.into()), reason.to_string()));
                return (said, true);
            }
            Ok(Message::Frame(_)) => {}
            Err(Error::Protocol(protocol_error))
                if protocol_error.to_string().contains("without closing") =>
            {
                return (said, true);
            }
            Err(Error::ConnectionClosed | Error::AlreadyClosed | Error::Io(_)) => return (said, true),
            Err(_) => return (said, false),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn agrees_with_tungstenite(frames in proptest::collection::vec(any_frame(), 1..8), size in 1usize..400) {
        let bytes = frames.concat();
        let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
        let (mut ours, result) = listen(100_000, &pieces);
        let (mut theirs, good) = tungstenite(100_000, &bytes);
        // They take lengths that are not minimal and give forbidden close codes another name; they notice a flaw of a frame once
        // its payload is there, we on its header: so where we refuse, they may have nothing to say yet.
        match result {
            Ok(()) => {
                // 1012 to 1014 are registered, and unknown to them.
                let unknown = |said: &Said| matches!(said, Said::Close(Some(1002 | 1012..=1014), _));
                if ours.last().is_some_and(unknown) { ours.pop(); theirs.pop(); }
                prop_assert!(good, "we take what they refuse: {:?}", ours.last());
                prop_assert_eq!(ours, theirs);
            }
            Err(ProtocolError::Violation(Violation::LengthNotMinimal | Violation::CloseCode)) => {}
Err(_) => prop_assert_eq!(ours, theirs),
        }
    }

    #[test]
    fn cuts_change_nothing(frames in proptest::collection::vec(any_frame(), 1..6), size in 1usize..200) {
        let bytes = frames.concat();
        let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
        prop_assert_eq!(listen(100_000, &pieces), listen(100_000, &[&bytes]));
    }

    #[test]
    fn any_bytes_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..300), size in 1usize..50, max in 0u64..200) {
        let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
        let (said, _) = listen(max, &pieces);
        for said in said {
            if let Said::Message(_, data) = said {
                prop_assert!(data.len() as u64 <= max);
            }
        }
    }

    /// What we write, tungstenite's client reads.
    #[test]
    fn tungstenite_reads_what_is_written(
        messages in proptest::collection::vec((any::<bool>(), "\\PC{0,40}", 0usize..3), 1..6), size in 1usize..20_000, gather: bool, ping: bool,
    ) {
        let (mut encoder, mut out, mut expected) = (Encoder::default(), Outbox::default(), Vec::new());
        for (text, content, grow) in &messages {
            let data = content.repeat([1, 200, 3000][*grow]).into_bytes();
            let kind = if *text { Kind::Text } else { Kind::Binary };
            encoder.begin(kind);
            let pieces: Vec<&[u8]> = if data.is_empty() { vec![&[]] } else { data.chunks(size).collect() };
            for (i, piece) in pieces.iter().enumerate() {
                let part = Part { begin: None, data: piece, end: i + 1 == pieces.len() };
                encoder.part(&part, if gather { Gather::All } else { Gather::Some }, &mut out);
                if ping {
                    Encoder::ping(&mut out);
                }
            }
            prop_assert_eq!(out.held(), b"");
            expected.push(Said::Message(kind, data));
        }
        Encoder::close(&CloseFrame { code: Some(CloseCode(1001)), reason: "bye" }, &mut out);
        expected.push(Said::Close(Some(1001), "bye".into()));

        let wire = Wire(std::io::Cursor::new(out.ready().to_vec()));
        let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        let mut socket = WebSocket::from_raw_socket(wire, Role::Client, Some(config));
        let mut read = Vec::new();
        loop {
            match socket.read() {
                Ok(Message::Text(text)) => read.push(Said::Message(Kind::Text, text.as_bytes().to_vec())),
                Ok(Message::Binary(bytes)) => read.push(Said::Message(Kind::Binary, bytes.to_vec())),
                Ok(Message::Close(Some(frame))) => {
                    read.push(Said::Close(Some(frame.code.into()), frame.reason.to_string()));
                    break;
                }
                Ok(_) => {}
                Err(error) => prop_assert!(false, "{error}"),
            }
        }
        prop_assert_eq!(read, expected);
    }
}

#[test]
fn a_small_message_is_one_frame_however_it_arrives_and_a_large_one_streams() {
    let frames = |pieces: usize, size: usize| {
        let (mut encoder, mut out) = (Encoder::default(), Outbox::default());
        encoder.begin(Kind::Binary);
        for i in 0..pieces {
            encoder.part(
                &Part {
                    begin: None,
                    data: &vec![0; size],
                    end: i + 1 == pieces,
                },
                Gather::Some,
                &mut out,
            );
        }
        let (mut bytes, mut count) = (out.ready(), 0);
        while !bytes.is_empty() {
            let mut cursor = std::io::Cursor::new(bytes);
            let (header, len) = protocol::frame::FrameHeader::parse(&mut cursor).unwrap().unwrap();
            let first = if count == 0 {
                OpCode::Data(Data::Binary)
            } else {
                OpCode::Data(Data::Continue)
            };
            assert_eq!(header.opcode, first);
            bytes = &bytes[cursor.position() as usize + len as usize..];
            assert_eq!(header.is_final, bytes.is_empty());
            count += 1;
        }
        count
    };
    assert_eq!(frames(1000, 1), 1);
    assert_eq!(frames(1, 1 << 20), 1);
    assert_eq!(frames(4, 100_000), 4);
    assert_eq!(frames(2000, 100), 13, "200 kB in fragments of 16 KiB");
}

#[test]
fn a_reason_is_cut_at_a_character() {
    let long = "é".repeat(100);
    assert_eq!(cut_reason(&long).len(), 122);
    let mut out = Outbox::default();
    Encoder::close(
        &CloseFrame {
            code: Some(CloseCode::NORMAL),
            reason: &long,
        },
        &mut out,
    );
    assert_eq!(out.ready().len(), 2 + 2 + 122);
}
