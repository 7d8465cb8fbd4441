//! Framings whose records tell their length in a header of their own making: what they refuse, and that they read and write what
//! other implementations, the standards' tables and plain definitions say.

use super::*;

/// All of them, with every parameter; without padding, which does not come back as it went.
pub(super) fn any_counted() -> impl Strategy<Value = Framing> {
    prop_oneof![
        3 => any_varint(),
        1 => (1u64..40).prop_map(|size| Framing::Fixed(Fixed::new(size, None).unwrap())),
        1 => Just(Framing::Netstring),
        1 => Just(Framing::OctetCounting),
        1 => any::<bool>().prop_map(|keep| Framing::ContentLength(ContentLength { header: header(keep) })),
    ]
}

pub(super) fn headers_kept() -> Framing {
    Framing::ContentLength(ContentLength { header: Header::Keep })
}

fn header(keep: bool) -> Header {
    if keep { Header::Keep } else { Header::Strip }
}

fn any_varint() -> impl Strategy<Value = Framing> {
    let groups = prop_oneof![Just(Groups::Leb128), Just(Groups::BigEndian)];
    (groups, 0usize..6, 1usize..=10, any::<bool>(), any::<[u8; 5]>()).prop_map(
        |(groups, offset, max_width, keep, template)| {
            Framing::Varint(Varint {
                groups,
                offset,
                max_width,
                header: header(keep),
                template: template[..offset].into(),
            })
        },
    )
}

fn named(name: &str) -> Framing {
    preset(name).unwrap().to_client
}

fn fixed(size: u64, pad: Option<u8>) -> Framing {
    Framing::Fixed(Fixed::new(size, pad).unwrap())
}

fn varint(groups: Groups, max_width: usize) -> Framing {
    Framing::Varint(Varint {
        max_width,
        ..Varint::plain(groups)
    })
}

/// The header that is written for a body of this length, without the body.
fn written(framing: &Framing, body: u64) -> Result<Vec<u8>, EncodeError> {
    let (mut state, mut out) = (EncodeState::default(), Outbox::default());
    let part = Part {
        begin: Some(Begin {
            kind: Kind::Binary,
            len: Some(body),
        }),
        data: &[],
        end: false,
    };
    framing.encode(&mut state, &Embedded::Reject, &part, &mut out)?;
    assert!(state.is_cut(), "the header has left");
    Ok(out.ready().to_vec())
}

/// The length that a header announces, and how many bytes it has; `None` while it is incomplete.
fn announced(framing: &Framing, bytes: &[u8]) -> Result<Option<(u64, usize)>, DecodeError> {
    let mut state = DecodeState::default();
    let decoded = framing.decode(&mut state, &rules(u64::MAX), bytes, false)?;
    Ok(match decoded.event {
        Event::Part(Part {
            begin: Some(Begin { len, .. }),
            data,
            ..
        }) => Some((len.unwrap(), decoded.consumed - data.len())),
        _ => None,
    })
}

#[test]
fn messages_that_would_not_come_back_are_refused() {
    use EncodeError as E;
    type Row<'a> = (&'a Framing, &'a [u8], Result<&'a [u8], E>);
    let (lsp, kept, mqtt) = (named("lsp"), headers_kept(), named("mqtt"));
    let rows: &[Row<'_>] = &[
        (&varint(Groups::Leb128, 1), &[7; 128], Err(E::LengthDoesNotFit)),
        (&varint(Groups::BigEndian, 1), &[7; 128], Err(E::LengthDoesNotFit)),
        (&varint(Groups::BigEndian, 1), b"", Ok(b"\0")),
        (&mqtt, b"\x30\x02ab", Ok(b"\x30\x02ab")),
        // Longer than it needs to be, and yet what it says.
        (&mqtt, b"\x30\x82\x80\x80\0ab", Ok(b"\x30\x82\x80\x80\0ab")),
        (&mqtt, b"\x30\x82\x80\x80\x80\0ab", Err(E::HeaderMismatch)),
        (&mqtt, b"\x30\x03ab", Err(E::HeaderMismatch)),
        (&mqtt, b"\x30\x01ab", Err(E::HeaderMismatch)),
        (&mqtt, b"\x30\x82", Err(E::HeaderMismatch)),
        (&mqtt, b"\x30", Err(E::HeaderMismatch)),
        (&mqtt, b"", Err(E::HeaderMismatch)),
        (&fixed(3, None), b"abc", Ok(b"abc")),
        (&fixed(3, None), b"ab", Err(E::SizeMismatch)),
        (&fixed(3, None), b"abcd", Err(E::SizeMismatch)),
        (&fixed(3, None), b"", Err(E::SizeMismatch)),
        (&fixed(3, Some(b'.')), b"", Ok(b"...")),
        (&fixed(3, Some(b'.')), b"ab", Ok(b"ab.")),
        (&fixed(3, Some(b'.')), b"abc", Ok(b"abc")),
        (&fixed(3, Some(b'.')), b"abcd", Err(E::SizeMismatch)),
        (&named("netstring"), b"", Ok(b"0:,")),
        (&named("netstring"), b"hello world!", Ok(b"12:hello world!,")),
        (&named("syslog"), b"", Err(E::EmptyMessage)),
        (&named("syslog"), b"<13>1 - - - - -", Ok(b"15 <13>1 - - - - -")),
        (&lsp, b"", Ok(b"Content-Length: 0\r\n\r\n")),
        (&lsp, b"{}", Ok(b"Content-Length: 2\r\n\r\n{}")),
        (
            &kept,
            b"a: b\r\nCONTENT-LENGTH:02\r\n\r\n{}",
            Ok(b"a: b\r\nCONTENT-LENGTH:02\r\n\r\n{}"),
        ),
        (&kept, b"Content-Length: 3\r\n\r\n{}", Err(E::HeaderMismatch)),
        (&kept, b"Content-Length: 1\r\n\r\n{}", Err(E::HeaderMismatch)),
        (&kept, b"Content-Length: 2\r\n{}", Err(E::HeaderMismatch)),
        (&kept, b"Content-Length: 2\n\n{}", Err(E::HeaderMismatch)),
        (&kept, b"{}", Err(E::HeaderMismatch)),
        (&kept, b"", Err(E::HeaderMismatch)),
    ];
    for (framing, message, expected) in rows {
        for size in [1, 2, 1000] {
            for announced in [false, true] {
                let actual = encode(framing, &Embedded::Reject, &cut(message, size), announced);
                assert_eq!(
                    actual.as_deref().map_err(|error| *error),
                    *expected,
                    "{framing:?} {message:?} by {size}"
                );
            }
        }
    }
}

#[test]
fn headers_that_cannot_be_are_refused_however_they_are_cut() {
    const HEADER: DecodeError = DecodeError::Garbage(Garbage::Header);
    const TRAILER: DecodeError = DecodeError::Garbage(Garbage::Trailer);
    let long_line = [b"a:".to_vec(), vec![b'x'; MAX_HEADER]].concat();
    let templated = Framing::Varint(Varint {
        offset: 2,
        template: Box::new([3, 0]),
        ..Varint::plain(Groups::Leb128)
    });
    let (wide, vlq) = (varint(Groups::Leb128, 10), varint(Groups::BigEndian, 10));
    let (netstring, syslog, lsp) = (named("netstring"), named("syslog"), named("lsp"));
    let rows: &[(&Framing, &[u8], DecodeError)] = &[
        (&templated, b"\x03\x01\x01", HEADER),
        (&named("mqtt"), b"\x30\x80\x80\x80\x80", HEADER),
        // More than 64 bits: of ten groups the most significant has one bit left.
        (&wide, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", HEADER),
        (
            &wide,
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            DecodeError::TooBig,
        ),
        (&vlq, b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\x7f", HEADER),
        (
            &vlq,
            b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
            DecodeError::TooBig,
        ),
        (&wide, &[0x80; 10], HEADER),
        (&fixed(101, None), b"x", DecodeError::TooBig),
        (&netstring, b"x", HEADER),
        (&netstring, b":", HEADER),
        (&netstring, b"00", HEADER),
        (&netstring, b"01:", HEADER),
        (&netstring, b"-1:", HEADER),
        (&netstring, b"1 ", HEADER),
        (&netstring, b"1:ab", TRAILER),
        (&netstring, b"0:\n", TRAILER),
        (&netstring, b"101:", DecodeError::TooBig),
        (&netstring, b"99999999999999999999:", DecodeError::TooBig),
        (&netstring, b"100000000000000000000", HEADER),
        (&syslog, b"0", HEADER),
        (&syslog, b" ", HEADER),
        (&syslog, b"<13>1 - - - - -\n", HEADER),
        (&syslog, b"5:hello", HEADER),
        (&syslog, b"5  ", DecodeError::TooBig),
        (&lsp, b"Content-Length: 2\n", HEADER),
        (&lsp, b"Content-Length: 2\r\n\n", HEADER),
        (&lsp, b"Content-Length: 2\r3\r\n", HEADER),
        (&lsp, b"Content-Length: 2\r\ncontent-length: 2\r\n\r\n", HEADER),
        (&lsp, b"Content-Length: 2, 2\r\n\r\n", HEADER),
        (&lsp, b"Content-Length: +2\r\n\r\n", HEADER),
        (&lsp, b"Content-Length: 0x2\r\n\r\n", HEADER),
        (&lsp, b"Content-Length:\r\n\r\n", HEADER),
        (&lsp, b"Content-Length : 2\r\n", HEADER),
        (&lsp, b" Content-Length: 2\r\n", HEADER),
        (&lsp, b"Content-Type: x\r\n\r\n", HEADER),
        (&lsp, b"\r\n", HEADER),
        (&lsp, b"Starting the server\r\n", HEADER),
        (&lsp, b": 2\r\n", HEADER),
        (&lsp, b"a: \0\r\n", HEADER),
        (&lsp, b"Content-Length:\x0c2\r\n", HEADER),
        (&lsp, &long_line, HEADER),
        (&lsp, b"Content-Length: 101\r\n\r\n", DecodeError::TooBig),
        (
            &lsp,
            b"Content-Length: 99999999999999999999\r\n\r\n",
            DecodeError::TooBig,
        ),
    ];
    for (framing, bytes, error) in rows {
        // A limit of 100, or of nothing where the length is right as such.
        let max = if bytes.starts_with(b"5") { 4 } else { 100 };
        for size in [1, 2, 3, bytes.len()] {
            let mut reader = Reader::new(framing, rules(max));
            let result = bytes.chunks(size).try_for_each(|piece| reader.feed(piece, false));
            assert_eq!(
                result,
                Err(*error),
                "{framing:?} {} by {size}",
                bytes.escape_ascii()
            );
            assert_eq!(reader.records, []);
        }
    }
}

/// The longest header block there may be, and one that is a byte longer.
#[test]
fn a_header_block_has_its_limit() {
    let block = |len: usize| {
        let end = "\r\nContent-Length: 1\r\n\r\n";
        format!("a:{}{end}", "x".repeat(len - 2 - end.len()))
    };
    let longest = format!("{}b", block(MAX_HEADER));
    for size in [1, 100, longest.len()] {
        assert_eq!(
            decode(&named("lsp"), &cut(longest.as_bytes(), size), 10),
            Ok(vec![b"b".to_vec()])
        );
    }
    let longer = format!("{}b", block(MAX_HEADER + 1));
    for size in [1, 100, longer.len()] {
        assert_eq!(
            decode(&named("lsp"), &cut(longer.as_bytes(), size), 10),
            Err(DecodeError::Garbage(Garbage::Header))
        );
    }
    let kept = block(MAX_HEADER + 1) + "b";
    assert_eq!(
        encode(&headers_kept(), &Embedded::Reject, &[kept.as_bytes()], true),
        Err(EncodeError::HeaderMismatch)
    );
}

/// What is counted is bytes looked at: each once, though the header is there again in front of each new byte.
#[test]
fn a_header_that_arrives_a_byte_at_a_time_is_searched_once() {
    let long = format!("a:{}\r\nContent-Length: 1\r\n\r\n", "x".repeat(480));
    let templated = Framing::Varint(Varint {
        offset: 255,
        template: vec![7; 255].into(),
        ..Varint::plain(Groups::BigEndian)
    });
    let wide = [&[7; 255][..], &[0x80; 9], &[1]].concat();
    let rows: &[(&Framing, &[u8])] = &[
        (&named("lsp"), long.as_bytes()),
        (&templated, &wide),
        (&named("netstring"), b"12345678901234567890:"),
        (&named("syslog"), b"12345678901234567890 "),
    ];
    for (framing, header) in rows {
        let mut state = DecodeState::default();
        for end in 1..=header.len() {
            let here = &header[..end];
            let whole = framing.whole_record(&state, &rules(u64::MAX), here);
            assert_eq!(whole, None);
            let decoded = framing.decode(&mut state, &rules(u64::MAX), here, false).unwrap();
            assert_eq!(decoded.consumed == end, end == header.len());
        }
        assert!(state.is_inside());
        assert_eq!(state.examined, header.len() as u64, "{framing:?}");
    }

    let (mut state, mut out) = (EncodeState::default(), Outbox::default());
    for (at, byte) in long.bytes().enumerate() {
        let begin = Begin {
            kind: Kind::Text,
            len: Some(long.len() as u64 + 1),
        };
        let part = Part {
            begin: (at == 0).then_some(begin),
            data: &[byte],
            end: false,
        };
        headers_kept()
            .encode(&mut state, &Embedded::Reject, &part, &mut out)
            .unwrap();
        assert_eq!(state.is_cut(), at + 1 == long.len());
    }
    assert_eq!(state.examined, long.len() as u64);
}

#[test]
fn the_start_of_a_record_leaves_as_soon_as_its_length_is_known() {
    type Row = (Framing, &'static [u8], &'static [u8], &'static [u8]);
    let rows: &[Row] = &[
        (named("protobuf"), b"half", b"\x09half", b""),
        (named("mqtt"), b"\x30\x07half", b"\x30\x07half", b""),
        (fixed(9, None), b"half", b"half", b""),
        (fixed(12, Some(b' ')), b"half", b"half", b"   "),
        (named("netstring"), b"half", b"9:half", b","),
        (named("lsp"), b"half", b"Content-Length: 9\r\n\r\nhalf", b""),
        (named("syslog"), b"half", b"9 half", b""),
    ];
    for (framing, half, start, trailer) in rows {
        let rest = &b"a line"[..9 - half.len()];
        let (mut state, mut out) = (EncodeState::default(), Outbox::default());
        for (len, leaves) in [(Some(9), *start), (None, b"")] {
            let begin = Some(Begin {
                kind: Kind::Text,
                len,
            });
            let mut push = |begin, data, end, out: &mut Outbox| {
                let part = Part { begin, data, end };
                framing.encode(&mut state, &Embedded::Reject, &part, out).unwrap();
                state.is_cut()
            };
            let cut = push(begin, *half, false, &mut out);
            assert_eq!((out.ready(), cut), (leaves, len.is_some()), "{framing:?}");
            let cut = push(None, rest, true, &mut out);
            assert_eq!(
                (out.ready(), cut),
                (&[start, rest, trailer].concat()[..], false),
                "{framing:?}"
            );
            out.clear();
        }
    }
}

/// As when a client vanishes behind the header of its frame.
#[test]
fn a_record_without_a_header_is_not_cut_before_its_first_byte() {
    let (mut state, mut out) = (EncodeState::default(), Outbox::default());
    let mut push = |begin, data, out: &mut Outbox| {
        let part = Part {
            begin,
            data,
            end: false,
        };
        fixed(2, None)
            .encode(&mut state, &Embedded::Reject, &part, out)
            .unwrap();
        state.is_cut()
    };
    let begin = Begin {
        kind: Kind::Text,
        len: Some(2),
    };
    assert!(!push(Some(begin), &b""[..], &mut out));
    assert!(push(None, b"a", &mut out));
    assert_eq!(out.ready(), b"a");
}

#[test]
fn fragments_longer_than_a_record_are_refused_before_the_message_has_ended() {
    let (mut state, mut out) = (EncodeState::default(), Outbox::default());
    let part = Part {
        begin: Some(Begin {
            kind: Kind::Text,
            len: None,
        }),
        data: b"abcd",
        end: true,
    };
    let refused = fixed(3, None).encode(&mut state, &Embedded::Reject, &part, &mut out);
    assert_eq!((refused, out.len()), (Err(EncodeError::SizeMismatch), 0));
}

#[test]
fn sizes_have_their_limits() {
    assert_eq!(Fixed::new(0, None), Err(FixedError::Empty));
    assert_eq!(Fixed::new(1025, Some(0)), Err(FixedError::Padded));
    assert_eq!(Fixed::new(1024, Some(0)).map(|rule| rule.size()), Ok(1024));
    assert_eq!(Fixed::new(1025, None).map(|rule| rule.size()), Ok(1025));
}

/// MQTT 5.0 §1.5.5, table 1-1, and Standard MIDI Files 1.0, "Conventions": the limits of each width.
#[test]
fn lengths_are_written_as_the_tables_of_the_standards_have_them() {
    let leb128: &[(u64, &[u8])] = &[
        (0, b"\0"),
        (127, b"\x7f"),
        (128, b"\x80\x01"),
        (16_383, b"\xff\x7f"),
        (16_384, b"\x80\x80\x01"),
        (2_097_151, b"\xff\xff\x7f"),
        (2_097_152, b"\x80\x80\x80\x01"),
        (268_435_455, b"\xff\xff\xff\x7f"),
    ];
    let midi: &[(u64, &[u8])] = &[
        (0, b"\0"),
        (0x40, b"\x40"),
        (0x7F, b"\x7f"),
        (0x80, b"\x81\0"),
        (0x2000, b"\xc0\0"),
        (0x3FFF, b"\xff\x7f"),
        (0x4000, b"\x81\x80\0"),
        (0x10_0000, b"\xc0\x80\0"),
        (0x1F_FFFF, b"\xff\xff\x7f"),
        (0x20_0000, b"\x81\x80\x80\0"),
        (0x800_0000, b"\xc0\x80\x80\0"),
        (0xFFF_FFFF, b"\xff\xff\xff\x7f"),
    ];
    for (groups, table) in [(Groups::Leb128, leb128), (Groups::BigEndian, midi)] {
        let framing = varint(groups, 4);
        for (value, bytes) in table {
            assert_eq!(written(&framing, *value).as_deref(), Ok(*bytes));
            assert_eq!(announced(&framing, bytes), Ok(Some((*value, bytes.len()))));
        }
        assert_eq!(written(&framing, 1 << 28), Err(EncodeError::LengthDoesNotFit));
    }
}

/// Numbers of all widths, not only of the longest.
fn any_width() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0u32..64).prop_map(|(value, shift)| value >> shift)
}

/// What the start of a stream is, by the definition.
#[derive(Debug, PartialEq)]
enum Start {
    More,
    Bad(DecodeError),
    Header(usize, u64),
}

const BAD: Start = Start::Bad(DecodeError::Garbage(Garbage::Header));

/// `number end`, with or without the number zero.
fn plain_number(input: &str, end: char, zero: bool) -> Start {
    let digits: String = input.chars().take_while(char::is_ascii_digit).collect();
    let canonical = digits == "0" && zero || !digits.starts_with('0');
    match input[digits.len()..].chars().next() {
        _ if digits.len() > 20 || !canonical => BAD,
        None => Start::More,
        Some(found) if found != end || digits.is_empty() => BAD,
        Some(_) => number(&digits, digits.len() + 1),
    }
}

fn number(digits: &str, header: usize) -> Start {
    if digits.is_empty() || !digits.chars().all(|c| c.is_ascii_digit()) {
        return BAD;
    }
    // All that can be wrong with digits is that they are too many.
    match digits.parse() {
        Ok(body) => Start::Header(header, body),
        Err(_) => Start::Bad(DecodeError::TooBig),
    }
}

/// Lines up to the first empty one.
fn plain_block(input: &str) -> Start {
    let mut lengths = Vec::new();
    let mut read = 0;
    for line in input.split_inclusive('\n') {
        read += line.len();
        if !line.ends_with('\n') || read > MAX_HEADER {
            break;
        }
        let Some(line) = line.strip_suffix("\r\n") else {
            return BAD;
        };
        if line.is_empty() {
            return match *lengths {
                [length] => number(length, read),
                _ => BAD,
            };
        }
        let Some((name, value)) = line.split_once(':') else {
            return BAD;
        };
        if name.is_empty()
            || name.contains(|c: char| c <= ' ' || c > '~' || "\"(),/;<=>?@[\\]{}".contains(c))
            || value.contains(|c: char| c.is_ascii_control() && c != '\t')
        {
            return BAD;
        }
        if name.to_lowercase() == "content-length" {
            lengths.push(value.trim_matches([' ', '\t']));
        }
    }
    if input.len() >= MAX_HEADER {
        BAD
    } else {
        Start::More
    }
}

/// The records at the start of a stream, and why there are no more.
fn plain_records(framing: &Framing, max: usize, stream: &[u8]) -> (Vec<Vec<u8>>, Option<DecodeError>) {
    // Each byte a character. Those beyond ASCII are as good as a quotation mark: right in a value, wrong anywhere else.
    let character = |byte: &u8| if byte.is_ascii() { char::from(*byte) } else { '"' };
    let text: String = stream.iter().map(character).collect();
    let mut records = Vec::new();
    let mut at = 0;
    loop {
        let (start, trailer, keep) = match framing {
            Framing::Netstring => (plain_number(&text[at..], ':', true), ",", false),
            Framing::OctetCounting => (plain_number(&text[at..], ' ', false), "", false),
            Framing::ContentLength(rule) => (plain_block(&text[at..]), "", rule.header == Header::Keep),
            _ => unreachable!(),
        };
        let (header, body) = match start {
            Start::More => return (records, None),
            Start::Bad(error) => return (records, Some(error)),
            Start::Header(header, body) => (header, body),
        };
        let kept = if keep { header } else { 0 };
        if body.saturating_add(kept as u64) > max as u64 {
            return (records, Some(DecodeError::TooBig));
        }
        let end = at + header + body as usize;
        if stream.len() < end + trailer.len() {
            return (records, None);
        }
        if !text[end..].starts_with(trailer) {
            return (records, Some(DecodeError::Garbage(Garbage::Trailer)));
        }
        records.push(stream[at + header - kept..end].to_vec());
        at = end + trailer.len();
    }
}

/// Streams that are nearly right.
fn nearly_right() -> impl Strategy<Value = (Framing, Vec<u8>)> {
    let framing = prop_oneof![
        Just(Framing::Netstring),
        Just(Framing::OctetCounting),
        Just(named("lsp")),
        Just(headers_kept()),
    ];
    let pieces: &[&[u8]] = &[
        b"",
        b"0",
        b"9",
        b"a",
        b":",
        b",",
        b" ",
        b"\n",
        b"\r",
        b"\r\n",
        b"\0",
        b"\xe9",
        b"A: b\r\n",
        b"CONTENT-length:\t1 \r\n",
        b"99999999999999999999",
    ];
    let piece = prop::sample::select(pieces);
    let edit = (any::<prop::sample::Index>(), 0usize..3, piece);
    let messages = proptest::collection::vec(any_message(), 1..4);
    (framing, messages, proptest::collection::vec(edit, 0..3)).prop_map(|(framing, messages, edits)| {
        let stripped = match &framing {
            Framing::ContentLength(_) => named("lsp"),
            other => other.clone(),
        };
        let encoded = |message: &Vec<u8>| encode(&stripped, &Embedded::Reject, &[message], true).ok();
        let mut stream = messages.iter().filter_map(encoded).collect::<Vec<_>>().concat();
        for (place, len, piece) in edits {
            let start = place.index(stream.len() + 1);
            let end = (start + len).min(stream.len());
            stream.splice(start..end, piece.iter().copied());
        }
        (framing, stream)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn leb128_is_written_as_the_crate_writes_it(value in any_width()) {
        let mut buffer = unsigned_varint::encode::u64_buffer();
        let theirs = unsigned_varint::encode::u64(value, &mut buffer);
        prop_assert_eq!(written(&varint(Groups::Leb128, 10), value), Ok(theirs.to_vec()));
        let mut reversed = theirs.to_vec();
        // The other order is the same groups backwards, and the bit that says that there are more is on all but the last.
        reversed.reverse();
        reversed.iter_mut().for_each(|byte| *byte |= 0x80);
        *reversed.last_mut().unwrap() &= 0x7F;
        prop_assert_eq!(written(&varint(Groups::BigEndian, 10), value), Ok(reversed));
    }

    /// Theirs refuses what is longer than it needs to be, and drops bits above the 64th; apart from that the two agree on any bytes.
    #[test]
    fn leb128_is_read_as_the_crate_reads_it(
        bytes in proptest::collection::vec(prop_oneof![3 => 0x80u8.., 1 => any::<u8>(), 1 => Just(0x80)], 1..12)
    ) {
        use unsigned_varint::decode::Error as E;
        let ours = announced(&varint(Groups::Leb128, 10), &bytes);
        let end = bytes.iter().take(10).position(|byte| *byte < 0x80).map(|at| at + 1);
        let exact = end.map(|end| bytes[..end].iter().rev().fold(0u128, |value, byte| value << 7 | u128::from(byte & 0x7F)));
        match unsigned_varint::decode::u64(&bytes) {
            Ok((value, rest)) if exact == Some(value.into()) => {
                prop_assert_eq!(ours, Ok(Some((value, bytes.len() - rest.len()))));
            }
            Err(E::Insufficient) => prop_assert_eq!(ours, Ok(None)),
            Err(E::NotMinimal) => prop_assert_eq!(ours, Ok(Some((exact.unwrap() as u64, end.unwrap())))),
            Ok(_) | Err(_) => prop_assert_eq!(ours, Err(DecodeError::Garbage(Garbage::Header))),
        }
    }

    /// Beside plain definitions, which look at the stream as a whole.
    #[test]
    fn streams_are_read_as_defined((framing, stream) in nearly_right(), size in 1usize..30, max in 20usize..100) {
        let (records, error) = plain_records(&framing, max, &stream);
        let mut reader = Reader::new(&framing, rules(max as u64));
        let result = cut(&stream, size).into_iter().try_for_each(|piece| reader.feed(piece, false));
        prop_assert_eq!(result.err(), error);
        prop_assert_eq!(reader.records.into_iter().flatten().collect::<Vec<_>>(), records);
    }

    /// A padded message comes back with its padding.
    #[test]
    fn what_is_filled_up_comes_back_full(message in any_message(), pad: u8, size in 1u64..80, pieces in 1usize..30, announced: bool) {
        let framing = fixed(size, Some(pad));
        let record = encode(&framing, &Embedded::Reject, &cut(&message, pieces), announced);
        if message.len() as u64 > size {
            prop_assert_eq!(record, Err(EncodeError::SizeMismatch));
        } else {
            let mut expected = message;
            expected.resize(size as usize, pad);
            prop_assert_eq!(decode(&framing, &cut(&record.unwrap(), pieces), 1000), Ok(vec![expected]));
        }
    }
}
